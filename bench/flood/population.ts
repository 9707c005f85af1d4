// The established senders of a run: all processes of the lab make the same ones from the same seed.

import { addressIn } from '../../src/cli/senders/bot.ts'
import { HONEST_SENDERS, HonestPopulation, type Sender } from '../../src/cli/senders/honest.ts'

const LEAST = 50
/** Neither large nor rare. It sends no honest mail in a run in which it turns bad. */
const TURNING = 40

export const populationOf = ({ seed, scale }: { readonly seed: number; readonly scale: number }): HonestPopulation =>
  new HonestPopulation(seed, Math.max(LEAST, Math.round(HONEST_SENDERS * scale)))

/** How many addresses the flood of S4 comes from. */
export const HEAVY_ADDRESSES = 5
/** The number of the network that the flood of S5 comes from, and its addresses in turn. */
export const ONE_NETWORK = 72 * 256 + 200
export const inOneNetwork = (number: number): string => addressIn(ONE_NETWORK, 1 + (number % 254))

/** Addresses of one IPv6 /48, each of which is in a /64 of its own for as long as there are any. */
export const inOne48 = (number: number): string =>
  `2001:db8:48:${(number & 0xffff).toString(16)}::${(number >>> 16) + 1}`

/** Addresses of one /24 that send spam together after a good fortnight. */
export const SNOWSHOE: readonly string[] = Array.from({ length: 250 }, (_, i) => `127.250.0.${i + 1}`)

/** The known sender that turns bad. */
export const turning = (population: HonestPopulation): Sender => population.established(TURNING)
