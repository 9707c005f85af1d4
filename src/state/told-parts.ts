/**
 * How much of what is told of networks on a day is of one IPv6 /32. Who holds a /32 has 65,536 networks, and would fill with them what all
 * nodes may tell each other in a day (neighbourhoods-sharing.ts). Of IPv4 nobody holds as many.
 */

/** 3 % of a day: the /29 that whoever asks for addresses is given (RIPE-738) has a fifth. */
export const MOST_OF_PART = 8192
/** Of a /32 that is not counted because others fill the table nothing is held back: they fill a day only together. */
const MOST_PARTS = 4096

export class ToldParts {
  #day = 0
  readonly #counts = new Map<number, number>()

  /** One more is told, here or elsewhere. @param high the first 32 bits of the network; 0: IPv4 @returns false: no more of it may be told on this day */
  take(high: number, day: number): boolean {
    if (day > this.#day) {
      this.#day = day
      this.#counts.clear()
    }
    if (high === 0 || day < this.#day) return true
    const before = this.#counts.get(high) ?? 0
    if (before >= MOST_OF_PART) return false
    if (before > 0 || this.#counts.size < MOST_PARTS) this.#counts.set(high, before + 1)
    return true
  }
}
