/** How many slots each source (or each neighbourhood) holds and waits for. One that does neither is forgotten. */

export interface Claim {
  readonly held: number
  readonly waiting: number
}

/** The share of all places to wait that one source may take; two places in any case. */
const WAITING_SHARE = 0.25
const NOTHING: Claim = { held: 0, waiting: 0 }

export class Claims {
  readonly #claims = new Map<string, { held: number; waiting: number }>()

  /** Sources that hold or want a slot. */
  get size(): number {
    return this.#claims.size
  }

  of(source: string): Claim {
    return this.#claims.get(source) ?? NOTHING
  }

  hold(source: string, change: 1 | -1): void {
    this.#change(source, change, 0)
  }

  wait(source: string, change: 1 | -1): void {
    this.#change(source, 0, change)
  }

  /**
   * Whether one more client of this source may wait. A source may take no more than its share of the places. If no place is free,
   * the source that has the most gives one up.
   * @param taken how many of all `places` are taken
   */
  place(source: string, taken: number, places: number): 'free' | 'none' | { readonly of: string } {
    const { waiting } = this.of(source)
    if (waiting >= Math.max(2, places * WAITING_SHARE)) return 'none'
    if (taken < places) return 'free'
    let most = waiting + 1
    let crowded: string | undefined
    for (const [each, claim] of this.#claims) {
      if (claim.waiting <= most) continue
      most = claim.waiting
      crowded = each
    }
    return crowded === undefined ? 'none' : { of: crowded }
  }

  #change(source: string, held: number, waiting: number): void {
    const claim = this.#claims.get(source)
    if (claim === undefined) {
      this.#claims.set(source, { held, waiting })
      return
    }
    claim.held += held
    claim.waiting += waiting
    if (claim.held === 0 && claim.waiting === 0) this.#claims.delete(source)
  }
}
