/**
 * How a whole source, which is an IPv4 address or the /64 of an IPv6 address, lies to a table of networks (ip.ts). Lists may name
 * parts of a /64; the kernel knows a /64 only as a whole.
 */
import { lookup, type NetworkTable, readBits } from './ip.ts'

const WHOLE = 0xffff_ffff
const bits = new Int32Array(2)

/** Whether all addresses of the source are in the table. @param ip canonical, any address of the source */
export function coversSource(table: NetworkTable, ip: string): boolean {
  if (!ip.includes(':')) return lookup(table)(ip)
  if (!readBits(ip, bits)) return false
  const [high, low] = [(bits[0] as number) >>> 0, (bits[1] as number) >>> 0]
  const at = lastFrom(table, high, low, 0)
  return at >= 0 && isAtLeast(table.highs6, at, high, low, WHOLE)
}

/** Whether any address of the source is in the table. @param ip canonical, any address of the source */
export function touchesSource(table: NetworkTable, ip: string): boolean {
  if (!ip.includes(':')) return lookup(table)(ip)
  if (!readBits(ip, bits)) return false
  const [high, low] = [(bits[0] as number) >>> 0, (bits[1] as number) >>> 0]
  const at = lastFrom(table, high, low, WHOLE)
  return at >= 0 && isAtLeast(table.highs6, at, high, low, 0)
}

/** The last interval that begins at this address or before; -1: there is none. `rest` is each of the lower two words. */
function lastFrom({ lows6 }: NetworkTable, high: number, low: number, rest: number): number {
  let from = 0
  let to = lows6.length / 4
  while (from < to) {
    const middle = (from + to) >>> 1
    if (compare(lows6, middle, high, low, rest) <= 0) from = middle + 1
    else to = middle
  }
  return from - 1
}

const isAtLeast = (table: Uint32Array, at: number, high: number, low: number, rest: number): boolean =>
  compare(table, at, high, low, rest) >= 0

function compare(table: Uint32Array, at: number, high: number, low: number, rest: number): number {
  const i = at * 4
  return table[i]! - high || table[i + 1]! - low || table[i + 2]! - rest || table[i + 3]! - rest
}
