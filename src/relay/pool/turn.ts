/**
 * Whose turn it is on a connection to a mail server, while a client holds it. (A connection that no client holds is idle:
 * idle.ts.)
 *
 *     parked    between two messages: the client's next message is awaited, and nothing else
 *     client    in a transaction: the client owes the next command, or the next part of the text
 *     ours      in a transaction: we are at work
 *     envelope  MAIL was accepted, and the mail server owes its reply to RCPT or DATA: it has nothing of the message yet
 *     upstream  the mail server owes any other reply, or must take more of the text
 *
 * How a client uses its turns decides who gives way when there are not enough connections (fairness.ts). Silence alone says
 * little: a client that names one more recipient every other second is never silent for long. So the time that each command took
 * beyond a round trip adds up until the transaction ends, and a text is judged by its pace.
 *
 * All times are milliseconds of a clock that never goes back.
 */

export type State = 'parked' | 'client' | 'ours' | 'envelope' | 'upstream'

/** A client that takes no longer than this for a command is not late: a round trip over a satellite takes that long. */
const COMMAND_MS = 500
/** The pace of a text is measured over about this long. */
const PACE_MS = 1000

export class Turn {
  #state: State = 'ours'
  #since: number
  /** The time that the client's commands took beyond COMMAND_MS each, in this transaction. */
  #lateMs = 0
  /** The length of all the client's turns in this transaction. */
  #clientMs = 0
  /** In a text: the client's own time in it, and its octets, which weigh less the older they are. */
  #text: { ms: number; octets: number } | undefined

  /** At first a connection is being opened, and the client waits for it. */
  constructor(now: number) {
    this.#since = now
  }

  get state(): State {
    return this.#state
  }

  /** When this turn began. */
  get since(): number {
    return this.#since
  }

  /** Entering the same state again begins a new turn. */
  enter(state: State, now: number): void {
    if (this.#state === 'client') this.#spend(now - this.#since)
    this.#state = state
    this.#since = now
  }

  /** A transaction begins, or has ended. */
  reset(): void {
    this.#clientMs = 0
    this.#lateMs = 0
    this.#text = undefined
  }

  /** The text of a message begins. */
  startText(): void {
    this.#text = { ms: 0, octets: 0 }
  }

  /** A part of the text has come from the client, whose turn it still is. */
  part(octets: number, now: number): void {
    this.#spend(now - this.#since)
    this.#since = now
    if (this.#text !== undefined) this.#text.octets += octets
  }

  /** How long the client itself has taken for this transaction so far. */
  clientMs(now: number): number {
    return this.#clientMs + (this.#state === 'client' ? now - this.#since : 0)
  }

  /** By how much the client is late with its commands; 0 in a text, and when it is not the client's turn. */
  lateMs(now: number): number {
    if (this.#state !== 'client' || this.#text !== undefined) return 0
    return this.#lateMs + Math.max(0, now - this.#since - COMMAND_MS)
  }

  /**
   * How long the client has been sending the text, without the time that the mail server made it wait; undefined if there is no
   * text.
   */
  textMs(now: number): number | undefined {
    if (this.#text === undefined) return undefined
    return this.#text.ms + (this.#state === 'client' ? now - this.#since : 0)
  }

  /** The pace of the text lately, in octets a second; 0 if there is no text. */
  pace(now: number): number {
    const ms = this.textMs(now)
    if (this.#text === undefined || ms === undefined || ms <= 0) return 0
    const faded = this.#text.octets * Math.exp(-(ms - this.#text.ms) / PACE_MS)
    // The faded sum covers PACE_MS of octets once the text is some seconds old, and less before that.
    return (1000 * faded) / (PACE_MS * (1 - Math.exp(-ms / PACE_MS)))
  }

  #spend(ms: number): void {
    this.#clientMs += ms
    if (this.#text === undefined) {
      this.#lateMs += Math.max(0, ms - COMMAND_MS)
      return
    }
    this.#text.ms += ms
    this.#text.octets *= Math.exp(-ms / PACE_MS)
  }
}
