import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { canonical, type Endpoint, familyOf } from '../../../src/core/ip.ts'
import { parseProxyHeader } from '../../../src/front/gate/proxy-protocol.ts'
import { proxyV1, proxyV2, proxyV2Local } from '../../../src/relay/smtp/proxy-header.ts'

const SIGNATURE = '0d0a0d0a000d0a515549540a'
/** A version 2 header from hex digits; its length is set right unless given. */
function v2(command: string, family: string, block: string, length = block.length / 2): Buffer {
  return Buffer.from(SIGNATURE + command + family + length.toString(16).padStart(4, '0') + block, 'hex')
}
const TCP4 = 'c0000201c6336407' /* 192.0.2.1, 198.51.100.7 */ + 'dc040019' /* 56324, 25 */
const TCP6 = `20010db8${'00'.repeat(11)}01${'20010db8'}${'00'.repeat(11)}02dc040019`
const MAPPED = `${'00'.repeat(10)}ffffc0000201${'00'.repeat(10)}ffffc6336407dc040019`
const UNIX = '2f'.repeat(216)

const v4Pair = {
  source: { ip: '192.0.2.1', port: 56324 },
  destination: { ip: '198.51.100.7', port: 25 },
}
const v6Pair = {
  source: { ip: '2001:db8::1', port: 56324 },
  destination: { ip: '2001:db8::2', port: 25 },
}

const line = (text: string) => Buffer.from(`${text}\r\n`, 'latin1')
const valid: [string, Buffer, object][] = [
  ['v1 TCP4', line('PROXY TCP4 192.0.2.1 198.51.100.7 56324 25'), v4Pair],
  ['v1 TCP6', line('PROXY TCP6 2001:DB8::1 2001:db8:0:0:0:0:0:2 56324 25'), v6Pair],
  ['v1 TCP6 of IPv4-mapped', line('PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c633:6407 56324 25'), v4Pair],
  [
    'v1 TCP6, seven groups before ::',
    line('PROXY TCP6 1:2:3:4:5:6:7:: 1:2:3:4:5:6:1.2.3.4 1 2'),
    { source: { ip: '1:2:3:4:5:6:7:0', port: 1 }, destination: { ip: '1:2:3:4:5:6:102:304', port: 2 } },
  ],
  [
    'v1 with the least and the greatest port',
    line('PROXY TCP4 0.0.0.0 255.255.255.255 0 65535'),
    { source: { ip: '0.0.0.0', port: 0 }, destination: { ip: '255.255.255.255', port: 65535 } },
  ],
  [
    'v1 TCP6 with an IPv4 destination, as nginx writes it',
    line('PROXY TCP6 2001:db8::1 198.51.100.7 56324 25'),
    { source: v6Pair.source, destination: v4Pair.destination },
  ],
  [
    'v1 TCP6 with an IPv4-mapped destination',
    line('PROXY TCP6 2001:db8::1 ::ffff:198.51.100.7 56324 25'),
    { source: v6Pair.source, destination: v4Pair.destination },
  ],
  [
    'v1 TCP4 with an IPv6 destination',
    line('PROXY TCP4 192.0.2.1 2001:db8::2 56324 25'),
    { source: v4Pair.source, destination: v6Pair.destination },
  ],
  ['v1 UNKNOWN', line('PROXY UNKNOWN'), {}],
  ['v1 UNKNOWN with what is to be ignored', line('PROXY UNKNOWN ffff::1 what\0ever 65535'), {}],
  ['v1 of 107 bytes', line(`PROXY UNKNOWN ${'x'.repeat(107 - 16)}`), {}],
  ['v2 TCP4', v2('21', '11', TCP4), v4Pair],
  ['v2 TCP6', v2('21', '21', TCP6), v6Pair],
  ['v2 TCP6 of IPv4-mapped', v2('21', '21', MAPPED), v4Pair],
  [
    'v2 TCP6 with an IPv4-mapped destination',
    v2('21', '21', TCP6.slice(0, 32) + MAPPED.slice(32)),
    { source: v6Pair.source, destination: v4Pair.destination },
  ],
  ['v2 UNIX', v2('21', '31', UNIX), {}],
  ['v2 UNSPEC', v2('21', '00', ''), {}],
  ['v2 UNSPEC with a block of unknown shape', v2('21', '00', 'ffffff'), {}],
  ['v2 with TLVs', v2('21', '11', `${TCP4}0400000500041122334403000400000000`), v4Pair],
  [
    'v2 of 4096 bytes',
    v2('21', '11', `${TCP4}04${(4080 - 12 - 3).toString(16).padStart(4, '0')}${'00'.repeat(4065)}`),
    v4Pair,
  ],
  ['v2 LOCAL', v2('20', '00', ''), { local: true }],
  ['v2 LOCAL with addresses', v2('20', '11', TCP4), { local: true }],
  ['v2 LOCAL of any family and block', v2('20', 'ff', 'ffff'), { local: true }],
]

