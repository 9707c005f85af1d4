/**
 * HalfSipHash-1-3 (Aumasson and Bernstein's SipHash on 32-bit words) over two words, with 32 bits of output. Whoever does
 * not know the key cannot choose addresses that belong in the same place of a table.
 */
export function halfSipHash(key0: number, key1: number, first: number, second: number): number {
  let v0 = key0
  let v1 = key1
  let v2 = key0 ^ 0x6c796765
  let v3 = key1 ^ 0x74656462
  // One round for each word, one for the length in octets, and three to finish.
  for (let i = 0; i < 6; i++) {
    const word = i === 0 ? first : i === 1 ? second : i === 2 ? 8 << 24 : 0
    if (i === 3) v2 ^= 0xff
    v3 ^= word
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    v0 ^= word
  }
  return v1 ^ v3
}
