/**
 * Which keys come most often, in a table of fixed size: Space-Saving (Metwally, Agrawal, El Abbadi: Efficient computation of
 * frequent and top-k elements in data streams, 2005). A key that has no row takes the row with the smallest count, and inherits
 * that count as its error. What is certain of a key is its count without its error: a flood of keys that each come once leaves
 * nothing certain, and pushes out nobody that comes more often than 1 in `size` times.
 *
 * Counts decay, so that the table tells of the last minutes.
 */

export interface Hit {
  readonly key: string
  /** What is certain, without what a row has inherited. */
  readonly count: number
  /** The share of it that was marked, 0 to 1. */
  readonly marked: number
}

/** Counts below this are as good as none. */
const FORGOTTEN = 0.05

export class HeavyHitters {
  readonly #rows = new Map<string, number>()
  readonly #keys: (string | undefined)[]
  readonly #counts: Float64Array
  readonly #errors: Float64Array
  readonly #marked: Float64Array

  constructor(size: number) {
    this.#keys = new Array<string | undefined>(size).fill(undefined)
    this.#counts = new Float64Array(size)
    this.#errors = new Float64Array(size)
    this.#marked = new Float64Array(size)
  }

  /** @param weight how often it came @param isMarked whether this is of the kind that is counted apart */
  add(key: string, weight = 1, isMarked = false): void {
    const row = this.#rows.get(key) ?? this.#take(key)
    this.#counts[row] = (this.#counts[row] as number) + weight
    if (isMarked) this.#marked[row] = (this.#marked[row] as number) + weight
  }

  /** @param factor what is left of every count, 0 to 1 */
  decay(factor: number): void {
    for (const [key, row] of this.#rows) {
      const left = (this.#counts[row] as number) * factor
      this.#counts[row] = left
      this.#errors[row] = (this.#errors[row] as number) * factor
      this.#marked[row] = (this.#marked[row] as number) * factor
      if (left >= FORGOTTEN) continue
      this.#rows.delete(key)
      this.#keys[row] = undefined
      this.#counts[row] = 0
    }
  }

  /** Those that came most, the first one most often. */
  top(most: number): Hit[] {
    const hits = [...this.#rows].map(([key, row]): Hit => {
      const count = (this.#counts[row] as number) - (this.#errors[row] as number)
      return { key, count, marked: count > 0 ? Math.min(1, (this.#marked[row] as number) / count) : 0 }
    })
    return hits.sort((a, b) => b.count - a.count).slice(0, most)
  }

  #take(key: string): number {
    let row = 0
    for (let i = 1; i < this.#counts.length; i++)
      if ((this.#counts[i] as number) < (this.#counts[row] as number)) row = i
    const before = this.#keys[row]
    if (before !== undefined) this.#rows.delete(before)
    // A piece of a longer string would keep all of that in memory.
    const own = Buffer.from(key, 'utf16le').toString('utf16le')
    this.#keys[row] = own
    this.#rows.set(own, row)
    this.#errors[row] = this.#counts[row] as number
    this.#marked[row] = 0
    return row
  }
}