describe.each(valid)('%s', (_, header, expected) => {
  const ok = { state: 'ok', length: header.length, local: false, ...expected }

  test('is read, and what is behind it is left alone', () => {
    expect(parseProxyHeader(header)).toEqual(ok)
    expect(parseProxyHeader(Buffer.concat([header, Buffer.from('\r\nEHLO a\r\n')]))).toEqual(ok)
  })

  test('cut anywhere, more is asked for', () => {
    for (let cut = 0; cut < header.length; cut++) {
      expect({ cut, ...parseProxyHeader(header.subarray(0, cut)) }).toEqual({ cut, state: 'more' })
    }
  })
})

/** Where the bytes stop being a beginning of a header: the number of bytes with which the answer becomes bad. */
function badFrom(bytes: Buffer): number | undefined {
  for (let size = 0; size <= bytes.length; size++) {
    if (parseProxyHeader(bytes.subarray(0, size)).state === 'bad') return size
  }
  return undefined
}

describe('what can no longer become a header is refused with the byte that rules it out', () => {
  // ^ stands behind the first byte that can not be.
  test.each([
    ['E^HLO', 'no PROXY header'],
    ['PROXy^', 'no PROXY header'],
    ['PROXY\t^', 'no PROXY header'],
    [' ^PROXY', 'no PROXY header'],
    ['PROXY  ^TCP4', 'unknown protocol ""'],
    ['PROXY \r^\n', 'unknown protocol ""'],
    ['PROXY TCP5^', 'unknown protocol "TCP5"'],
    ['PROXY t^', 'unknown protocol "t"'],
    ['PROXY TCP44^', 'unknown protocol "TCP44"'],
    ['PROXY UNKNOWNX^', 'unknown protocol "UNKNOWNX"'],
    ['PROXY UNKN\r^', 'unknown protocol "UNKN"'],
    ['PROXY TCP4\r^\n', 'fewer than two addresses'],
    ['PROXY TCP4  ^', 'is no TCP4 address'],
    ['PROXY TCP4 256^', 'source address "256" is no TCP4 address'],
    ['PROXY TCP4 01^', 'source address "01" is no TCP4 address'],
    ['PROXY TCP4 x^', 'is no TCP4 address'],
    ['PROXY TCP4 2001^:db8::1', 'is no TCP4 address'],
    ['PROXY TCP4 :^:', 'is no TCP4 address'],
    ['PROXY TCP4 1.2.3.4.^', 'is no TCP4 address'],
    ['PROXY TCP4 1.2.3 ^', 'source address "1.2.3" is no TCP4 address'],
    ['PROXY TCP4 1.2.3.4 1.2.3.456^7', 'destination address'],
    ['PROXY TCP6 1.^2.3.4', 'is no TCP6 address'],
    ['PROXY TCP6 1::2::^3', 'is no TCP6 address'],
    ['PROXY TCP6 12345^', 'is no TCP6 address'],
    ['PROXY TCP6 :1^', 'is no TCP6 address'],
    ['PROXY TCP6 fe80::1%^eth0', 'is no TCP6 address'],
    ['PROXY TCP6 1:2:3:4:5:6:7:8:^9', 'is no TCP6 address'],
    ['PROXY TCP6 ::1 192.0.2.1.^', 'destination address "192.0.2.1." is no address'],
    ['PROXY TCP6 ::1 192.0:^', 'destination address'],
    ['PROXY TCP4 192.0.2.1 2001:db8::12345^', 'destination address'],
    ['PROXY TCP4 1.2.3.4 1.2.3.4 00^', 'source port "00" is no port'],
    ['PROXY TCP4 1.2.3.4 1.2.3.4 65536^', 'source port "65536" is no port'],
    ['PROXY TCP4 1.2.3.4 1.2.3.4 +^1', 'is no port'],
    ['PROXY TCP4 1.2.3.4 1.2.3.4 1 -^', 'destination port'],
    ['PROXY TCP4 1.2.3.4 1.2.3.4  ^', 'source port "" is no port'],
    ['PROXY TCP4 1.2.3.4 1.2.3.4 1 \r^', 'destination port "" is no port'],
    ['PROXY TCP4 1.2.3.4 1.2.3.4 1\r^', 'fewer than two addresses'],
    ['PROXY TCP4 1.2.3.4 1.2.3.4 1 2 ^3', 'more than two addresses'],
    ['PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n^', 'does not end with CRLF'],
    ['PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r^\n', 'does not end with CRLF'],
    ['PROXY UNKNOWN a\n^', 'does not end with CRLF'],
    [`PROXY UNKNOWN ${'x'.repeat(107 - 16)}x^`, 'no CRLF in the first 107 bytes'],
  ])('%j: %s', (marked, why) => {
    const at = marked.indexOf('^')
    const bytes = Buffer.from(marked.replace('^', ''), 'latin1')
    expect(badFrom(bytes)).toBe(at)
    expect(parseProxyHeader(bytes)).toEqual({ state: 'bad', why: expect.stringContaining(why) })
  })

  test.each<[string, Buffer, number, string]>([
    ['a wrong signature', Buffer.from('0d0a0d0a010d', 'hex'), 5, 'no PROXY header'],
    ['version 1', v2('11', '11', TCP4), 13, 'version 1'],
    ['version 3', v2('31', '11', TCP4), 13, 'version 3'],
    ['command 2', v2('22', '11', TCP4), 13, 'unknown command 2'],
    ['UDP', v2('21', '12', TCP4), 14, '0x12'],
    ['family 4', v2('21', '41', TCP4), 14, '0x41'],
    ['IPv4 with no protocol', v2('21', '10', TCP4), 14, '0x10'],
    ['a length over 4096, told by its high byte', v2('21', '11', '', 0x1000), 15, 'longer than 4096'],
    ['a length over 4096', v2('21', '11', '', 4081), 16, 'longer than 4096'],
    ['LOCAL over 4096', v2('20', '00', '', 4081), 16, 'longer than 4096'],
    ['a short IPv4 block', v2('21', '11', TCP4.slice(2)), 16, 'cut short'],
    ['a short IPv6 block', v2('21', '21', TCP6.slice(2)), 16, 'cut short'],
    ['a short UNIX block', v2('21', '31', UNIX.slice(2)), 16, 'cut short'],
    ['two bytes where a TLV should be', v2('21', '11', `${TCP4}0400`), 16, 'TLV is cut short'],
    ['a TLV longer than the header', v2('21', '11', `${TCP4}04000100`.slice(0, -2)), 31, 'longer than the header'],
    ['a second TLV longer than the header', v2('21', '11', `${TCP4}040000040002ff`), 34, 'longer than the header'],
    ['a byte behind the last TLV', v2('21', '11', `${TCP4}04000000`), 31, 'TLV is cut short'],
  ])('version 2, %s', (_, bytes, from, why) => {
    expect(badFrom(bytes)).toBe(from)
    expect(parseProxyHeader(bytes)).toEqual({ state: 'bad', why: expect.stringContaining(why) })
  })
})

