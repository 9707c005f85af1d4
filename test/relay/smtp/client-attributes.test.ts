import { describe, expect, test } from '@jest/globals'
import { receivedLine, xtext } from '../../../src/relay/smtp/client-attributes.ts'
import { attributesOf } from '../relays.ts'

const AT = Date.UTC(2026, 10, 21, 21, 0, 0)

test('R36 xtext: what is not printable, and + and =, as + and two hexadecimal digits (RFC 3461 section 4)', () => {
  expect(xtext('a+b=c d\x7f\xe9\r\n~!')).toBe('a+2Bb+3Dc+20d+7F+E9+0D+0A~!')
})

describe('R35 the Received line', () => {
  const line = (...args: Parameters<typeof attributesOf>): string =>
    receivedLine(attributesOf(...args), 'mx.test.example', AT).toString('latin1')

  test('tells address, HELO, protocol, id and time', () => {
    expect(line()).toBe(
      'Received: from client.example ([198.51.100.7])\r\n' +
        '\tby mx.test.example (Spillway) with ESMTP id K7Q2M9XWTA;\r\n' +
        '\tSat, 21 Nov 2026 21:00:00 +0000\r\n',
    )
  })

  test('IPv6, and HELO instead of EHLO', () => {
    expect(line('x.example', '2001:db8::7', { esmtp: false })).toMatch(
      /^Received: from x\.example \(\[IPv6:2001:db8::7\]\)\r\n\tby .* with SMTP id /,
    )
  })

  test('TLS', () => {
    const tls = { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384' }
    expect(line('x.example', '198.51.100.7', { tls })).toContain(
      '(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n\tby mx.test.example (Spillway) with ESMTPS id ',
    )
  })

  test.each(['a(b)c;d', 'x\r\nX-Injected: yes', 'x\nX-Injected: yes', '"q" <a@b>', '\\', 'caf\xe9', 'x'.repeat(5000)])(
    'a HELO name of %j injects nothing',
    (helo) => {
      const text = line(helo)
      const [first, ...folded] = text.split('\r\n')
      expect(first).toMatch(/^Received: from [A-Za-z0-9._:[\]?-]{1,255} \(\[198\.51\.100\.7\]\)$/)
      expect(folded).toHaveLength(3)
      expect(text.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/)
    },
  )
})
