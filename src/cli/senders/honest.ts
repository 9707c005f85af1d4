/** Honest senders: who sends how much, from which addresses, with which mail server. */
import { MTAS, type Mta } from './mta.ts'
import { atLeastOnce, below, type Random, seeded, weighted, zipf } from './random.ts'

/** Addresses a day. They send in proportion to rank ** -1.05 (assumed). */
export const HONEST_SENDERS = 20_000
const EXPONENT = 1.05
/** This share of honest messages comes from senders that were never seen before. */
export const FIRST_CONTACTS = 0.05
/** The largest senders bring 3 to 20 messages with one connection. */
export const LARGE = 20
/** The /24s of 127.0.0.0/8 that senders are in, counted from 127.0.0.0. */
const ESTABLISHED_NETS = 16 * 256
const STRANGERS_NETS = { first: 96 * 256, count: 32 * 256 }

export interface Sender {
  readonly name: string
  readonly mta: Mta
  /** The addresses that its tries come from, in turn. */
  readonly addresses: readonly string[]
  readonly isLarge: boolean
}

export class HonestPopulation {
  readonly #seed: number
  readonly #rank: (random: Random) => number
  readonly #sum: number
  readonly count: number
  #strangers = 0

  constructor(seed: number, count = HONEST_SENDERS) {
    this.#seed = seed
    this.count = count
    this.#rank = zipf(count, EXPONENT)
    this.#sum = Array.from({ length: count }, (_, rank) => (rank + 1) ** -EXPONENT).reduce((sum, each) => sum + each, 0)
  }

  /** One of those that have sent before, the largest first. Each has a /24 of its own in 127.16.0.0 to 127.95.255.255. */
  established(rank: number): Sender {
    return this.#sender(`s${rank}`, rank, { net: ESTABLISHED_NETS + rank, host: 10 }, rank < LARGE)
  }

  /** The share of the mail of all established senders that this one brings. */
  shareOf(rank: number): number {
    return (rank + 1) ** -EXPONENT / this.#sum
  }

  next(random: Random): Sender {
    return this.established(this.#rank(random))
  }

  /** One that never sent before. Its /24 is in 127.96.0.0/11, and is its own until 8,192 others have come. */
  stranger(): Sender {
    const number = this.#strangers++
    const host = 10 + 8 * (Math.floor(number / STRANGERS_NETS.count) % 30)
    return this.#sender(
      `n${number}`,
      -1 - number,
      { net: STRANGERS_NETS.first + (number % STRANGERS_NETS.count), host },
      false,
    )
  }

  #sender(name: string, number: number, { net, host }: { net: number; host: number }, isLarge: boolean): Sender {
    const mta = weighted(seeded(Math.imul(number, 0x85ebca6b) ^ this.#seed), MTAS)
    const addresses = Array.from({ length: mta.addresses }, (_, i) => `127.${net >>> 8}.${net & 255}.${host + i}`)
    return { name, mta, addresses, isLarge }
  }
}

/** How many messages one connection brings, on average. */
const A_CONNECTION = 1.1
const A_LARGE_CONNECTION = { least: 3, most: 20 }

export const messagesAConnection = (random: Random, { isLarge }: Sender): number =>
  isLarge
    ? A_LARGE_CONNECTION.least + below(random, A_LARGE_CONNECTION.most - A_LARGE_CONNECTION.least + 1)
    : Math.min(100, atLeastOnce(random, A_CONNECTION))

/**
 * Whether a sender that was drawn by its share of the messages connects now. A large one brings more with one connection, so it
 * connects less often; of one that does not, another is drawn in its place.
 */
export function connects(random: Random, { isLarge }: Sender): boolean {
  const { least, most } = A_LARGE_CONNECTION
  return !isLarge || random() < A_CONNECTION / ((least + most) / 2)
}
