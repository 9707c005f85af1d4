/**
 * Shares the event loop between TLS handshakes and everything else. A handshake is a signature, which keeps the loop from all else
 * for 0.2 ms (ECDSA) to 1 ms and more (RSA). So one begins in each turn of the loop, and only while handshakes have had no more
 * than their share of the time. Who is next: of those whose first octets are here, the one that weighs least.
 */

/** The share of the loop's time that handshakes may have. */
const SHARE = 0.25
/** How much of it may be saved up, in ms. More would be a pause that others notice. */
const SAVED_MS = 5
/** What one signature takes if nothing has been measured yet, in ms. */
const ASSUMED_MS = 0.5

export interface Waiting {
  readonly weight: number
  /** Does the work, all of it before the next microtask. */
  begin(): void
  /** @param ms what `begin` took */
  took(ms: number): void
}

export class HandshakeTurns {
  readonly #elapsed: () => number
  readonly #waiting = new Set<Waiting>()
  /** Milliseconds that may be used now; below 0: handshakes have had more than their share. */
  #credit = SAVED_MS
  #creditAt: number
  #typical = ASSUMED_MS
  #scheduled = false

  /** @param elapsed in ms, with fractions */
  constructor(elapsed: () => number) {
    this.#elapsed = elapsed
    this.#creditAt = elapsed()
  }

  /** Calls `begin` when it is its turn. */
  wait(waiting: Waiting): void {
    this.#waiting.add(waiting)
    this.#schedule()
  }

  leave(waiting: Waiting): void {
    this.#waiting.delete(waiting)
  }

  /**
   * A handshake is over. Where its work was done after its turn (its first octets were not all of it, or it had to try again), it
   * is charged now.
   * @param took what `begin` took @param isFull whether it came to its end with a signature
   */
  over(took: number, isFull: boolean): void {
    // What is far below the usual was done elsewhere, and hardly counts as usual.
    if (isFull)
      this.#typical += (Math.min(took, 2 * this.#typical) - this.#typical) / (took * 4 < this.#typical ? 100 : 8)
    if (took * 2 < this.#typical) this.#credit -= this.#typical - took
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.size === 0) return
    this.#scheduled = true
    const ms = -this.#now() / SHARE
    if (ms <= 0) setImmediate(() => this.#turn())
    else setTimeout(() => this.#turn(), Math.ceil(ms))
  }

  #turn(): void {
    this.#scheduled = false
    if (this.#now() > 0) {
      const next = lightest(this.#waiting)
      if (next !== undefined) {
        this.#waiting.delete(next)
        const begunAt = this.#elapsed()
        next.begin()
        // A TLS socket reads what is there on the next tick, and ticks come before microtasks.
        queueMicrotask(() => {
          const took = this.#elapsed() - begunAt
          this.#credit -= took
          next.took(took)
        })
      }
    }
    this.#schedule()
  }

  #now(): number {
    const now = this.#elapsed()
    this.#credit = Math.min(SAVED_MS, this.#credit + (now - this.#creditAt) * SHARE)
    this.#creditAt = now
    return this.#credit
  }
}

/** The first of those that weigh least. */
export function lightest<T extends { readonly weight: number }>(all: Iterable<T>): T | undefined {
  let found: T | undefined
  for (const each of all) if (found === undefined || each.weight < found.weight) found = each
  return found
}
