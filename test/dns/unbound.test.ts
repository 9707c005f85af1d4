/** Names of clients, by a real DNS server, and what comes of its failures. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { Dns } from '../../src/dns/dns.ts'
import { ClientNames } from '../../src/dns/names.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { startUnbound, type Unbound } from '../services/unbound.ts'
import { startDns } from '../support/dns.ts'

const reverse = (last: number): string => `${last}.100.51.198.in-addr.arpa.`
const ip = (last: number): string => `198.51.100.${last}`
/** More than fit in 512 octets, the client's among the last. */
const MANY = Array.from({ length: 60 }, (_, i) => `many.a.example. 300 A 198.51.100.${100 + i}`)

let dns: Unbound
beforeAll(async () => {
  dns = await startUnbound({
    records: [
      ...[`${reverse(1)} PTR mail.a.example.`, `mail.a.example. 1800 A ${ip(1)}`],
      ...[`${reverse(2)} PTR mail.a.example.`, `${reverse(150)} PTR many.a.example.`, ...MANY],
      `1.${'0.'.repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa. PTR six.a.example.`,
      'six.a.example. AAAA 2001:db8::1',
      ...[`${reverse(3)} PTR mail.refused.example.`, `${reverse(4)} PTR mail.silent.example.`],
      ...['refused.example', 'silent.example'].map((name) => `mail.${name}. A ${ip(9)}`),
    ],
    zones: { 'refused.example': 'always_refuse', 'silent.example': 'always_deny' },
  })
})
afterAll(() => dns.stop())

const metrics = createMetrics({ version: '0', upstreams: [] })
const elapsed = () => performance.now()
const namesBy = (address: string) => {
  const servers = [address]
  return new ClientNames({ dns: new Dns({ servers: () => servers, metrics, elapsed }), metrics, elapsed })
}

test('R36 a name is confirmed, is not, or is not told', async () => {
  const names = namesBy(dns.address)
  const begun = performance.now()
  const found = await Promise.all([1, 2, 150, 3, 4, 5].map((last) => names.find(ip(last))))
  expect(performance.now() - begun).toBeLessThan(2500)
  expect(found).toEqual([
    { kind: 'name', name: 'mail.a.example', organisation: 'a.example' },
    { kind: 'none' },
    // By TCP: over UDP the answer is cut off.
    { kind: 'name', name: 'many.a.example', organisation: 'a.example' },
    { kind: 'unanswered' },
    { kind: 'unanswered' },
    { kind: 'none' },
  ])
  expect(await names.find('2001:db8::1')).toEqual({ kind: 'name', name: 'six.a.example', organisation: 'a.example' })
  for (const [result, least] of [
    ['answered', 6],
    ['absent', 1],
    ['failed', 1],
    ['timeout', 1],
  ] as const)
    expect([result, metrics.dnsQueries.of('name', result).value >= least]).toEqual([result, true])
  expect(metrics.dnsQueryDuration.of().count).toBeGreaterThan(10)
})

test('R36 an answer that belongs to no question, or that nobody was asked for, counts for nothing', async () => {
  const liar = await startDns({
    '9.100.51.198.in-addr.arpa ptr': ['mail.liar.example'],
    'mail.liar.example a': [ip(9)],
  })
  try {
    liar.forges = true
    expect(await namesBy(liar.address).find(ip(9))).toEqual({ kind: 'unanswered' })
    liar.forges = false
    expect(await namesBy(liar.address).find(ip(9))).toEqual({
      kind: 'name',
      name: 'mail.liar.example',
      organisation: 'liar.example',
    })
  } finally {
    await liar.stop()
  }
})

test('R36 a server that hangs holds up nobody for longer than two seconds', async () => {
  dns.freeze()
  const begun = performance.now()
  try {
    expect(await namesBy(dns.address).find(ip(1))).toEqual({ kind: 'unanswered' })
    expect(performance.now() - begun).toBeLessThan(2500)
  } finally {
    dns.thaw()
  }
})
