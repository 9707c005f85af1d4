/**
 * How many connections to one mail server strangers may hold together, by what their mail does to that of known senders. It is
 * the idea of LEDBAT (RFC 6817): traffic that can wait takes what others leave, and gives way as soon as it delays them.
 *
 * Only messages of trusted and known senders are timed: from the dot to the reply, the size set off (set-off.ts). So nothing that a
 * stranger sends makes a server look slow, but by what it takes from known senders. Where nobody is known, as on a first day, nothing
 * is timed, and strangers may have all that the reserve leaves them.
 *
 *     few     max(1, a twentieth of the connections)
 *     usual   what 95 of 100 of the last CALM messages took at most that were at their dot while strangers held few, at level 0
 *     late    a message that took longer than usual + max(LATE_MS, usual / 4)
 *
 *     cut     if strangers hold more than few, and
 *             at level 0        of the last JUDGED_AT_0 messages more than half of the neighbourhoods (/24, /48) had a late one
 *             from level 1 on   of the last JUDGED messages so many neighbourhoods had a late one as are late usually, and LATE_NETS
 *                                 more
 *             part ← max(few, part × clamp(usual / median of the late messages, 1/4, 1/2))
 *     growth  after each GROW_MS: at level 0 by as much again, unless it would be cut; from level 1 on by a tenth, and one at least,
 *             unless more than one neighbourhood beyond what is usual had a late message
 *
 * A cut must have shown what it does before there is another. So a message is judged only if it was sent after the last cut, and
 * while strangers held no more than they may. At level 0 half of all known senders must be late: on an ordinary day nobody is held up.
 *
 * What is usual is never learnt from a queue of the strangers' making, or their part would rise with the queue to no end. Where too
 * little is known when a level begins, strangers may hold few for GROW_MS, and what is seen then is usual. And if they have held few
 * for TRIAL_MS, and as many are late as it takes for a cut, strangers are not the cause: what is seen then is usual from now on. So a
 * server that is slower for good is not kept from them.
 *
 * A neighbourhood is late once, however much it sends, and has few places among the last CALM. Memory is bounded: CALM and JUDGED
 * messages for each server.
 */
import { setOff } from './set-off.ts'

const FEW_PART = 0.05
const USUAL_QUANTILE = 0.95
const LATE_MS = 50
const LATE_PART = 0.25
/** Messages that `usual` is learnt from, how many there must be, and how many of one neighbourhood there may be. */
const CALM = 256
const LEAST_CALM = 20
const CALM_OF_ONE = 10
/** Messages that are judged together, and for how long they count, in ms. */
const JUDGED = 60
const JUDGED_AT_0 = 10
const JUDGED_FOR_MS = 30_000
const LATE_NETS = 3
/** Half of fewer says nothing. */
const LEAST_NETS = 5
const LEAST_LEFT = 0.25
const MOST_LEFT = 0.5
export const GROW_MS = 10_000
const GROW_PART = 0.1
/** How long few must have been of no use, in ms. */
const TRIAL_MS = 30_000

/** A message of a known sender past its dot. */
export interface TimedDot {
  readonly at: number
  readonly net: string
  /** Whether strangers held few. */
  readonly isCalm: boolean
  /** Whether it says something about what strangers may hold. */
  readonly isJudged: boolean
}

export interface StrangersPartOptions {
  /** The most connections that there may be to the server now. */
  readonly connections: () => number
  /** Whether the level is above 0. */
  readonly isPressed: () => boolean
  /** In ms, of a clock that never goes back. */
  readonly elapsed: () => number
}

interface Seen {
  readonly at: number
  readonly net: string
  readonly ms: number
}

interface Usual {
  readonly ms: number
  /** The share of messages that are late in calm as well. */
  readonly late: number
}

const fewOf = (connections: number): number => Math.max(1, Math.floor(connections * FEW_PART))

const lateAfter = (usualMs: number): number => usualMs + Math.max(LATE_MS, usualMs * LATE_PART)

const netsOf = (messages: readonly Seen[]): number => new Set(messages.map(({ net }) => net)).size

/** @returns undefined: too few messages */
function usualOf(calm: readonly Seen[]): Usual | undefined {
  if (calm.length < LEAST_CALM) return undefined
  const times = calm.map(({ ms }) => ms).sort((a, b) => a - b)
  const ms = times[Math.ceil(USUAL_QUANTILE * times.length) - 1] as number
  return { ms, late: times.filter((each) => each > lateAfter(ms)).length / CALM }
}

export class StrangersPart {
  readonly #options: StrangersPartOptions
  /** Connections that strangers hold. */
  held = 0
  /** What they may hold; undefined: all that the reserve leaves them. */
  #part: number | undefined
  /** When it was last cut, and when it was last cut or grew. */
  #cutAt = Number.NEGATIVE_INFINITY
  #changedAt = Number.NEGATIVE_INFINITY
  /** Found out when it is asked for; undefined: not since the last message was learnt. */
  #found: Usual | undefined
  #calm: Seen[] = []
  #judged: Seen[] = []

  constructor(options: StrangersPartOptions) {
    this.#options = options
  }

