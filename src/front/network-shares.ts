/**
 * How many sessions of one kind are taken of one network (an IPv4 /24, an IPv6 /32): the first 60 at once, and one in two minutes
 * afterwards. So one source never takes what others need.
 *
 * The rule is the generic cell rate algorithm (ITU-T I.371) in a table of fixed size. Networks in one place have one share together, and nobody
 * outside knows the seed.
 */

/** Sessions of one network that are taken at once, and after how long one more is. */
export const AT_ONCE = 60
export const ONE_MORE_MS = 120_000
const PLACES = 4096

export class NetworkShares {
  readonly #until = new Float64Array(PLACES)
  readonly #seed: number

  constructor(seed: number) {
    this.#seed = seed
  }

  /** @param elapsed milliseconds of a clock that never goes back @returns whether one more of this network is taken */
  take(net: string, elapsed: number): boolean {
    let hash = this.#seed
    for (let i = 0; i < net.length; i++) hash = Math.imul(hash ^ net.charCodeAt(i), 16_777_619)
    const place = (hash >>> 0) % PLACES
    const until = Math.max(this.#until[place] as number, elapsed)
    if (until - elapsed > (AT_ONCE - 1) * ONE_MORE_MS) return false
    this.#until[place] = until + ONE_MORE_MS
    return true
  }
}
