/**
 * Addresses and networks, and the home of package ip-cidr.
 *
 * Everything here works on text, because that is what sockets, settings and log lines have. Addresses are read by a
 * loop over the characters, without regular expressions and, for IPv4, without allocating: this runs for every
 * connection of a flood. The file is longer than others because all of it shares that reader and the groups it reads
 * into.
 *
 * ip-cidr reads and normalises the operator's networks when the settings are read. Their spelling is checked first, by
 * the reader that also reads the addresses of clients, because ip-cidr takes `::ffff:10.0.0.1` and even
 * `64:ff9b::10.0.0.1` for the IPv4 address at the end, and ignores zones. We call its createAddress() and not its
 * constructor, which also computes the last address and the size: 100,000 networks take 0.7 s (IPv4) or 1 s (IPv6) as
 * lists are published, and twice that if all have host bits to clear. With the constructor they took 2.5 and 4.5 s.
 *
 * ip-cidr never matches addresses. Its contains() takes 20 us for each network and compares bits across families:
 * `10.0.0.0/8` would contain `a00::1`, and an IPv6 entry in an allow list would let in IPv4 addresses. We match against
 * sorted intervals of our own, in one table for each family.
 */
import IPCIDR from 'ip-cidr'

/** One side of a TCP connection; `ip` is canonical. */
export interface Endpoint {
  readonly ip: string
  readonly port: number
}

export interface Network {
  readonly family: 4 | 6
  /** Canonical CIDR, host bits zero: `192.0.2.0/24`, `2001:db8::/32`, `192.0.2.1/32`. */
  readonly text: string
  /** The lowest address of the network, canonical. */
  readonly first: string
  /** Prefix length: 0 to 32, or 0 to 128. */
  readonly bits: number
}

const DOT = 0x2e
const COLON = 0x3a
const PERCENT = 0x25

// The 16-bit groups of the IPv6 address that was read last. They are shared, so that reading an address allocates
// nothing. Callers of readIPv6 use them before anything else can run.
const groups = new Uint16Array(8)

/**
 * Reads the IPv4 address in `text` from index `from` on. Leading zeros are not allowed.
 * @returns a number from 0 to 2^32-1; -1 if the text is not an IPv4 address
 */
function readIPv4(text: string, from = 0): number {
  const end = text.length
  let value = 0
  let octet = -1
  let octets = 1
  for (let i = from; i < end; i++) {
    const c = text.charCodeAt(i)
    if (c === DOT) {
      if (octet < 0 || octets === 4) return -1
      value = value * 256 + octet
      octet = -1
      octets++
    } else {
      const digit = c - 0x30
      if (digit < 0 || digit > 9 || octet === 0) return -1
      octet = octet < 0 ? digit : octet * 10 + digit
      if (octet > 255) return -1
    }
  }
  return octets === 4 && octet >= 0 ? value * 256 + octet : -1
}

function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30
  const lower = c | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

/**
 * Reads an IPv6 address (RFC 4291 section 2.2, all three forms) into `groups`, without its zone.
 * @returns false if the text is not an IPv6 address
 */
function readIPv6(text: string): boolean {
  const end = text.length
  let count = 0
  let gap = -1 // index of the group at which `::` stands
  let i = 0
  if (text.charCodeAt(0) === COLON) {
    if (text.charCodeAt(1) !== COLON) return false
    gap = 0
    i = 2
  }
  while (i < end && text.charCodeAt(i) !== PERCENT) {
    if (count === 8) return false
    const start = i
    let value = 0
    let c = 0
    for (; i < end; i++) {
      c = text.charCodeAt(i)
      const digit = hexDigit(c)
      if (digit < 0) break
      if (i - start === 4) return false
      value = value * 16 + digit
    }
    if (i === start) return false
    if (i < end && c === DOT) {
      const v4 = count > 6 ? -1 : readIPv4(text.slice(start, zoneOrEnd(text)))
      if (v4 < 0) return false
      groups[count] = v4 >>> 16
      groups[count + 1] = v4 & 0xffff
      count += 2
      break
    }
    groups[count++] = value
    if (i === end || c === PERCENT) break
    if (c !== COLON) return false
    i++
    if (text.charCodeAt(i) === COLON) {
      if (gap >= 0) return false
      gap = count
      i++
    } else if (i === end || text.charCodeAt(i) === PERCENT) {
      return false
    }
  }
  if (gap < 0) return count === 8
  if (count === 8) return false
  let to = 8
  while (count > gap) groups[--to] = groups[--count]!
  while (to > gap) groups[--to] = 0
  return true
}

