/**
 * A past as text, in Redis and in files: six numbers, which are good messages, the two weights, and the hours of the first good
 * message, the last one, and the last bad one. Its key is the 64 bits of a source in hexadecimal. That of a domain has a `d` and
 * 64 bits of a hash of its name (domains.ts), and a seventh number is the set of networks. That of a neighbourhood has an `n` and the
 * bits of its network, and the seventh number is the set of bad addresses (neighbourhoods.ts).
 */
import type { Past } from './past.ts'

const KEY = /^[dn]?[0-9a-f]{16}$/
const MOST = 1e9

export const isKey = (text: string): boolean => KEY.test(text)

const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0')
const wordIn = (text: string): number => Number.parseInt(text, 16) | 0

/** 64 bits as 16 digits: the key of a source, or what follows the letter of another key. */
export const digitsOf = (high: number, low: number): string => hex(high) + hex(low)

/** The 64 bits of which a key, or another text, has the digits at its end. */
export const bitsIn = (key: string): readonly [high: number, low: number] => [
  wordIn(key.slice(-16, -8)),
  wordIn(key.slice(-8)),
]

export const textOf = ({ good, recentGood, recentBad, first, lastGood, lastBad, buckets }: Past): string =>
  `${good} ${recentGood.toFixed(3)} ${recentBad.toFixed(3)} ${first} ${lastGood} ${lastBad}${buckets === undefined ? '' : ` ${buckets}`}`

/** @returns undefined if it is anything else */
export function pastIn(value: string): Past | undefined {
  const numbers = value.split(' ').map((word) => (word === '' ? Number.NaN : Number(word)))
  if ((numbers.length !== 6 && numbers.length !== 7) || !numbers.every((each) => each >= 0 && each <= MOST))
    return undefined
  const [good, recentGood, recentBad, first, lastGood, lastBad, buckets] = numbers as [...Six, number?]
  if (![good, first, lastGood, lastBad, buckets ?? 0].every(Number.isInteger)) return undefined
  const past = { good, recentGood, recentBad, first, lastGood, lastBad }
  return buckets === undefined ? past : { ...past, buckets }
}

type Six = [number, number, number, number, number, number]
