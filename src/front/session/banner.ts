/** The greeting of one session, in one line or in two. After the first of two nothing but the last can follow. */
export class Banner {
  readonly #text: string
  #isHalf = false

  constructor(hostname: string) {
    this.#text = `${hostname} ESMTP Spillway\r\n`
  }

  /** The first line of two. */
  first(): string {
    this.#isHalf = true
    return `220-${this.#text}`
  }

  /** The last line, or the only one. */
  last(): string {
    this.#isHalf = false
    return `220 ${this.#text}`
  }

  /** What must be said before anything else: the last line, if only the first has been said. */
  owed(): string {
    return this.#isHalf ? this.last() : ''
  }
}
