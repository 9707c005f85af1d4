/**
 * Whose turn it is on an upstream connection that a client holds. (One that no client holds is idle, and lies in idle.ts.)
 *
 *     parked    between two messages: it waits for its client's next one, and for nothing else
 *     client    in a transaction, and the client owes the next command or the next part of the text
 *     ours      in a transaction, and we are at work
 *     envelope  MAIL was taken, and the mail server owes its reply to RCPT or DATA: it has nothing of the message yet
 *     upstream  the mail server owes any other reply, or room for more of the text
 *
 * How a client uses its turns decides who gives way when there are not enough connections (fairness.ts). Silence alone says
 * little: a client that names one more recipient every other second is never silent for long. So what each command took beyond
 * what a round trip needs adds up until the transaction ends, and a text is judged by its pace.
 *
 * All times are milliseconds of a clock that never goes back.
 */

export type State = 'parked' | 'client' | 'ours' | 'envelope' | 'upstream'

/** A client that takes no longer than this for a command is not late: round trips over satellites take that long. */
const COMMAND_MS = 500
/** What came of a text within about this time is its pace. */
const PACE_MS = 1000

export class Turn {
  #state: State = 'ours'
  #since: number
  /** What the client's commands took beyond COMMAND_MS each, in this transaction. */
  #lateMs = 0
  /** All of its client's turns in this transaction. */
  #clientMs = 0
  /** In a text: the client's own time in it, and its octets, of which what is long past weighs nothing. */
  #text: { ms: number; octets: number } | undefined

  /** A connection is being opened for a client that waits for it. */
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

  /** The same state again begins a new turn. */
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

  /** What the client itself has taken of this transaction so far. */
  clientMs(now: number): number {
    return this.#clientMs + (this.#state === 'client' ? now - this.#since : 0)
  }

  /** By how much the client is late with its commands; 0 in a text, and where it is not its turn. */
  lateMs(now: number): number {
    if (this.#state !== 'client' || this.#text !== undefined) return 0
    return this.#lateMs + Math.max(0, now - this.#since - COMMAND_MS)
  }

  /** How long the client has been at the text, without what the mail server made it wait; undefined where there is none. */
  textMs(now: number): number | undefined {
    if (this.#text === undefined) return undefined
    return this.#text.ms + (this.#state === 'client' ? now - this.#since : 0)
  }

  /** Octets of the text a second, lately; 0 where there is none. */
  pace(now: number): number {
    const ms = this.textMs(now)
    if (this.#text === undefined || ms === undefined || ms <= 0) return 0
    const faded = this.#text.octets * Math.exp(-(ms - this.#text.ms) / PACE_MS)
    // The sum of what fades is PACE_MS worth of octets once the text is some seconds old, and less before.
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
