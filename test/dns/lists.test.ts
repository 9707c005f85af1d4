/** DNS lists by a real DNS server: what they say, what they may not say, and what a client and an operator see of it. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { dnsLists } from '../../src/config/dnsbl-kind.ts'
import type { ListEntry, Score } from '../../src/core/dnsbl.ts'
import { Dns } from '../../src/dns/dns.ts'
import { DnsLists } from '../../src/dns/lists.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { startUnbound, type Unbound } from '../services/unbound.ts'
import { BALANCER, eventually, type TestApp } from '../support/app.ts'
import { type DnsServer, startDns } from '../support/dns.ts'
import { stoppedAfterEach } from '../support/started.ts'

const LISTED = '198.51.100.7'
const CLEAR = '198.51.100.8'
const FORGIVEN = '198.51.100.9'
const SIX = '2001:db8::7'
const KEY = 'abcdefghijklmnopqrstuvwxyz'

let dns: Unbound
beforeAll(async () => {
  const keyed = `${KEY}.zen.example`
  dns = await startUnbound({
    records: [
      ...['bl.example', 'worse.example', 'failing.example', keyed].map((zone) => `2.0.0.127.${zone}. A 127.0.0.2`),
      ...['bl.example', 'worse.example', keyed].map((zone) => `7.100.51.198.${zone}. 300 A 127.0.0.4`),
      ...['bl.example', 'good.example'].map((zone) => `9.100.51.198.${zone}. 300 A 127.0.0.2`),
      `7.${'0.'.repeat(23)}8.b.d.0.1.0.0.2.bl.example. A 127.0.0.2`,
      '7.100.51.198.failing.example. A 127.255.255.254',
      '9.100.51.198.failing.example. A 127.0.0.2',
      'everybody.example. A 127.0.0.2',
      'expired.example. A 203.0.113.80',
    ],
    zones: {
      ...{ 'everybody.example': 'redirect', 'expired.example': 'redirect' },
      ...{ 'silent.example': 'always_deny', 'refused.example': 'always_refuse' },
    },
  })
})
afterAll(() => dns.stop())

const entriesOf = (text: string): readonly ListEntry[] => {
  const parsed = dnsLists.parse(text === '' ? ['none'] : text.split(','))
  if ('wrong' in parsed) throw new Error(JSON.stringify(parsed.wrong))
  return parsed.value
}

interface Node {
  readonly lists: DnsLists
  readonly metrics: ReturnType<typeof createMetrics>
  readonly warnings: unknown[]
  entries: readonly ListEntry[]
  servers: readonly string[]
  later: number
}
const nodes: Node[] = []
afterEach(() => {
  for (const { lists } of nodes.splice(0)) lists.stop()
})
function begin(zones: string, address = dns.address): Node {
  const metrics = createMetrics({ version: '0', upstreams: [] })
  const warnings: unknown[] = []
  const tell = (fields: object, msg: string): void => void warnings.push({ ...fields, msg })
  const log = { debug: tell, info: tell, warn: tell, error: tell, flush: () => undefined }
  const elapsed = (): number => performance.now() + node.later
  const lists = new DnsLists({
    dns: new Dns({ servers: () => node.servers, metrics, elapsed }),
    ...{ entries: () => node.entries, metrics, log, elapsed },
  })
  const node = { lists, metrics, warnings, entries: entriesOf(zones), servers: [address], later: 0 }
  lists.start()
  nodes.push(node)
  return node
}
const client = (ip: string, standing: 'new' | 'suspect' | 'seen' | 'known' = 'new') => ({
  ip,
  net: `${ip}/24`,
  standing,
})
const isUp = ({ metrics }: Node, zone: string) => metrics.dnsblZoneUp.of(zone).value === 1
const up = (node: Node, ...zones: string[]) =>
  eventually(
    () => zones.every((zone) => isUp(node, zone)),
    (are) => are,
  )
const scoreOf = async ({ lists }: Node, ip: string, standing?: 'suspect' | 'seen' | 'known'): Promise<Score> =>
  lists.scoreOf(client(ip, standing))
const told = ({ metrics }: Node, zone: string) =>
  Object.fromEntries(
    (['listed', 'clear', 'error', 'timeout'] as const).map((each) => [each, metrics.dnsblQueries.of(zone, each).value]),
  )

describe('what the lists say', () => {
  test('is added up by weight, over all zones and entries, for IPv4 and IPv6', async () => {
    const node = begin('bl.example=127.0.0.[2..3],bl.example=127.0.0.[4;6]*3,worse.example*2,good.example*-5')
    await up(node, 'bl.example', 'worse.example', 'good.example')
    expect(await scoreOf(node, LISTED)).toEqual({ score: 5, zones: ['bl.example', 'worse.example'] })
    expect(await scoreOf(node, CLEAR)).toEqual({ score: 0, zones: [] })
    expect(await scoreOf(node, FORGIVEN)).toEqual({ score: -4, zones: ['bl.example'] })
    expect(await scoreOf(node, SIX, 'suspect')).toEqual({ score: 1, zones: ['bl.example'] })
    expect(told(node, 'bl.example')).toEqual({ listed: 3, clear: 1, error: 0, timeout: 0 })
  })

  test('is asked once for a client, however often it is judged, and again when it has expired', async () => {
    const node = begin('bl.example')
    await up(node, 'bl.example')
    node.lists.ask(client(LISTED))
    for (let i = 0; i < 3; i++) expect(await scoreOf(node, LISTED)).toMatchObject({ score: 1 })
    expect(told(node, 'bl.example').listed).toBe(1)
    node.later = 299_000
    await scoreOf(node, LISTED)
    expect(told(node, 'bl.example').listed).toBe(1)
    node.later = 301_000
    await scoreOf(node, LISTED)
    expect(told(node, 'bl.example').listed).toBe(2)
  })

  test('is asked of nobody who is known or seen, a relay, or at a private address', async () => {
    const node = begin('bl.example')
    await up(node, 'bl.example')
    for (const standing of ['seen', 'known'] as const) {
      node.lists.ask(client(LISTED, standing))
      expect(node.lists.scoreOf(client(LISTED, standing))).toEqual({ score: 0, zones: [] })
    }
    node.lists.ask({ ...client(LISTED), isRelay: true })
    expect(node.lists.scoreOf({ ...client(LISTED), isRelay: true })).toEqual({ score: 0, zones: [] })
    for (const ip of ['10.1.2.3', '127.0.0.1', 'fd00::1']) await scoreOf(node, ip)
    expect(told(node, 'bl.example')).toEqual({ listed: 0, clear: 0, error: 0, timeout: 0 })
    // A client of a test.
    await scoreOf(node, '127.0.0.2')
    expect(told(node, 'bl.example')).toEqual({ listed: 1, clear: 0, error: 0, timeout: 0 })
  })

  test('is kept of at most sixteen answers of a list, which nobody can make use up memory', async () => {
    const many = Array.from({ length: 2000 }, (_, i) => `127.0.${1 + (i >> 8)}.${i & 255}`)
    const long = await startDns({ '2.0.0.127.bl.example a': ['127.0.0.2'], '7.100.51.198.bl.example a': many })
    const node = begin('bl.example=127.0.1.15,bl.example=127.0.1.16*2', long.address)
    await up(node, 'bl.example')
    expect(await scoreOf(node, LISTED)).toMatchObject({ score: 1 })
    await long.stop()
  })

  test('shows no key of a customer', async () => {
    const node = begin(`${KEY}.zen.example*2`)
    await up(node, 'zen.example')
    expect(await scoreOf(node, LISTED)).toEqual({ score: 2, zones: ['zen.example'] })
    expect(dnsLists.mask?.(`${KEY}.zen.example*2`)).not.toContain(KEY)
  })
})

describe('a list that is broken does not speak', () => {
  test.each([
    ['one that lists everybody', 'everybody.example', 'it lists 127.0.0.1'],
    ['one that has expired, and answers with an advertisement', 'expired.example', 'it answers 203.0.113.80'],
    ['one that lists nobody', 'good.example', 'it does not list 127.0.0.2'],
    ['one that refuses to answer', 'refused.example', 'it does not answer'],
    ['one that is silent', 'silent.example', 'it does not answer'],
  ])('%s fails its test', async (_, zone, why) => {
    const node = begin(`bl.example,${zone}*10`)
    await up(node, 'bl.example')
    await eventually(
      () => node.warnings,
      (warnings) => warnings.length > 0,
    )
    expect(node.warnings).toEqual([expect.objectContaining({ zone, why: expect.stringContaining(why) })])
    expect(isUp(node, zone)).toBe(false)
    expect(await scoreOf(node, LISTED)).toEqual({ score: 1, zones: ['bl.example'] })
  })

  test('one that says that it does not serve us is set aside, told once, and tried again later', async () => {
    const node = begin('failing.example*10,bl.example')
    await up(node, 'failing.example', 'bl.example')
    expect(await scoreOf(node, FORGIVEN)).toMatchObject({ score: 11 })
    expect(await scoreOf(node, LISTED)).toEqual({ score: 1, zones: ['bl.example'] })
    // What it has said before counts for nothing, either.
    expect(await scoreOf(node, FORGIVEN)).toEqual({ score: 1, zones: ['bl.example'] })
    expect(isUp(node, 'failing.example')).toBe(false)
    expect(told(node, 'failing.example')).toEqual({ listed: 1, clear: 0, error: 1, timeout: 0 })
    await scoreOf(node, CLEAR)
    expect(told(node, 'failing.example').clear).toBe(0)
    node.later = 59_000
    node.lists.ask(client(CLEAR))
    expect(isUp(node, 'failing.example')).toBe(false)
    node.later = 61_000
    node.lists.ask(client(CLEAR))
    await up(node, 'failing.example')
    expect(node.warnings).toHaveLength(2)
  })
})

test('one that begins to list everybody is found out within a minute, and not after an hour', async () => {
  const list = await startDns({ '2.0.0.127.bl.example a': ['127.0.0.2'] })
  try {
    const node = begin('bl.example', list.address)
    await up(node, 'bl.example')
    const everybody = (net: string) => Array.from({ length: 20 }, (_, i) => `${net}.${i}`)
    const listed = (ip: string) => [`${ip.split('.').reverse().join('.')}.bl.example a`, ['127.0.0.2']] as const
    list.zone = Object.fromEntries(['127.0.0.1', ...everybody('203.0.113')].map(listed))
    const tests = () => list.asked.filter((each) => each === '1.0.0.127.bl.example a').length
    for (const ip of everybody('203.0.113')) expect(await scoreOf(node, ip)).toMatchObject({ score: 1 })
    await scoreOf(node, CLEAR)
    expect(tests()).toBe(1)
    list.zone = { ...list.zone, ...Object.fromEntries(everybody('198.51.100').map(listed)) }
    node.later = 61_000
    for (const ip of everybody('198.51.100')) await scoreOf(node, ip)
    await scoreOf(node, '198.51.100.1')
    await eventually(
      () => isUp(node, 'bl.example'),
      (is) => !is,
    )
    expect(tests()).toBe(2)
  } finally {
    await list.stop()
  }
})

describe('a list that is slow', () => {
  const ZONE = { '2.0.0.127.bl.example a': ['127.0.0.2'], '7.100.51.198.bl.example a': ['127.0.0.2'] }
  let slow: DnsServer
  beforeEach(async () => {
    slow = await startDns(ZONE)
  })
  afterEach(() => slow.stop())
  const ready = async (): Promise<Node> => {
    const node = begin('bl.example', slow.address)
    await up(node, 'bl.example')
    return node
  }

  test('is waited for, but from the beginning no longer than two seconds; and what it says later counts for nothing', async () => {
    const node = await ready()
    slow.delayMs = 500
    expect(await scoreOf(node, LISTED)).toMatchObject({ score: 1 })
    slow.zone = { ...ZONE, '8.100.51.198.bl.example a': 'silence' }
    const begun = performance.now()
    node.lists.ask(client(CLEAR))
    expect(await scoreOf(node, CLEAR)).toMatchObject({ score: 0 })
    expect(performance.now() - begun).toBeLessThan(2300)
    // By then nobody waits any longer.
    const again = performance.now()
    expect(await scoreOf(node, CLEAR)).toMatchObject({ score: 0 })
    expect(performance.now() - again).toBeLessThan(200)
  })

  test('twenty failures in a row set it aside, and no more than eight clients of one network are asked about at once', async () => {
    const node = await ready()
    slow.zone = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`${i}.2.0.192.bl.example a`, 'servfail']))
    const before = slow.asked.length
    for (let i = 0; i < 64; i++) node.lists.ask({ ip: `192.0.2.${i}`, net: '192.0.2.0/24', standing: 'new' })
    await eventually(
      () => told(node, 'bl.example').error,
      (errors) => errors === 8,
    )
    const asked = new Set(slow.asked.slice(before)).size
    expect(asked).toBe(8)
    for (let i = 8; i < 64; i++) node.lists.ask({ ip: `192.0.2.${i}`, net: `${i}`, standing: 'new' })
    await eventually(
      () => isUp(node, 'bl.example'),
      (is) => !is,
    )
  })
})

test('a change of the settings asks other zones, and forgets what was said under those before', async () => {
  const node = begin('bl.example')
  await up(node, 'bl.example')
  expect(await scoreOf(node, LISTED)).toMatchObject({ score: 1 })
  node.entries = entriesOf('bl.example*4,worse.example')
  await scoreOf(node, CLEAR)
  await up(node, 'bl.example', 'worse.example')
  expect(await scoreOf(node, LISTED)).toMatchObject({ score: 5 })
  node.entries = entriesOf('')
  expect(await scoreOf(node, LISTED)).toEqual({ score: 0, zones: [] })
  expect(() => node.metrics.dnsblZoneUp.of('bl.example')).toThrow('no series')
})

test('other DNS servers are asked anew, also about a list that is set aside: those before may have been the cause', async () => {
  // A resolver that the list does not serve, and one that lies.
  const other = await startDns({
    '2.0.0.127.bl.example a': ['127.255.255.254'],
    '2.0.0.127.worse.example a': ['127.0.0.2'],
  })
  const node = begin('bl.example,worse.example*2', other.address)
  await up(node, 'worse.example')
  expect(await scoreOf(node, LISTED)).toMatchObject({ score: 0 })
  expect(isUp(node, 'bl.example')).toBe(false)
  node.servers = [dns.address]
  node.lists.ask(client(CLEAR))
  await up(node, 'bl.example', 'worse.example')
  expect(await scoreOf(node, LISTED)).toMatchObject({ score: 3 })
  await other.stop()
})

describe('on the wire', () => {
  const started = stoppedAfterEach()
  async function app(settings: Record<string, string> = {}): Promise<TestApp> {
    const upstream = await started.upstream()
    const node = await started.app(upstream.address, {
      ...{ PROXY_PROTOCOL_FROM: BALANCER, LOG_SAMPLE: '1', DNS_SERVERS: dns.address },
      ...{ DNSBL_ZONES: 'bl.example*2,good.example*-5', ...settings },
    })
    await eventually(
      async () => (await node.metric('spillway_dnsbl_zone_up{zone="bl.example"}')) ?? 0,
      (is) => is === 1,
    )
    return node
  }
  async function rcpt(node: TestApp, ip: string, to = 'b@example.net'): Promise<string> {
    const session = await node.clientAs(ip)
    await session.hello()
    await session.command('MAIL FROM:<a@example.org>')
    const reply = await session.command(`RCPT TO:<${to}>`)
    await session.command('QUIT')
    return reply
  }

  test('a new client that is listed is put off, and all others are let in', async () => {
    const node = await app()
    expect(await node.running.explaining.here(LISTED)).toMatchObject({
      dns: {},
      now: { rcpt: { observed: [], share: 1 } },
    })
    expect(await node.metric('spillway_dnsbl_queries_total{zone="bl.example",result="listed"}')).toBe(0)
    expect(await rcpt(node, LISTED)).toMatch(
      /^451 4\.7\.1 .*\[198\.51\.100\.7\] Your address is on a DNS blocklist \(bl\.example\)/,
    )
    for (const ip of [CLEAR, FORGIVEN]) expect(await rcpt(node, ip)).toMatch(/^250/)
    expect(await rcpt(node, LISTED, 'postmaster@example.net')).toMatch(/^250/)
    const line = await node.waitForLog(({ reason }) => reason === 'dnsbl')
    expect(await node.running.explaining.here(LISTED)).toMatchObject({
      dns: { lists: { score: 2, threshold: 1, zones: ['bl.example'] } },
      now: { rcpt: { reason: 'dnsbl', reply: expect.stringMatching(/^451 4\.7\.1 /) } },
      refused: [{ reason: 'dnsbl', stage: 'rcpt' }],
    })
    expect(line).toMatchObject({
      stage: 'rcpt',
      code: 451,
      limit: { name: 'dnsbl', used: 2, max: 1 },
      zones: 'bl.example',
    })
    const row = 'spillway_refusals_total{stage="rcpt",reason="dnsbl",action="defer",mode="enforce"}'
    expect(await node.metric(row)).toBe(1)
    expect(await node.metric('spillway_dnsbl_queries_total{zone="bl.example",result="clear"}')).toBe(1)
  })

  test.each<[string, Record<string, string>, RegExp]>([
    ['refused for good, where that is set', { DNSBL: 'reject' }, /^554 5\.7\.1 /],
    ['let pass, where it is only observed', { DNSBL: 'observe' }, /^250/],
    ['let pass, where the check is observed', { OBSERVE: 'dnsbl' }, /^250/],
    ['let pass below the threshold', { DNSBL_THRESHOLD: '3' }, /^250/],
    ['let pass on the allow list', { ALLOW: LISTED }, /^250/],
    ['let pass as a relay', { RELAYS: LISTED }, /^250/],
  ])('a listed client is %s', async (_, settings, reply) => {
    expect(await rcpt(await app(settings), LISTED)).toMatch(reply)
  })

  test.each([
    ['1', /^250/, /^554 5\.7\.1 /],
    ['2', /^451 4\.7\.1 .*blocklist/, /^451 4\.5\.1 /],
    ['3', /^451 4\.7\.1 .*blocklist/, /^451 4\.5\.1 /],
  ])(
    'at level %s a listed client is judged where suspects are refused, and nothing of the share is used up',
    async (level, mail, to) => {
      const node = await app({ OVERLOAD: level, OVERLOAD_EVENT_LOOP: '10s', DNSBL: 'reject' })
      const session = await node.clientAs(LISTED)
      await session.hello()
      expect(await session.command('MAIL FROM:<a@example.org>')).toMatch(mail)
      expect(await session.command('RCPT TO:<b@example.net>')).toMatch(to)
      await session.command('QUIT')
      expect(await rcpt(node, CLEAR)).toMatch(level === '3' ? /^451 4\.3\.2 / : /^250/)
      const off = 'spillway_refusals_total{stage="rcpt",reason="overload",action="defer",mode="enforce"}'
      expect(await node.metric(off)).toBe(level === '3' ? 1 : 0)
    },
  )

  test('while the check is observed, a listed client is let in at MAIL whatever the level, and counted at RCPT alone', async () => {
    const node = await app({ OVERLOAD: '2', OVERLOAD_EVENT_LOOP: '10s', DNSBL: 'observe' })
    expect(await rcpt(node, LISTED)).toMatch(/^250/)
    const observed = (stage: string) =>
      node.metric(`spillway_refusals_total{stage="${stage}",reason="dnsbl",action="defer",mode="observe"}`)
    expect([await observed('mail'), await observed('rcpt')]).toEqual([0, 1])
  })

  test('as it is shipped, no list is asked', async () => {
    const upstream = await started.upstream()
    const node = await started.app(upstream.address, { PROXY_PROTOCOL_FROM: BALANCER, DNS_SERVERS: dns.address })
    const before = dns.asked()
    expect(await rcpt(node, LISTED)).toMatch(/^250/)
    expect(dns.asked()).toBe(before)
  })
})
