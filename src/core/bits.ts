/** Sets that are kept as the bits of a word. */

/** @returns how many of the 32 bits are set */
export function countOfBits(word: number): number {
  let count = 0
  for (let left = word; left !== 0; left &= left - 1) count++
  return count
}
