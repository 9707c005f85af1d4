/**
 * Values by network, looked up by address: from the narrowest network to the widest, one look for each prefix length in use. IPv6
 * networks are of /64 or wider.
 */
import { type Network, readBits } from './ip.ts'

interface Entry<T> {
  readonly network: Network
  value: T
}

export class NetworkMap<T> {
  /** By the length of the prefix; IPv4 as the lower half of 64 bits. A number is a key of IPv4, a text one of IPv6. */
  readonly #maps = new Map<number, Map<number | string, Entry<T>>>()
  /** Prefix lengths in use, the longest first. */
  #lengths: number[] = []
  #size = 0
  readonly #bits = new Int32Array(2)

  get size(): number {
    return this.#size
  }

  get({ family, first, bits }: Pick<Network, 'family' | 'first' | 'bits'>): T | undefined {
    readBits(first, this.#bits)
    const length = family === 4 ? 32 + bits : bits
    return this.#maps.get(length)?.get(this.#key(length, family === 4))?.value
  }

  set(network: Network, value: T): void {
    const { family, first, bits } = network
    readBits(first, this.#bits)
    const length = family === 4 ? 32 + bits : bits
    const key = this.#key(length, family === 4)
    let map = this.#maps.get(length)
    if (map === undefined) {
      map = new Map()
      this.#maps.set(length, map)
      this.#lengths = [...this.#maps.keys()].sort((a, b) => b - a)
    }
    const held = map.get(key)
    if (held !== undefined) held.value = value
    else {
      map.set(key, { network, value })
      this.#size++
    }
  }

  delete({ family, first, bits }: Pick<Network, 'family' | 'first' | 'bits'>): void {
    readBits(first, this.#bits)
    const length = family === 4 ? 32 + bits : bits
    const map = this.#maps.get(length)
    if (map?.delete(this.#key(length, family === 4)) !== true) return
    this.#size--
    if (map.size > 0) return
    this.#maps.delete(length)
    this.#lengths = this.#lengths.filter((each) => each !== length)
  }

  /** @returns the value of the narrowest network with this address whose value fits */
  find(ip: string, fits: (value: T) => boolean): T | undefined {
    if (this.#size === 0 || !readBits(ip, this.#bits)) return undefined
    const isIPv4 = !ip.includes(':')
    for (const length of this.#lengths) {
      if (isIPv4 && length < 32) return undefined
      const entry = this.#maps.get(length)?.get(this.#key(length, isIPv4))
      if (entry !== undefined && fits(entry.value)) return entry.value
    }
    return undefined
  }

  /** Networks of one prefix length come in the order in which they were set first. */
  *entries(): Generator<readonly [Network, T]> {
    for (const map of this.#maps.values()) for (const { network, value } of map.values()) yield [network, value]
  }

  /** Of the prefix in `#bits`. */
  #key(length: number, isIPv4: boolean): number | string {
    const [high, low] = this.#bits as unknown as [number, number]
    // A shift by 32 would be one by 0.
    const lower = length <= 32 ? 0 : length === 64 ? low : low & ~(0xffff_ffff >>> (length - 32))
    if (isIPv4) return lower >>> 0
    const upper = length >= 32 ? high : length === 0 ? 0 : high & ~(0xffff_ffff >>> length)
    return `${upper >>> 0}:${lower >>> 0}`
  }
}