  /** The most connections that strangers may hold now; undefined: all that the reserve leaves them. */
  get most(): number | undefined {
    this.#grow()
    return this.#part
  }

  /** Whether there is anything that could grow. */
  get isCut(): boolean {
    return this.#part !== undefined
  }

  /** Whether strangers hold all that they may. */
  get isFull(): boolean {
    const { most } = this
    return most !== undefined && this.held >= most
  }

  /** What 95 of 100 messages of known senders take at most while strangers hold few, in ms; undefined: not known yet. */
  get usualMs(): number | undefined {
    return this.#usual?.ms
  }

  get #usual(): Usual | undefined {
    this.#found ??= usualOf(this.#calm)
    return this.#found
  }

  /** A trusted or known sender's message is at its dot. @param net the neighbourhood of the sender */
  sent(net: string): TimedDot {
    const isJudged = this.#part === undefined || this.held <= this.#part
    return { at: this.#options.elapsed(), net, isCalm: this.held <= this.#few, isJudged }
  }

  /** The server has accepted it. @param octets the size of the message */
  accepted({ at, net, isCalm, isJudged }: TimedDot, octets: number): void {
    const now = this.#options.elapsed()
    const seen = { at: now, net, ms: setOff(now - at, octets) }
    if (isCalm && (this.#calm.length < CALM || !this.#options.isPressed())) this.#learn(seen)
    if (!isJudged || at < this.#cutAt) return
    this.#judged.push(seen)
    if (this.#judged.length > JUDGED) this.#judged.shift()
    this.#forget(now)
    this.#judge(now)
  }

  get #few(): number {
    return fewOf(this.#options.connections())
  }

  #judge(now: number): void {
    const isTrial = this.#part !== undefined && this.#part <= this.#few
    if (this.#calm.length < LEAST_CALM) {
      const isMissed = this.#options.isPressed() && !isTrial && netsOf(this.#judged) >= LEAST_NETS
      if (isMissed) this.#cutTo(this.#few, now)
    } else if (this.held > this.#few) {
      if (this.#isTooLate()) this.#cutTo(this.#cutPart(), now)
    } else if (isTrial && now - this.#cutAt >= TRIAL_MS && this.#isTooLate()) {
      this.#learnAnew()
    }
  }

  #learn(seen: Seen): void {
    const own = this.#calm.filter(({ net }) => net === seen.net)
    if (own.length >= CALM_OF_ONE) {
      // Its latest take the place of its own, or where few are known what was first learnt would be usual to no end.
      if (this.#options.isPressed()) return
      this.#calm.splice(this.#calm.indexOf(own[0] as Seen), 1)
    }
    this.#calm.push(seen)
    if (this.#calm.length > CALM) this.#calm.shift()
    this.#found = undefined
  }

  /** What was seen while strangers held few is usual. If it is not enough to say so, what comes next is learnt as well. */
  #learnAnew(): void {
    this.#found = undefined
    this.#calm = [...this.#judged]
    this.#judged = []
  }

  #forget(now: number): void {
    while (this.#judged[0] !== undefined && now - this.#judged[0].at > JUDGED_FOR_MS) this.#judged.shift()
  }

  #lateOf(messages: readonly Seen[]): readonly Seen[] {
    const after = lateAfter(this.#usual?.ms ?? Number.POSITIVE_INFINITY)
    return messages.filter(({ ms }) => ms > after)
  }

  #areMostLate(): boolean {
    const last = this.#judged.slice(-JUDGED_AT_0)
    const nets = netsOf(last)
    return nets >= LEAST_NETS && netsOf(this.#lateOf(last)) > nets / 2
  }

  /** Neighbourhoods that had a late message, beyond as many as have one usually. */
  #moreThanUsual(): number {
    return netsOf(this.#lateOf(this.#judged)) - (this.#usual?.late ?? 0) * this.#judged.length
  }

  #isTooLate(): boolean {
    return this.#options.isPressed() ? this.#moreThanUsual() >= LATE_NETS : this.#areMostLate()
  }

  #cutPart(): number {
    const usualMs = this.#usual?.ms ?? 0
    const times = this.#lateOf(this.#judged).map(({ ms }) => ms)
    const median = times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? usualMs
    const left = Math.min(MOST_LEFT, Math.max(LEAST_LEFT, usualMs / median))
    return Math.max(this.#few, Math.floor(Math.min(this.held, this.#part ?? this.held) * left))
  }

  #cutTo(part: number, now: number): void {
    this.#part = part
    this.#cutAt = now
    this.#changedAt = now
    this.#judged = []
  }

  #grow(): void {
    const now = this.#options.elapsed()
    while (this.#part !== undefined && now - this.#changedAt >= GROW_MS) {
      this.#changedAt += GROW_MS
      this.#forget(this.#changedAt)
      const isPressed = this.#options.isPressed()
      if (isPressed ? this.#moreThanUsual() > 1 : this.#areMostLate()) continue
      this.#part += isPressed ? Math.max(1, Math.floor(this.#part * GROW_PART)) : this.#part
      if (this.#part >= this.#options.connections()) this.#part = undefined
    }
  }
}
