import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { type Answer, Dns } from '../../src/dns/dns.ts'
import { ClientNames } from '../../src/dns/names.ts'
import { createMetrics, type DnsUse } from '../../src/telemetry/metrics.ts'
import { eventually } from '../support/app.ts'
import { type DnsServer, reverseName, startDns, type Zone } from '../support/dns.ts'

const IP = '198.51.100.7'
const NET = '198.51.100.0/24'
const PTR = `${reverseName(IP)} ptr`
let dns: DnsServer
beforeEach(async () => {
  dns = await startDns()
})
afterEach(() => dns.stop())

const metrics = createMetrics({ version: '0', upstreams: [] })
const elapsed = () => performance.now()
const namesOf = (servers: () => readonly string[]) =>
  new ClientNames({ dns: new Dns({ servers, metrics, elapsed }), metrics, elapsed })
const named = () => {
  const servers = [dns.address]
  return namesOf(() => servers)
}

const ask = (zone: Zone) => {
  dns.zone = zone
  return named().find(IP)
}

describe('R36 the client’s name', () => {
  const cases: [what: string, zone: Zone, expected: object][] = [
    [
      'points back to the address',
      { [PTR]: ['mail.sender.example'], 'mail.sender.example a': [IP] },
      { kind: 'name', name: 'mail.sender.example', organisation: 'sender.example' },
    ],
    [
      'is the second of two, the first of which does not',
      { [PTR]: ['liar.example', 'ok.example'], 'liar.example a': ['192.0.2.9'], 'ok.example a': ['192.0.2.8', IP] },
      { kind: 'name', name: 'ok.example', organisation: 'ok.example' },
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
    expect(await named().find(ip)).toEqual({ kind: 'name', name: 'six.example', organisation: 'six.example' })
  })

  test('is waited for no longer than two seconds', async () => {
    const started = performance.now()
    expect(await ask({ [PTR]: 'silence' })).toEqual({ kind: 'unanswered' })
    expect(performance.now() - started).toBeLessThan(2300)
  })

  test('is asked for once, by however many sessions', async () => {
    dns.zone = { [PTR]: ['mail.sender.example'], 'mail.sender.example a': [IP] }
    const names = named()
    await Promise.all([names.find(IP), names.glance(IP, NET), names.find(IP)])
    await names.find(IP)
    expect(names.peek(IP)).toEqual({ kind: 'name', name: 'mail.sender.example', organisation: 'sender.example' })
    expect(dns.asked).toEqual([PTR, 'mail.sender.example a'])
  })
})

/** Answers each question when the test says so. */
function byHand() {
  const open: ((answer: Answer<unknown>) => void)[] = []
  const asked: DnsUse[] = []
  const ask = (use: DnsUse) => {
    asked.push(use)
    return new Promise<Answer<unknown>>((resolve) => open.push(resolve))
  }
  return { dns: { ask, edition: 1 } as unknown as Dns, open, asked }
}
const UNANSWERED = { kind: 'unanswered' } as const
const ips = (count: number, net = '203.0.113'): string[] => Array.from({ length: count }, (_, i) => `${net}.${i}`)

