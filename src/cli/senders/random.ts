/** Random numbers that can be repeated: the same seed gives the same senders, sizes and moments in every run. */

/** @returns a number of at least 0 and below 1 */
export type Random = () => number

/** A generator that is small and quick (mulberry32): for simulations, not for secrets. */
export function seeded(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export const below = (random: Random, bound: number): number => Math.floor(random() * bound)

export const between = (random: Random, from: number, to: number): number => from + random() * (to - from)

export const pick = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)] as T

/** Picks by weight. The weights need not add up to 1. */
export function weighted<T extends { readonly weight: number }>(random: Random, list: readonly T[]): T {
  let left = random() * list.reduce((sum, { weight }) => sum + weight, 0)
  for (const each of list) {
    left -= each.weight
    if (left < 0) return each
  }
  return list.at(-1) as T
}

/** Time until the next event where events come independently of each other, `perSecond` on average. In milliseconds. */
export const untilNextMs = (random: Random, perSecond: number): number => (-Math.log(1 - random()) * 1000) / perSecond

/** How often something happens that happens at least once, and `mean` times on average (geometric). */
export function atLeastOnce(random: Random, mean: number): number {
  let count = 1
  while (random() > 1 / mean) count++
  return count
}

/** A number whose logarithm is normally distributed: half of them are below `median`. */
export const lognormal = (random: Random, median: number, sigma: number): number =>
  median * Math.exp(sigma * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()))

/** Ranks 0 to `count` - 1, of which rank r comes in proportion to (r + 1) ** -exponent (Zipf). */
export function zipf(count: number, exponent: number): (random: Random) => number {
  const sums = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) {
    sum += (rank + 1) ** -exponent
    sums[rank] = sum
  }
  return (random) => {
    const wanted = random() * sum
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((sums[middle] as number) <= wanted) low = middle + 1
      else high = middle
    }
    return low
  }
}
