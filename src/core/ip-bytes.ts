/** The bytes of an address, as they stand in packets. */

/** The four bytes of an IPv4 address. */
export function octets(ip: string): Buffer {
  return Buffer.from(ip.split('.').map(Number))
}

/** The sixteen bytes of an IPv6 address in its canonical or its IPv4-mapped dotted form. */
export function groups(ip: string): Buffer {
  const bytes = Buffer.alloc(16)
  if (ip.includes('.')) {
    bytes.writeUInt16BE(0xffff, 10)
    octets(ip.slice(ip.lastIndexOf(':') + 1)).copy(bytes, 12)
    return bytes
  }
  const [head = '', tail = ''] = ip.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === '' ? [] : tail.split(':')
  for (const [i, group] of left.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * i)
  for (const [i, group] of right.entries()) {
    bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * (8 - right.length + i))
  }
  return bytes
}
