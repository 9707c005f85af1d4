/**
 * The count of the whole cluster for a key, as Redis last reported it. It is kept apart from this node's own table. The
 * table would take what others counted in the previous window for a count of the current one, and hold it for up to two
 * more.
 *
 * A reported count decays linearly to zero within one window. At the moment of the report it equals the counter in
 * Redis. After that it is an estimate, accurate if arrivals were even. It keeps a client out for at most one window,
 * where the sliding counter, if it were asked again, might do so for up to two. What this node counts after the report
 * is added in full until the next report includes it.
 */
import { LRUCache } from 'lru-cache'

interface ClusterCount {
  readonly used: number
  at: number
  /** What this node has counted since. */
  since: number
}

/** Keys whose report is remembered. For a key that is forgotten this node still has its own count. */
const CAPACITY = 1 << 16

export class ClusterCounts {
  readonly #windowMs: number
  readonly #reports = new LRUCache<string, ClusterCount>({ max: CAPACITY })

  constructor(windowMs: number) {
    this.#windowMs = windowMs
  }

  /** Redis has reported a count. @param at in ms, of the clock that is passed to `used` */
  heard(key: string, used: number, at: number): void {
    this.#reports.set(key, { used, at, since: 0 })
  }

  /** Counts what this node has let in, or, if `amount` is negative, what it has given back. */
  add(key: string, amount: number): void {
    const report = this.#reports.get(key)
    if (report !== undefined) report.since += amount
  }

  /** What the cluster has used by now, rounded up; 0 if there was no report within a window. */
  used(key: string, now: number): number {
    const report = this.#reports.get(key)
    if (report === undefined) return 0
    // If the clock steps back, the window of the report starts anew.
    if (now < report.at) report.at = now
    const age = now - report.at
    if (age >= this.#windowMs) {
      this.#reports.delete(key)
      return 0
    }
    // Multiplies before it divides, so that a whole number stays whole.
    return Math.max(0, Math.ceil((report.used * (this.#windowMs - age)) / this.#windowMs) + report.since)
  }
}
