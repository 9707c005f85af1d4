import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createNames } from '../../../src/relay/smtp/names.ts'
import { type DnsServer, reverseName, startDns, type Zone } from '../../support/dns.ts'

const IP = '198.51.100.7'
const PTR = `${reverseName(IP)} ptr`
let dns: DnsServer
beforeEach(async () => {
  dns = await startDns()
})
afterEach(() => dns.stop())

const ask = (zone: Zone) => {
  dns.zone = zone
  return createNames({ servers: [dns.address] })(IP)
}

describe('R36 the client’s name', () => {
  const cases: [what: string, zone: Zone, expected: object][] = [
    [
      'points back to the address',
      { [PTR]: ['mail.sender.example'], 'mail.sender.example a': [IP] },
      { kind: 'name', name: 'mail.sender.example' },
    ],
    [
      'is the second of two, the first of which does not',
      { [PTR]: ['liar.example', 'ok.example'], 'liar.example a': ['192.0.2.9'], 'ok.example a': ['192.0.2.8', IP] },
      { kind: 'name', name: 'ok.example' },
    ],
    ['is not there', {}, { kind: 'none' }],
    ['points elsewhere', { [PTR]: ['liar.example'], 'liar.example a': ['192.0.2.9'] }, { kind: 'none' }],
    ['points nowhere', { [PTR]: ['gone.example'] }, { kind: 'none' }],
    ['has no address of that family', { [PTR]: ['six.example'], 'six.example aaaa': [] }, { kind: 'none' }],
    ['is no host name', { [PTR]: ['a b c=d.example'], 'a b c=d.example a': [IP] }, { kind: 'none' }],
    ['is not told: SERVFAIL', { [PTR]: 'servfail' }, { kind: 'unanswered' }],
    ['is not confirmed: SERVFAIL', { [PTR]: ['x.example'], 'x.example a': 'servfail' }, { kind: 'unanswered' }],
  ]
  test.each(cases)('%s', async (_, zone, expected) => {
    expect(await ask(zone)).toEqual(expected)
  })

  test('of an IPv6 address is confirmed by AAAA', async () => {
    const ip = '2001:db8::7'
    dns.zone = {
      '7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa ptr': ['six.example'],
      'six.example aaaa': ['2001:db8:0:0::7'],
    }
    expect(await createNames({ servers: [dns.address] })(ip)).toEqual({ kind: 'name', name: 'six.example' })
  })

  test('is waited for no longer than two seconds', async () => {
    const started = performance.now()
    expect(await ask({ [PTR]: 'silence' })).toEqual({ kind: 'unanswered' })
    expect(performance.now() - started).toBeLessThan(2300)
  })

  test('is asked for once, by however many sessions', async () => {
    dns.zone = { [PTR]: ['mail.sender.example'], 'mail.sender.example a': [IP] }
    const names = createNames({ servers: [dns.address] })
    await Promise.all([names(IP), names(IP), names(IP)])
    await names(IP)
    expect(dns.asked).toEqual([PTR, 'mail.sender.example a'])
  })
})