function zoneOrEnd(text: string): number {
  const zone = text.indexOf('%')
  return zone < 0 ? text.length : zone
}

/** Whether `groups` holds an IPv4-mapped address (RFC 4291 2.5.5.2), which is how a dual-stack socket shows IPv4. */
function isMapped(): boolean {
  return (
    groups[5] === 0xffff && groups[0] === 0 && groups[1] === 0 && groups[2] === 0 && groups[3] === 0 && groups[4] === 0
  )
}

function mappedIPv4(): number {
  return groups[6]! * 65536 + groups[7]!
}

function writeIPv4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`
}

/** Writes `groups` as in RFC 5952: lower case, no leading zeros, `::` for the first of the longest runs of zeros. */
function writeIPv6(): string {
  let gap = -1
  let gapLength = 1 // a single zero group is not shortened (RFC 5952 section 4.2.2)
  for (let i = 0; i < 8; i++) {
    if (groups[i] !== 0) continue
    const start = i
    while (i < 8 && groups[i] === 0) i++
    if (i - start > gapLength) {
      gap = start
      gapLength = i - start
    }
  }
  let text = ''
  for (let i = 0; i < 8; i++) {
    if (i === gap) {
      text += '::'
      i += gapLength - 1
    } else {
      text += i === 0 || i === gap + gapLength ? groups[i]!.toString(16) : `:${groups[i]!.toString(16)}`
    }
  }
  return text
}

/**
 * Writes an address in the one form used here: IPv4 dotted, IPv6 as in RFC 5952, IPv4-mapped IPv6 (also in hex) as
 * IPv4, without a zone. Text that is not an address is returned unchanged.
 */
export function canonical(address: string): string {
  if (!address.includes(':')) return address
  // A dual-stack socket reports every IPv4 client like this.
  if (address.startsWith('::ffff:') && readIPv4(address, 7) >= 0) return address.slice(7)
  if (!readIPv6(address)) return address
  return isMapped() ? writeIPv4(mappedIPv4()) : writeIPv6()
}

/** The family of a canonical address. */
export function familyOf(ip: string): 4 | 6 {
  return ip.includes(':') ? 6 : 4
}

function prefix6(ip: string, kept: number): string {
  if (!readIPv6(ip)) return ip
  groups.fill(0, kept)
  return `${writeIPv6()}/${kept * 16}`
}

/**
 * The key that per-client limits count a canonical address under: an IPv4 address itself, or the /64 of an IPv6 address
 * (`2001:db8:1:2::/64`), since every host has a whole /64 to choose from.
 */
export function sourceOf(ip: string): string {
  return ip.includes(':') ? prefix6(ip, 4) : ip
}

/** The first address of a source as sourceOf() returns it, which may be a /64. */
export const firstOf = (source: string): string => (source.endsWith('/64') ? source.slice(0, -3) : source)

/** The neighbourhood of a canonical address: the /24 (`198.51.100.0/24`), or the /48 (`2001:db8:1::/48`). */
export function netOf(ip: string): string {
  return ip.includes(':') ? prefix6(ip, 3) : `${ip.slice(0, ip.lastIndexOf('.'))}.0/24`
}

/**
 * The network that belongs to one provider. Of IPv6 it is the /32, the least that registries allocate, which has 65,536
 * neighbourhoods. Of IPv4 it is the neighbourhood itself.
 */
export function providerOf(ip: string): string {
  return ip.includes(':') ? prefix6(ip, 2) : netOf(ip)
}

/**
 * Writes the first 64 bits of a canonical address into two words: what tells its source, the /64, from all others. An
 * IPv4 address is the second word, and the first is 0. (No client has an address in ::/32.) Allocates nothing.
 * @returns false if the text is not an address
 */
export function readBits(ip: string, into: Int32Array): boolean {
  if (!ip.includes(':')) {
    const value = readIPv4(ip)
    into[0] = 0
    into[1] = value
    return value >= 0
  }
  if (!readIPv6(ip)) return false
  into[0] = (groups[0]! << 16) | groups[1]!
  into[1] = (groups[2]! << 16) | groups[3]!
  return true
}

/** The lower half of the network (the /24, the /48) of a source with these bits. */
export const netBits = (high: number, low: number): number => low & (high === 0 ? 0xffff_ff00 : 0xffff_0000)

/** The lowest address with these first 64 bits, canonical. From it readBits reads them again. */
export function addressOf(high: number, low: number): string {
  if (high === 0) return writeIPv4(low)
  const words = [high >>> 16, high & 0xffff, low >>> 16, low & 0xffff]
  return canonical(`${words.map((word) => word.toString(16)).join(':')}::`)
}

/**
 * Reads an address or a CIDR network. A bare address becomes a /32 or a /128, host bits are cleared, and an IPv4-mapped
 * network of /96 or longer becomes the IPv4 network it stands for.
 * @throws Error that says what is wrong and what to write
 */
export function parseNetwork(text: string): Network {
  const read = IPCIDR.createAddress(wellSpelled(text))
  const bits = read.subnetMask
  const address = read.addressMinusSuffix as string
  const first = hasHostBits(address, bits) ? canonical(read.startAddress().addressMinusSuffix as string) : address
  return { family: read.v4 ? 4 : 6, text: `${first}/${bits}`, first, bits }
}

/**
 * @returns the canonical address, a slash and the prefix length @throws Error if the text is ambiguous or not a network
 */
function wellSpelled(text: string): string {
  const slash = text.indexOf('/')
  const address = slash < 0 ? text : text.slice(0, slash)
  const prefix = slash < 0 ? undefined : text.slice(slash + 1)
  if (readIPv4(address) >= 0) return `${address}/${prefixLength(text, prefix, 32)}`
  if (address.includes('%') || !address.includes(':') || !readIPv6(address)) {
    throw new Error(`${JSON.stringify(text)} ${whyNoAddress(address)}`)
  }
  const bits = prefixLength(text, prefix, 128)
  return isMapped() && bits >= 96 ? `${writeIPv4(mappedIPv4())}/${bits - 96}` : `${writeIPv6()}/${bits}`
}

/** Whether a canonical address has bits set after the first `bits`. */
function hasHostBits(address: string, bits: number): boolean {
  if (familyOf(address) === 4) return readIPv4(address) % 2 ** (32 - bits) !== 0
  readIPv6(address)
  return groups.some((group, i) => (group & (0xffff >> Math.max(0, Math.min(16, bits - 16 * i)))) !== 0)
}

function prefixLength(text: string, prefix: string | undefined, width: number): number {
  if (prefix === undefined) return width
  if (/^(0|[1-9]\d{0,2})$/.test(prefix) && Number(prefix) <= width) return Number(prefix)
  const mask = width === 32 ? readIPv4(prefix) : -1
  if (mask > 0) {
    const inverted = ~mask >>> 0
    if ((inverted & (inverted + 1)) === 0) {
      const bits = Math.clz32(inverted)
      throw new Error(
        `${JSON.stringify(text)} has a netmask; write the prefix length: ${text.slice(0, text.indexOf('/'))}/${bits}`,
      )
    }
  }
  const family = width === 32 ? 4 : 6
  const example = family === 4 ? '192.0.2.0/24' : '2001:db8::/32'
  throw new Error(
    `${JSON.stringify(text)} has no valid prefix length; an IPv${family} network has one from 0 to ${width}, as in ${example}`,
  )
}

function whyNoAddress(address: string): string {
  const what = 'write an address or a CIDR network, as in 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32'
  if (address.trim() === '') return `has no address; ${what}`
  if (/\s/.test(address)) return `has a space in it; ${what}, several separated by commas`
  if (address.startsWith('[')) return 'has brackets; write the IPv6 address without them, as in 2001:db8::1'
  if (address.includes('%')) return 'has a zone; write the address without the part from % on'
  if (address.includes('*')) return `has a wildcard; ${what}`
  if (/^[\d.]+-[\d.]*$/.test(address)) return `is a range; ${what}`
  if (/^[\d.]+:\d+$/.test(address)) return 'has a port; write the address without it'
  if (address.includes(':')) return 'is not a valid IPv6 address; write it as in 2001:db8::1 or 2001:db8::/32'
  if (!/^[\d.]+$/.test(address)) return `is not an address (names are not looked up here); ${what}`
  const octets = address.split('.')
  if (octets.length !== 4 || octets.includes('')) return `is not an IPv4 address: it needs four octets; ${what}`
  const bad = octets.find((octet) => octet.length > 1 && octet.startsWith('0'))
  if (bad !== undefined)
    return `has an octet with a leading zero (${bad}), which some programs read as octal; drop the zero`
  return `is not an IPv4 address: ${octets.find((octet) => Number(octet) > 255)} is over 255; ${what}`
}

/** Sorted intervals that do not overlap: for IPv4 one word for each address, for IPv6 four. A thread can pass them to another. */
export interface NetworkTable {
  readonly lows4: Uint32Array<ArrayBuffer>
  readonly highs4: Uint32Array<ArrayBuffer>
  readonly lows6: Uint32Array<ArrayBuffer>
  readonly highs6: Uint32Array<ArrayBuffer>
}

export const compile = (networks: readonly Network[]): ((ip: string) => boolean) => lookup(tableOf(networks))

/** Takes 70 ms for 100,000 networks. */
export function tableOf(networks: readonly Network[]): NetworkTable {
  const [lows4, highs4] = table4(networks.filter((network) => network.family === 4))
  const [lows6, highs6] = table6(networks.filter((network) => network.family === 6))
  return { lows4, highs4, lows6, highs6 }
}

/**
 * @returns a function that tells whether an address lies in any of the networks, by a binary search that allocates
 * nothing. Families never match each other. An IPv4-mapped address counts as IPv4. Text that is not an address lies in
 * no network.
 */
export function lookup(table: NetworkTable): (ip: string) => boolean {
  if (table.lows4.length === 0 && table.lows6.length === 0) return () => false
  return (ip) => {
    if (!ip.includes(':')) {
      const value = readIPv4(ip)
      return value >= 0 && holds4(table, value)
    }
    if (!readIPv6(ip)) return false
    return isMapped() ? holds4(table, mappedIPv4()) : holds6(table)
  }
}

/** Whether a network has an address in common with the table. IPv6 networks are of /64 or wider. Looks at the whole table. */
export function overlaps(table: NetworkTable, { family, first, bits }: Network): boolean {
  if (lookup(table)(first)) return true
  if (family === 4) {
    const low = readIPv4(first)
    return table.lows4.some((each) => each >= low && each < low + 2 ** (32 - bits))
  }
  readIPv6(first)
  const [w0, w1] = [groups[0]! * 65536 + groups[1]!, groups[2]! * 65536 + groups[3]!]
  const [unit0, unit1] = [2 ** Math.max(0, 32 - bits), 2 ** Math.min(32, 64 - bits)]
  const { lows6 } = table
  for (let i = 0; i < lows6.length; i += 4) {
    const isSame =
      lows6[i]! >= w0 && lows6[i]! < w0 + unit0 && (bits <= 32 || (lows6[i + 1]! >= w1 && lows6[i + 1]! < w1 + unit1))
    if (isSame) return true
  }
  return false
}

type Intervals = [lows: Uint32Array<ArrayBuffer>, highs: Uint32Array<ArrayBuffer>]

function table4(networks: readonly Network[]): Intervals {
  const ranges = networks.map(({ first, bits }) => {
    const low = readIPv4(first)
    return { low, high: low + 2 ** (32 - bits) - 1 }
  })
  ranges.sort((a, b) => a.low - b.low)
  const lows = new Uint32Array(ranges.length)
  const highs = new Uint32Array(ranges.length)
  let count = 0
  for (const { low, high } of ranges) {
    if (count > 0 && low <= highs[count - 1]! + 1) {
      highs[count - 1] = Math.max(highs[count - 1]!, high)
    } else {
      lows[count] = low
      highs[count++] = high
    }
  }
  return [lows.slice(0, count), highs.slice(0, count)]
}

function holds4({ lows4, highs4 }: NetworkTable, value: number): boolean {
  let from = 0
  let to = lows4.length
  while (from < to) {
    const middle = (from + to) >>> 1
    if (lows4[middle]! <= value) from = middle + 1
    else to = middle
  }
  return from > 0 && value <= highs4[from - 1]!
}

/** An interval is a first and a last address of four 32-bit words each. */
function table6(networks: readonly Network[]): Intervals {
  const prefixes = networks.map(({ first, bits }) => {
    readIPv6(first)
    const words = [0, 2, 4, 6].map((i) => groups[i]! * 65536 + groups[i + 1]!)
    return { words, bits }
  })
  prefixes.sort((a, b) => {
    for (let i = 0; i < 4; i++) if (a.words[i] !== b.words[i]) return a.words[i]! - b.words[i]!
    return a.bits - b.bits
  })
  const lows = new Uint32Array(prefixes.length * 4)
  const highs = new Uint32Array(prefixes.length * 4)
  let count = 0
  for (const { words, bits } of prefixes) {
    // Two prefixes are disjoint, or one contains the other. The wider one comes first, and those inside it are left
    // out.
    if (count > 0 && compareAt(highs, count - 1, words[0]!, words[1]!, words[2]!, words[3]!) >= 0) continue
    for (let i = 0; i < 4; i++) {
      const hostBits = Math.min(32, Math.max(0, 32 * (i + 1) - bits))
      lows[count * 4 + i] = words[i]!
      highs[count * 4 + i] = words[i]! + 2 ** hostBits - 1
    }
    count++
  }
  return [lows.slice(0, count * 4), highs.slice(0, count * 4)]
}

/** Looks up the address in `groups`. */
function holds6({ lows6, highs6 }: NetworkTable): boolean {
  const w0 = groups[0]! * 65536 + groups[1]!
  const w1 = groups[2]! * 65536 + groups[3]!
  const w2 = groups[4]! * 65536 + groups[5]!
  const w3 = groups[6]! * 65536 + groups[7]!
  let from = 0
  let to = lows6.length / 4
  while (from < to) {
    const middle = (from + to) >>> 1
    if (compareAt(lows6, middle, w0, w1, w2, w3) <= 0) from = middle + 1
    else to = middle
  }
  return from > 0 && compareAt(highs6, from - 1, w0, w1, w2, w3) >= 0
}

/** Compares address `at` of a table with the four words. @returns below zero, zero or above zero */
function compareAt(table: Uint32Array, at: number, w0: number, w1: number, w2: number, w3: number): number {
  const i = at * 4
  return table[i]! - w0 || table[i + 1]! - w1 || table[i + 2]! - w2 || table[i + 3]! - w3
}

/** Whether this is a loopback address, which other machines cannot reach. */
export const isLoopback: (ip: string) => boolean = compile([parseNetwork('127.0.0.0/8'), parseNetwork('::1')])

/** Whether an address is not public: RFC 1918, loopback, link-local, unique local, shared (RFC 6598). */
export const isPrivate: (ip: string) => boolean = compile(
  [
    '10.0.0.0/8',
    '172.16.0.0/12',
    '192.168.0.0/16',
    '127.0.0.0/8',
    '169.254.0.0/16',
    '100.64.0.0/10',
    '::1',
    'fe80::/10',
    'fc00::/7',
  ].map(parseNetwork),
)

/** Where programs of this machine connect from, unless they choose another address. */
export const THIS_MACHINE = '127.0.0.1'

/**
 * Whether all clients may seem to have this address, as a NAT, or a balancer that is not listed, shows them, and no list can know it: it is private. The
 * other addresses of 127.0.0.0/8 are nobody's but a test's, in which each is a client of its own.
 */
export const mayBeAnybody = (ip: string): boolean =>
  isPrivate(ip) && (ip === THIS_MACHINE || ip.includes(':') || !isLoopback(ip))