const port = fc.integer({ min: 0, max: 65535 })
const ip4 = fc.ipV4()
const ip6 = fc.ipV6().map(canonical)
const pair = (ip: fc.Arbitrary<string>) =>
  fc.record({ source: fc.record({ ip, port }), destination: fc.record({ ip, port }) })
const connection = fc.oneof(pair(ip4), pair(ip6), pair(fc.oneof(ip4, ip6)))

/** A header as nginx writes it: the family of the client, and both addresses as they are. */
const nginxV1 = ({ source, destination }: { source: Endpoint; destination: Endpoint }) =>
  line(`PROXY TCP${familyOf(source.ip)} ${source.ip} ${destination.ip} ${source.port} ${destination.port}`)

test('version 1 as nginx writes it, of any two families, cut anywhere, with anything behind', () => {
  const mixed = fc.record({
    source: fc.record({ ip: fc.oneof(ip4, ip6), port }),
    destination: fc.record({ ip: fc.oneof(ip4, ip6), port }),
  })
  fc.assert(
    fc.property(mixed, fc.uint8Array({ maxLength: 20 }), (given, behind) => {
      const header = nginxV1(given)
      const whole = { state: 'ok', length: header.length, local: false, ...given }
      expect(parseProxyHeader(Buffer.concat([header, behind]))).toEqual(whole)
      for (let cut = 0; cut < header.length; cut++) {
        expect(parseProxyHeader(header.subarray(0, cut))).toEqual({ state: 'more' })
      }
    }),
  )
})

