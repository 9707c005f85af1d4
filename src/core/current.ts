/**
 * A value that others read at each use, and that is swapped whole: what has been read is never changed, so that whoever is
 * in the middle of something sees one state or the other and never a mixture.
 */
export class Current<T> {
  #value: T

  constructor(value: T) {
    this.#value = value
  }

  get value(): T {
    return this.#value
  }

  /** From now on everybody reads `next`. */
  swap(next: T): void {
    this.#value = next
  }
}
