/**
 * A value that is read at each use and swapped as a whole. A value that was read never changes, so that running code
 * sees either the old state or the new one, never a mixture.
 */
export class Current<T> {
  #value: T

  constructor(value: T) {
    this.#value = value
  }

  get value(): T {
    return this.#value
  }

  /** Every later read gives `next`. */
  swap(next: T): void {
    this.#value = next
  }
}