describe('what is asked at once is bounded', () => {
  test('a network has eight places in the background, and those who wait for a name have others', async () => {
    const { dns, open, asked } = byHand()
    const names = new ClientNames({ dns, metrics, elapsed })
    const waiting = ips(8).map((ip) => names.glance(ip, '203.0.113.0/24'))
    expect(await names.glance('203.0.113.99', '203.0.113.0/24')).toEqual(UNANSWERED)
    expect(asked).toHaveLength(8)
    void names.glance('198.51.100.1', NET)
    void names.find('203.0.113.99')
    expect(asked).toHaveLength(10)
    for (const answer of open.splice(0)) answer({ kind: 'absent' })
    await Promise.all(waiting)
    void names.glance('203.0.113.100', '203.0.113.0/24')
    expect(asked).toHaveLength(11)
    for (const answer of open.splice(0)) answer({ kind: 'absent' })
  })

  test('a place is taken for as long as the DNS takes, and 128 of them are all there are', async () => {
    const { dns, open, asked } = byHand()
    const names = new ClientNames({ dns, metrics, elapsed })
    for (let i = 0; i < 128; i++) void names.find(`10.0.0.${i}`)
    const before = metrics.dnsQueries.of('name', 'busy').value
    expect(await names.find('10.0.1.1')).toEqual(UNANSWERED)
    expect(metrics.dnsQueries.of('name', 'busy').value).toBe(before + 1)
    // Nobody waits any longer, but the DNS has not answered yet.
    await names.find('10.0.0.5')
    expect(await names.find('10.0.1.2')).toEqual(UNANSWERED)
    expect(asked).toHaveLength(128)
    open[5]?.({ kind: 'absent' })
    await new Promise(setImmediate)
    void names.find('10.0.1.3')
    expect(asked).toHaveLength(129)
    expect(names.peek('10.0.0.5')).toEqual({ kind: 'none' })
    for (const answer of open.splice(0)) answer({ kind: 'absent' })
  })
})

test('a name is kept for as long as its address record says, ten minutes at least and an hour at most', async () => {
  let now = 1
  const ttls = { 'a.example': 60, 'b.example': 1800, 'c.example': 86_400 }
  const [a, b, c] = ['192.0.2.1', '192.0.2.2', '192.0.2.3'] as const
  const records = { [a]: 'a.example', [b]: 'b.example', [c]: 'c.example' } as const
  const resolver = {
    resolvePtr: async (name: string) => [records[name.split('.').slice(0, 4).reverse().join('.') as typeof a]],
    resolve4: async (name: keyof typeof ttls) =>
      Object.entries(records).flatMap(([address, of]) => (of === name ? [{ address, ttl: ttls[name] }] : [])),
  }
  const ask = async (_: DnsUse, question: (by: typeof resolver) => Promise<unknown[]>) => {
    return { kind: 'records', records: await question(resolver) }
  }
  const names = new ClientNames({ dns: { ask, edition: 1 } as unknown as Dns, metrics, elapsed: () => now })
  await Promise.all([a, b, c].map((ip) => names.find(ip)))
  const kept = () => [a, b, c].map((ip) => names.peek(ip) !== undefined)
  for (const [minutes, expected] of [
    [9, [true, true, true]],
    [11, [false, true, true]],
    [31, [false, false, true]],
    [61, [false, false, false]],
  ] as const) {
    now = minutes * 60_000
    expect(kept()).toEqual(expected)
  }
})

test('what other servers have said is forgotten when the servers change', async () => {
  const other = await startDns({ [PTR]: ['other.example'], 'other.example a': [IP] })
  try {
    let servers = [dns.address]
    dns.zone = { [PTR]: ['mail.sender.example'], 'mail.sender.example a': [IP] }
    const names = namesOf(() => servers)
    expect(await names.find(IP)).toEqual({ kind: 'name', name: 'mail.sender.example', organisation: 'sender.example' })
    servers = [...servers]
    expect(names.peek(IP)).toEqual({ kind: 'name', name: 'mail.sender.example', organisation: 'sender.example' })
    servers = [other.address]
    expect(await names.find(IP)).toEqual({ kind: 'name', name: 'other.example', organisation: 'other.example' })
  } finally {
    await other.stop()
  }
})

test('after the stop nothing more is asked', async () => {
  dns.zone = { [PTR]: ['a.example', 'b.example'], 'a.example a': 'silence', 'b.example a': [IP] }
  const servers = [dns.address]
  const asks = new Dns({ servers: () => servers, metrics, elapsed })
  const names = new ClientNames({ dns: asks, metrics, elapsed })
  const name = names.find(IP)
  await eventually(
    () => dns.asked.length,
    (asked) => asked === 2,
  )
  asks.stop()
  expect(await name).toEqual(UNANSWERED)
  expect(await names.find('192.0.2.1')).toEqual(UNANSWERED)
  expect(dns.asked).toEqual([PTR, 'a.example a'])
})
