/** What is sent: sizes, recipients, and the text of a message. */
import { atLeastOnce, below, lognormal, type Random } from './random.ts'

/** One message as its sender hands it over. */
export interface Letter {
  /** The reverse-path; empty for the null reverse-path. */
  readonly from: string
  readonly to: readonly string[]
  /** Every line ends with CRLF, and no line begins with a dot. */
  readonly header: string
  /** Octets of the body. */
  readonly bodySize: number
}

/**
 * Octets. Half of all honest messages are below 20 KB and one in a hundred is above 2 MB; half of all spam is below 4 KB, and
 * its mean is 10 KB. The largest are cut at what most servers accept.
 */
const HONEST_SIZE = { median: 20_000, sigma: Math.log(100) / 2.326 }
const SPAM_SIZE = { median: 4000, sigma: Math.sqrt(2 * Math.log(2.5)) }
const LARGEST = 9_000_000

const sizeOf = (random: Random, { median, sigma }: typeof HONEST_SIZE): number =>
  Math.round(Math.min(LARGEST, lognormal(random, median, sigma)))
export const honestSize = (random: Random): number => sizeOf(random, HONEST_SIZE)
export const spamSize = (random: Random): number => sizeOf(random, SPAM_SIZE)

/** 1.1 on average. */
export const honestRecipients = (random: Random): number => Math.min(100, atLeastOnce(random, 1.1))
export const spamRecipients = (random: Random): number => 1 + below(random, 5)
/** Guesses of one connection that tries names. */
export const harvestRecipients = (random: Random): number => 10 + below(random, 41)

/** The shares of recipients that do not exist. */
export const UNKNOWN_SHARE = { honest: 0.015, spam: 0.4, harvest: 0.9 } as const

const LINE = Buffer.from(`${'The quick brown fox jumps over the lazy dog. '.repeat(2).slice(0, 76)}\r\n`, 'latin1')
const LINES = 1000
const FILLER = Buffer.concat(Array.from({ length: LINES }, () => LINE))

/** The body in pieces of one buffer that all messages share: whole lines, as near to `size` octets as these come. */
export function* bodyOf(size: number): Generator<Buffer> {
  for (let left = Math.round(size / LINE.length); left > 0; left -= LINES) {
    yield left >= LINES ? FILLER : FILLER.subarray(0, left * LINE.length)
  }
}
