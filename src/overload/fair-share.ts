/**
 * Which messages are let in while only a share of them can be. The share goes out over nets (/24, /48) as in rounds: of each net
 * the first message within ten seconds, then of each net the second, and so on, until the share is used up. So what one net is
 * let in does not grow with what it sends, and nets that send less than others are let in whole (max-min fairness).
 *
 *     rounds[k]  how many messages were the k-th of their net, lately
 *     full       rounds that are let in whole: the most of them whose sum is within share × all messages
 *     part       the share of the next round that is let in too; every (1 / part)-th message of it
 *
 * What has come lately decides about what comes now. Nothing is left to chance: the same messages in the same order have the
 * same answers. Messages are counted whether they are let in or not, in a table of fixed size.
 */
import { WindowTable } from '../state/table.ts'

/** The most messages of a net that are told apart; those beyond count as the last round. */
const ROUNDS = 64
const WINDOW_MS = 10_000
/** What is left after a second of what came before it. */
const FADES = 0.9
/** More nets than a flood has at a time. */
const NETS = 1 << 16

export interface Cut {
  readonly full: number
  readonly part: number
}

/** @param rounds see above @param share 0 to 1 */
export function cutOf(rounds: ArrayLike<number>, share: number): Cut {
  if (share >= 1) return { full: rounds.length, part: 0 }
  let all = 0
  for (let k = 0; k < rounds.length; k++) all += rounds[k] as number
  // Nothing has come lately.
  if (all === 0) return { full: 0, part: share }
  let left = share * all
  let full = 0
  while (full < rounds.length && (rounds[full] as number) <= left) left -= rounds[full++] as number
  return { full, part: full < rounds.length ? left / (rounds[full] as number) : 0 }
}

export class FairShare {
  readonly #rounds = new Float64Array(ROUNDS)
  readonly #table: WindowTable
  #cut: Cut = { full: ROUNDS, part: 0 }
  #credit = 0

  /** @param seed eight secret random bytes */
  constructor(seed: Uint8Array) {
    this.#table = new WindowTable({ capacity: NETS, windowMs: WINDOW_MS, seed })
  }

  /** A message of this net asks to be let in. @param now in ms */
  offer(net: string, now: number): boolean {
    const round = Math.min(ROUNDS, this.#table.charge(net, now, Number.MAX_SAFE_INTEGER))
    this.#rounds[round - 1] = (this.#rounds[round - 1] as number) + 1
    const { full, part } = this.#cut
    if (round !== full + 1) return round <= full
    this.#credit += part
    if (this.#credit < 1) return false
    this.#credit -= 1
    return true
  }

  /** From now on this share is let in. @param seconds since the last call */
  set(share: number, seconds: number): void {
    this.#cut = cutOf(this.#rounds, share)
    const left = FADES ** seconds
    for (let k = 0; k < ROUNDS; k++) this.#rounds[k] = (this.#rounds[k] as number) * left
  }
}
