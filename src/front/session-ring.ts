/** The last sessions of one kind, in as many places as there are, and at most so many a second. */
import type { KeptSession } from '../core/kept-session.ts'

/** What is kept, with what it is found by. */
interface Entry {
  readonly session: KeptSession
  /** Undefined: it named none, or the null reverse-path. Shown to nobody. */
  readonly sender: string | undefined
}

export class SessionRing {
  readonly #places: number
  readonly #perSecond: number
  readonly #entries: Entry[] = []
  #next = 0
  #second = -1
  #taken = 0
  #skipped = 0

  constructor({ places, perSecond }: { readonly places: number; readonly perSecond: number }) {
    this.#places = places
    this.#perSecond = perSecond
  }

  /** @param second by any clock */
  hasRoom(second: number): boolean {
    if (second !== this.#second) {
      this.#second = second
      this.#taken = 0
    }
    return this.#taken < this.#perSecond
  }

  /** A session is not kept. The next one stands for it as well. */
  skip(): void {
    this.#skipped++
  }

  /** @returns for how many sessions the one stands that is added now: itself, and those that were not kept */
  takeSample(): number {
    const sample = 1 + this.#skipped
    this.#skipped = 0
    return sample
  }

  add(entry: Entry): void {
    this.#taken++
    this.#entries[this.#next] = entry
    this.#next = (this.#next + 1) % this.#places
  }

  *latest(): Iterable<Entry> {
    const { length } = this.#entries
    for (let i = 1; i <= length; i++) yield this.#entries[(this.#next - i + length) % length] as Entry
  }
}
