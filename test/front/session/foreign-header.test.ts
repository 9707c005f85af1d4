/** R48: what begins with a PROXY header although its sender is not listed as a balancer. */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { foreignHeader } from '../../../src/front/session/foreign-header.ts'

const V2 = '\r\n\r\n\0\r\nQUIT\n'
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')

describe('R48 a PROXY header is told from a command', () => {
  test.each(['PROXY ', V2])('%j: maybe, for as long as it is not whole; yes from then on', (signature) => {
    for (let cut = 0; cut < signature.length; cut++) {
      expect({ cut, seen: foreignHeader(latin1(signature.slice(0, cut))) }).toEqual({ cut, seen: 'maybe' })
    }
    for (const behind of ['', 'T', 'TCP4 192.0.2.1 192.0.2.2 1 25\r\n', '\x21\x11\0\x0c', '\r\n', 'EHLO x\r\n']) {
      expect(foreignHeader(latin1(signature + behind))).toBe('yes')
    }
  })

  test.each([
    ...['EHLO x\r\n', 'PROX\r\n', 'PROXY\r\n', 'PROXYING x\r\n', 'proxy TCP4 ', 'PRXY', ' PROXY ', '\r\nPROXY '],
    ...['\r\nEHLO x\r\n', '\n', '\r\n\r\nEHLO x\r\n', '\r\n\r\n\0\r\nQUIT\r\n', '\0', 'GET / HTTP/1.1\r\n'],
  ])('%j is none', (text) => expect(foreignHeader(latin1(text))).toBe('no'))

  test('what was told stays told, whatever follows', () => {
    const beginnings = fc.constantFrom('', 'P', 'PROXY', 'PROXY ', '\r\n', V2.slice(0, 11), V2)
    fc.assert(
      fc.property(beginnings, fc.uint8Array({ maxLength: 30 }), (beginning, behind) => {
        const all = Buffer.concat([latin1(beginning), behind])
        const seen = Array.from({ length: all.length + 1 }, (_, size) => foreignHeader(all.subarray(0, size)))
        const settled = seen.findIndex((each) => each !== 'maybe')
        if (settled >= 0) expect(new Set(seen.slice(settled)).size).toBe(1)
        else expect(all.length).toBeLessThan(12)
      }),
    )
  })
})
