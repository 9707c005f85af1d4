/**
 * A past as text, in Redis and in files: six numbers, which are good messages, the two weights, and the hours of the first good
 * message, the last one, and the last bad one. Its key is the 64 bits of a source in hexadecimal.
 */
import type { Past } from './past.ts'

const KEY = /^[0-9a-f]{16}$/
const MOST = 1e9

export const isKey = (text: string): boolean => KEY.test(text)

export const textOf = ({ good, recentGood, recentBad, first, lastGood, lastBad }: Past): string =>
  `${good} ${recentGood.toFixed(3)} ${recentBad.toFixed(3)} ${first} ${lastGood} ${lastBad}`

/** @returns undefined if it is anything else */
export function pastIn(value: string): Past | undefined {
  const numbers = value.split(' ').map((word) => (word === '' ? Number.NaN : Number(word)))
  if (numbers.length !== 6 || !numbers.every((each) => each >= 0 && each <= MOST)) return undefined
  const [good, recentGood, recentBad, first, lastGood, lastBad] = numbers as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  if (![good, first, lastGood, lastBad].every(Number.isInteger)) return undefined
  return { good, recentGood, recentBad, first, lastGood, lastBad }
}
