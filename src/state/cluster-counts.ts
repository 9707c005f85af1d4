/**
 * What Redis last said that the whole cluster has counted for a key. It is kept apart from this node's own table: the table
 * would take what others counted in the last window for its own count of this one, and hold it for up to two more.
 *
 * What was said falls evenly to nothing within one window. At the moment of the answer it is the counter of Redis itself; after
 * that it is an estimate, as good as arrivals were even. It keeps a client out for at most one window, where the sliding
 * counter, had it been asked again, might do so for up to two. What this node counts after the answer is added undiminished,
 * until the next answer includes it.
 */
import { LRUCache } from 'lru-cache'

interface Word {
  readonly used: number
  at: number
  /** Counted here after that. */
  since: number
}

/** Keys an answer is remembered for; of a key that is forgotten this node still has its own count. */
const CAPACITY = 1 << 16

export class ClusterCounts {
  readonly #windowMs: number
  readonly #words = new LRUCache<string, Word>({ max: CAPACITY })

  constructor(windowMs: number) {
    this.#windowMs = windowMs
  }

  /** @param at in ms, of the clock that `used` is asked by */
  heard(key: string, used: number, at: number): void {
    this.#words.set(key, { used, at, since: 0 })
  }

  /** Counts what this node has let in; below 0: what it has given back. */
  add(key: string, amount: number): void {
    const word = this.#words.get(key)
    if (word !== undefined) word.since += amount
  }

  /** What the cluster has used by now, rounded up; 0 where nothing was said within a window. */
  used(key: string, now: number): number {
    const word = this.#words.get(key)
    if (word === undefined) return 0
    // A clock that steps back starts the word's window anew.
    if (now < word.at) word.at = now
    const age = now - word.at
    if (age >= this.#windowMs) {
      this.#words.delete(key)
      return 0
    }
    // Multiplied before it is divided, so that a whole number stays one.
    return Math.max(0, Math.ceil((word.used * (this.#windowMs - age)) / this.#windowMs) + word.since)
  }
}