test('the source is of the family that the header names, whatever the destination is', () => {
  for (const destination of ['192.0.2.1', '2001:db8::2']) {
    expect(parseProxyHeader(line(`PROXY TCP6 198.51.100.7 ${destination} 1 25`))).toMatchObject({ state: 'bad' })
    expect(parseProxyHeader(line(`PROXY TCP4 2001:db8::1 ${destination} 1 25`))).toMatchObject({ state: 'bad' })
    expect(parseProxyHeader(line(`PROXY TCP4 ::ffff:1.2.3.4 ${destination} 1 25`))).toMatchObject({ state: 'bad' })
  }
})

describe('what we write we read', () => {
  test('version 1 and 2, any addresses, cut anywhere, with anything behind', () => {
    fc.assert(
      fc.property(connection, fc.uint8Array({ maxLength: 20 }), (given, behind) => {
        for (const header of [proxyV1(given), proxyV2(given)]) {
          const whole = { state: 'ok', length: header.length, local: false, ...given }
          expect(parseProxyHeader(Buffer.concat([header, behind]))).toEqual(whole)
          for (let cut = 0; cut < header.length; cut++) {
            expect(parseProxyHeader(header.subarray(0, cut))).toEqual({ state: 'more' })
          }
        }
      }),
    )
  })

  test('version 2 LOCAL', () => {
    const header = proxyV2Local()
    expect(header).toEqual(v2('20', '00', ''))
    expect(parseProxyHeader(header)).toEqual({ state: 'ok', length: 16, local: true })
  })

  test('the bytes are those of the specification', () => {
    expect(proxyV1(v4Pair)).toEqual(line('PROXY TCP4 192.0.2.1 198.51.100.7 56324 25'))
    expect(proxyV1(v6Pair)).toEqual(line('PROXY TCP6 2001:db8::1 2001:db8::2 56324 25'))
    expect(proxyV2(v4Pair)).toEqual(v2('21', '11', TCP4))
    expect(proxyV2(v6Pair)).toEqual(v2('21', '21', TCP6))
  })

  test('of mixed families the IPv4 address is written IPv4-mapped', () => {
    const mixed = { source: v4Pair.source, destination: v6Pair.destination }
    expect(proxyV1(mixed)).toEqual(line('PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 56324 25'))
    expect(proxyV2(mixed)).toEqual(v2('21', '21', MAPPED.slice(0, 32) + TCP6.slice(32)))
  })
})

describe('bytes of any kind', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }).map((tail) => Buffer.concat([Buffer.from(`${SIGNATURE}21`, 'hex'), tail])),
    fc
      .string({ unit: fc.constantFrom(...'0123456789abf:. \r\n'), maxLength: 60 })
      .map((tail) => Buffer.from(`PROXY TCP${tail.length % 2 ? 4 : 6} ${tail}`)),
    // A valid header with one byte changed.
    fc.tuple(connection, fc.boolean(), fc.nat(), fc.nat(255)).map(([given, text, at, byte]) => {
      const header = text ? proxyV1(given) : proxyV2(given)
      header[at % header.length] = byte
      return header
    }),
  )

  test('never throw; what was refused stays refused, and what was read stays read, whatever follows', () => {
    fc.assert(
      fc.property(bytes, (given) => {
        const all = Buffer.from(given)
        let settled: object | undefined
        for (let size = 0; size <= all.length; size++) {
          const result = parseProxyHeader(all.subarray(0, size))
          if (settled === undefined && result.state !== 'more') settled = { state: result.state }
          if (settled !== undefined) expect(result).toMatchObject(settled)
          if (result.state === 'ok') expect(result.length).toBeLessThanOrEqual(size)
        }
      }),
      { numRuns: 500 },
    )
  })
})
