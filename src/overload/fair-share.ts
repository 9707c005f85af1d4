/**
 * Which messages are let in while only a share of them can be. Those of an earlier turn go first (returning.ts). Within a turn
 * the share goes out over nets (/24, /48) as in rounds: of each net the first message within ten seconds, then of each net the
 * second, and so on, until the share is used up. So what one net is let in does not grow with what it sends, and nets that send
 * less than others are let in whole (max-min fairness).
 *
 *     rounds[k]  how many messages were the k-th of their net, lately; those of the first turn, then those of the next
 *     full       rounds that are let in whole: the most of them whose sum is within share × all messages
 *     part       the share of the next round that is let in too; every (1 / part)-th message of it
 *
 * What has come lately decides about what comes now. Nothing is left to chance: the same messages in the same order have the
 * same answers. Messages are counted whether they are let in or not, in tables of fixed size.
 *
 * A round that has been empty lately may fill up within a second. So each message that comes adds the share to an allowance, each
 * one that is let in takes 1 from it, and it holds no more than the share of what has come lately. Over any span, no more is let
 * in than the share of what came, and this once. Each turn may take at most seven tenths of what the turn before it may take of the
 * allowance: the second leaves three tenths of the whole, the third half, the eighth nine tenths.
 *
 * Where hardly anybody comes, a share of it is nobody: of twenty messages in a minute, one in twenty is one. So there may be a number of
 * messages a second as well that are let in at the least, whatever the share is. They go out in the same order.
 */
import { WindowTable } from '../state/table.ts'

/** The most messages of a net that are told apart; those beyond count as the last round. */
const ROUNDS = 64
const WINDOW_MS = 10_000
/** What is left after a second of what came before it. */
const FADES = 0.9
/** How many seconds of messages the rounds hold, therefore. */
const LATELY_S = 1 / (1 - FADES)
/** More nets than a flood has at a time. */
const NETS = 1 << 16
/** The least that the allowance can hold, for each turn: a message, and what is left of another. */
const LEAST = 2
/** How much of the allowance a turn may take, as a part of what the turn before it may take. */
const OF_THE_TURN_BEFORE = 0.7
/** This part of the turns, the first of them, is let in whole while nothing has come lately: what has come back and is not doubtful. */
const AT_ONCE = 1 / 4

export interface Cut {
  readonly full: number
  readonly part: number
}

/** @param rounds see above @param share 0 to 1 @param least how many of all there are in `rounds` are let in, if the share of them is less */
export function cutOf(rounds: ArrayLike<number>, share: number, least = 0): Cut {
  if (share >= 1) return { full: rounds.length, part: 0 }
  const all = sumOf(rounds)
  // Nothing has come lately, or nothing is let in: not even a round that has been empty lately.
  if (all === 0 || share <= 0) return { full: 0, part: share }
  let left = Math.max(share * all, least)
  let full = 0
  while (full < rounds.length && (rounds[full] as number) <= left) left -= rounds[full++] as number
  return { full, part: full < rounds.length ? left / (rounds[full] as number) : 0 }
}

function sumOf(rounds: ArrayLike<number>): number {
  let all = 0
  for (let k = 0; k < rounds.length; k++) all += rounds[k] as number
  return all
}

export class FairShare {
  readonly #rounds: Float64Array
  readonly #seed: Uint8Array
  /** One for each turn, made when somebody has it: while nobody asks whom to let in, they take no room. */
  readonly #tables: (WindowTable | undefined)[]
  #share = 1
  #cut: Cut
  /** Nothing has come lately. Then the first turns are let in whole (AT_ONCE), and of the others the share of the first messages of nets. */
  #isQuiet = false
  #credit = 0
  #allowance = 0
  #mostAllowed: number

  /** @param seed eight secret random bytes @param turns how many there are */
  constructor(seed: Uint8Array, turns = 1) {
    this.#rounds = new Float64Array(ROUNDS * turns)
    this.#seed = seed
    this.#tables = Array.from({ length: turns }, () => undefined)
    this.#cut = { full: this.#rounds.length, part: 0 }
    this.#mostAllowed = LEAST * turns
  }

  /** A message of this net asks to be let in. @param now in ms @param turn from 0 */
  offer(net: string, now: number, turn = 0): boolean {
    this.#tables[turn] ??= new WindowTable({ capacity: NETS, windowMs: WINDOW_MS, seed: this.#seed })
    const table = this.#tables[turn]
    const nth = Math.min(ROUNDS, table.charge(net, now, Number.MAX_SAFE_INTEGER))
    const round = turn * ROUNDS + nth
    this.#rounds[round - 1] = (this.#rounds[round - 1] as number) + 1
    if (this.#share >= 1) return true
    this.#allowance = Math.min(this.#mostAllowed, this.#allowance + this.#share)
    const kept = (1 - OF_THE_TURN_BEFORE ** turn) * this.#mostAllowed
    if (!this.#isWithin(round) || this.#allowance < 1 + kept) return false
    this.#allowance -= 1
    return true
  }

  /**
   * From now on this share is let in.
   * @param seconds since the last call @param leastPerSecond messages that are let in a second if the share of them is less and above 0
   */
  set(share: number, seconds: number, leastPerSecond = 0): void {
    const all = sumOf(this.#rounds)
    this.#isQuiet = all === 0 && share > 0 && share < 1
    const atOnce = Math.floor(AT_ONCE * this.#tables.length)
    this.#cut = this.#isQuiet
      ? { full: ROUNDS * atOnce, part: share }
      : cutOf(this.#rounds, share, leastPerSecond * LATELY_S)
    this.#mostAllowed = Math.max(LEAST * this.#tables.length, share * all)
    const allowance = this.#share >= 1 ? this.#mostAllowed : this.#allowance + leastPerSecond * seconds
    this.#allowance = Math.min(this.#mostAllowed, allowance)
    this.#share = share
    const left = FADES ** seconds
    for (let k = 0; k < this.#rounds.length; k++) this.#rounds[k] = (this.#rounds[k] as number) * left
  }

  /** Whether any message of this turn is let in at present. */
  reaches(turn: number): boolean {
    const { full, part } = this.#cut
    return this.#share >= 1 || this.#isQuiet || turn * ROUNDS < full + (part > 0 ? 1 : 0)
  }

  #isWithin(round: number): boolean {
    const { full, part } = this.#cut
    if (round <= full) return true
    if (this.#isQuiet ? (round - 1) % ROUNDS !== 0 : round !== full + 1) return false
    this.#credit += part
    if (this.#credit < 1) return false
    this.#credit -= 1
    return true
  }
}
