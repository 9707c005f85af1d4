/**
 * What one limit in Redis has refused, until there is room again: such a client is refused without asking Redis. A refusal
 * belongs to a moment and a maximum, so Redis is asked again for a client that may have more.
 */
import { LRUCache } from 'lru-cache'

interface Remembered {
  readonly max: number
  /** By this node's clock. */
  readonly until: number
  readonly waitMs: number
  /** Refusals since, that of Redis included. */
  count: number
}

export class Refusals {
  readonly #refused: LRUCache<string, Remembered>

  /** @param capacity keys whose refusal is remembered; a key that is forgotten costs one question more */
  constructor(capacity: number) {
    this.#refused = new LRUCache({ max: capacity })
  }

  /** Redis refused the key at `at`, held against `max`; there is room after `waitMs`. */
  remember(key: string, max: number, waitMs: number, at: number): void {
    this.#refused.set(key, { max, until: at + waitMs, waitMs, count: 1 })
  }

  /** How often the key was charged since Redis refused it, including this time; 0 if there may be room. */
  since(key: string, max: number, at: number): number {
    const known = this.#refused.get(key)
    if (known === undefined || max > known.max) return 0
    // A step back of the clock makes no refusal longer.
    if (at < known.until && known.until - at <= known.waitMs) return ++known.count
    this.#refused.delete(key)
    return 0
  }
}
