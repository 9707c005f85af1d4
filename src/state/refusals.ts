/**
 * What Redis has refused for one limit, until there is room again. Meanwhile such a client is refused without asking
 * Redis. A refusal holds only for a time and a maximum, so Redis is asked again for a client that has a higher maximum
 * now.
 */
import { LRUCache } from 'lru-cache'

interface Remembered {
  readonly max: number
  /** By this node's clock. */
  readonly until: number
  readonly waitMs: number
  /** The number of refusals since, including that of Redis. */
  count: number
}

export class Refusals {
  readonly #refused: LRUCache<string, Remembered>

  /** @param capacity how many keys are remembered; a key that is forgotten costs one more question */
  constructor(capacity: number) {
    this.#refused = new LRUCache({ max: capacity })
  }

  /** Redis refused the key at time `at`, compared with `max`. There will be room after `waitMs`. */
  remember(key: string, max: number, waitMs: number, at: number): void {
    this.#refused.set(key, { max, until: at + waitMs, waitMs, count: 1 })
  }

  /** How often the key was charged since Redis refused it, including this time; 0 if there may be room again. */
  since(key: string, max: number, at: number): number {
    const known = this.#refused.get(key)
    if (known === undefined || max > known.max) return 0
    // If the clock steps back, the refusal does not last longer.
    if (at < known.until && known.until - at <= known.waitMs) return ++known.count
    this.#refused.delete(key)
    return 0
  }
}
