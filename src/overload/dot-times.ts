/**
 * How long one mail server takes to accept messages: the wait for the reply to the dot, of the messages of the last half minute.
 *
 *     wait = max(0, time from the dot to the reply − octets of the message / 1 MB per second)
 *
 * What a server takes to look through a large message says nothing about its load, so a second for each megabyte is set off.
 * Only messages that were accepted count. A refusal may take as long as it likes: a filter that looks twice at spam, or a
 * policy that says "later" to strangers, is no sign of load.
 *
 * A server that hangs answers nothing, and would have no samples. So while none of its replies has come for as long as a reply
 * may take, the messages that wait for theirs count as well, with the time that they have waited.
 *
 *     figure = min(95th percentile (nearest rank), the median over the neighbourhoods (/24, /48) of the longest wait of each)
 *
 * An overloaded cluster is slow for everybody. One sender whose mail the content filter takes long to look through says nothing
 * about the mail of others, and nor do a few of them: half of the neighbourhoods must have waited that long, however much mail
 * each sends. With fewer than LEAST samples, or of fewer than NETS neighbourhoods, there is no figure: of three messages in a
 * quiet night one slow one says nothing. Memory is bounded: the latest SAMPLES messages count, and those that wait hold a
 * connection each.
 */

import { setOff } from './set-off.ts'

/** How many samples it takes. */
export const LEAST = 20
/** How many neighbourhoods it takes. */
export const NETS = 5
/** How long a sample counts, in milliseconds. */
export const WINDOW_MS = 30_000
const SAMPLES = 512

/** A message past its dot. */
export interface SentDot {
  readonly at: number
  /** The neighbourhood of its sender. */
  readonly net: string
}

/** One message, and how long it waited, in milliseconds. */
interface Wait {
  readonly net: string
  readonly ms: number
}

/** Nearest rank. @param sorted not empty @param share 0 to 1 */
const quantile = <T>(sorted: readonly T[], share: number): T => sorted[Math.ceil(share * sorted.length) - 1] as T

/** The figure above. */
function figureOf(waits: Wait[]): number | undefined {
  if (waits.length < LEAST) return undefined
  waits.sort((a, b) => a.ms - b.ms)
  const longest = new Map<string, number>()
  for (const { net, ms } of waits) longest.set(net, ms)
  if (longest.size < NETS) return undefined
  const ofNets = [...longest.values()].sort((a, b) => a - b)
  return Math.min(quantile(waits, 0.95).ms, quantile(ofNets, 0.5))
}

/** All times are in ms of a clock that never goes back. */
export class DotTimes {
  readonly #waits = new Float64Array(SAMPLES)
  readonly #nets = new Array<string>(SAMPLES).fill('')
  readonly #ends = new Float64Array(SAMPLES).fill(Number.NEGATIVE_INFINITY)
  #next = 0
  /** In the order in which they were sent. */
  readonly #waiting = new Set<SentDot>()
  #answeredAt = Number.NEGATIVE_INFINITY

  /** @param net the neighbourhood of the sender */
  sent(net: string, now: number): SentDot {
    const dot = { at: now, net }
    this.#waiting.add(dot)
    return dot
  }

  /** @param octets the size of the message @param isAccepted whether the reply was positive */
  answered(dot: SentDot, octets: number, isAccepted: boolean, now: number): void {
    this.#waiting.delete(dot)
    this.#answeredAt = now
    if (!isAccepted) return
    this.#nets[this.#next] = dot.net
    this.#waits[this.#next] = setOff(now - dot.at, octets)
    this.#ends[this.#next] = now
    this.#next = (this.#next + 1) % SAMPLES
  }

  /** The connection ended without a reply. */
  lost(dot: SentDot): void {
    this.#waiting.delete(dot)
  }

  /** @param mayTakeMs how long a reply may take @returns in milliseconds; undefined: there are too few samples */
  p95(now: number, mayTakeMs: number): number | undefined {
    const waits: Wait[] = []
    for (let i = 0; i < SAMPLES; i++) {
      if (now - (this.#ends[i] as number) > WINDOW_MS) continue
      waits.push({ net: this.#nets[i] as string, ms: this.#waits[i] as number })
    }
    if (now - this.#answeredAt >= mayTakeMs) {
      for (const { net, at } of this.#waiting) if (now - at >= mayTakeMs) waits.push({ net, ms: now - at })
    }
    return figureOf(waits)
  }
}
