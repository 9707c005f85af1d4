/** Bans: what makes them, how long they last, what lifts them, and in how much room. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import { BAN_REASONS, type Ban, isOffence, OFFENCES, PARDON_MS, proves } from '../../src/core/bans.ts'
import type { Client } from '../../src/core/client.ts'
import { netOf, parseNetwork, sourceOf } from '../../src/core/ip.ts'
import { refusal } from '../../src/core/policy.ts'
import { REASON_NAMES, reasonOf } from '../../src/core/reasons.ts'
import { LEAST_OF_NET } from '../../src/state/active-networks.ts'
import { Bans, MOST_ALLOWED, MOST_OF_OPERATOR, REMEMBERED_MS } from '../../src/state/bans.ts'
import { banIn } from '../../src/state/bans-sharing.ts'
import { Offences } from '../../src/state/offences.ts'
import { Points } from '../../src/state/points.ts'
import { SharedAddresses } from '../../src/state/shared-addresses.ts'

const MIN = 60_000
const HOUR = 60 * MIN
const AFTER = 10
const start = 1_800_000_000_000
const clock = { at: start }
const now = () => clock.at
let bans: Bans
let offences: Offences
let good: Set<string>
let made: [string, string][]
let spared: string[]
let set: { after: number | undefined }
beforeEach(() => {
  clock.at = start
  good = new Set()
  made = []
  spared = []
  set = { after: AFTER }
  bans = new Bans({ now, room: 100 })
  offences = new Offences({
    bans,
    points: new Points({ now }),
    addresses: new SharedAddresses({ now }),
    after: () => set.after,
    banMs: () => 10 * MIN,
    hasGoodNeighbours: (ip) => good.has(netOf(ip)),
    now,
    banned: (ban, reason) => void made.push([ban.network, reason]),
    spared: (ip) => void spared.push(ip),
  })
})
const client = (ip: string, more: Partial<Client> = {}) =>
  ({ ip, source: sourceOf(ip), net: netOf(ip), standing: 'new', ...more }) as Client
/** Twice 5 points. */
const prove = (ip: string, more: Partial<Client> = {}): void => {
  offences.met(client(ip, more))
  for (let i = 0; i < 2; i++) offences.committed(client(ip, more), 'tongue')
}
const operators = (network: string, more: Partial<Ban> = {}): Ban => ({
  ...{ network: parseNetwork(network).text, kind: 'ban', by: 'operator', reason: '', since: clock.at },
  ...{ until: clock.at + HOUR, before: 0, ...more },
})
const pardon = (network: string): Ban => operators(network, { kind: 'pardon', until: clock.at + PARDON_MS })

describe('points', () => {
  test('are for what no honest mail server does, and never for load but for two that prove more', () => {
    const names = REASON_NAMES.filter(isOffence)
    expect(names.sort()).toEqual(Object.keys(OFFENCES).sort())
    expect(names.filter((name) => reasonOf(name).load).sort()).toEqual([
      ...['junk', 'net_unknown_recipients', 'unknown_recipients'],
    ])
    expect(proves('junk', refusal('junk', { spentOn: 'junk' }).facts)).toBe(false)
    expect(proves('junk', refusal('junk', { spentOn: 'refused' }).facts)).toBe(false)
    expect(proves('junk', refusal('junk', { spentOn: 'mistake' }).facts)).toBe(true)
    expect(proves('unknown_recipients', { used: 20, asked: 41, guessed: 20, named: 40 })).toBe(false)
    expect(proves('unknown_recipients', { used: 20, asked: 40, guessed: 20, named: 41 })).toBe(false)
    expect(proves('unknown_recipients', { used: 20, asked: 40, guessed: 20, named: 40 })).toBe(true)
    // All of them were bounces, or came to other nodes.
    expect(proves('unknown_recipients', { used: 20, asked: 20, guessed: 0, named: 20 })).toBe(false)
    expect(proves('unknown_recipients', { used: 20, asked: 20, guessed: 0, named: 0 })).toBe(false)
    expect(proves('net_unknown_recipients', { guessed: 2, named: 2 })).toBe(false)
    expect(proves('net_unknown_recipients', { guessed: 3, named: 7 })).toBe(false)
    expect(proves('net_unknown_recipients', { guessed: 3, named: 6 })).toBe(true)
    expect(proves('net_unknown_recipients', { guessed: 3, named: 6 }, '')).toBe(false)
    expect(proves('tongue', {})).toBe(true)
    expect(proves('helo', { why: 'ours' })).toBe(true)
    for (const why of ['syntax', 'unqualified', 'address', 'renamed', 'common'])
      expect(proves('helo', { why })).toBe(false)
    expect(BAN_REASONS).toEqual([
      ...[
        'tongue',
        'junk',
        'line_too_long',
        'pregreet',
        'pipelining',
        'helo',
        'unknown_recipients',
        'net_unknown_recipients',
      ],
      ...['network', 'operator'],
    ])
  })

  test('at BAN_AFTER it is banned, to the millisecond of BAN_TIME, and others are not', () => {
    offences.committed(client('192.0.2.1'), 'tongue')
    expect(bans.of('192.0.2.1')).toBeUndefined()
    offences.committed(client('192.0.2.1'), 'junk')
    const ban = { network: '192.0.2.1/32', kind: 'ban', by: 'automatic', reason: 'junk', since: start, before: 0 }
    expect(bans.of('192.0.2.1')).toEqual({ ...ban, until: start + 10 * MIN })
    expect(bans.of('192.0.2.2')).toBeUndefined()
    clock.at += 10 * MIN - 1
    expect(bans.of('192.0.2.1')).toBeDefined()
    clock.at += 1
    expect(bans.of('192.0.2.1')).toBeUndefined()
    expect(made).toEqual([['192.0.2.1/32', 'junk']])
  })

  test('are rounded: two offences of five within a minute and a half are ten', () => {
    offences.committed(client('192.0.2.1'), 'tongue')
    offences.committed(client('192.0.2.2'), 'tongue')
    clock.at += 91_000
    offences.committed(client('192.0.2.1'), 'tongue')
    clock.at += 1000
    offences.committed(client('192.0.2.2'), 'tongue')
    expect(bans.of('192.0.2.1')).toBeDefined()
    expect(bans.of('192.0.2.2')).toBeUndefined()
  })

  test('halve in ten minutes', () => {
    offences.committed(client('192.0.2.1'), 'tongue')
    clock.at += 10 * MIN
    offences.committed(client('192.0.2.1'), 'tongue')
    expect(bans.of('192.0.2.1')).toBeUndefined()
    clock.at += 1
    offences.committed(client('192.0.2.1'), 'tongue')
    expect(bans.of('192.0.2.1')).toBeDefined()
  })

  test('of an IPv6 address are those of its /64', () => {
    prove('2001:db8:1:2::5')
    expect(bans.of('2001:db8:1:2:ffff::1')?.network).toBe('2001:db8:1:2::/64')
    expect(bans.of('2001:db8:1:3::5')).toBeUndefined()
  })

  test.each<[string, string, Partial<Client>]>([
    ['a trusted client', '192.0.2.1', { standing: 'trusted' }],
    ['a known client', '192.0.2.1', { standing: 'known' }],
    ['a relay', '192.0.2.1', { isRelay: true, standing: 'seen' }],
    ['a private address, which may be a NAT in front of everybody', '172.17.0.1', {}],
    ['this machine, where a balancer may be', '127.0.0.1', {}],
    ['the same over IPv6', '::1', {}],
  ])('%s never gets any', (_, ip, more) => {
    for (let i = 0; i < 10; i++) prove(ip, more)
    expect(bans.list()).toEqual([])
  })

  test('in a test, whose clients are of 127.0.0.0/8, each is one by itself; 127.0.0.1 is never banned with its neighbours', () => {
    for (let i = 2; i < 20; i++) prove(`127.0.0.${i}`)
    expect(bans.of('127.0.0.2')).toMatchObject({ network: '127.0.0.2/32' })
    expect(bans.list()).toHaveLength(18)
    expect(bans.of('127.0.0.1')).toBeUndefined()
  })

  test('BAN_AFTER=off: nobody is banned', () => {
    set.after = undefined
    prove('192.0.2.1')
    expect(bans.list()).toEqual([])
  })
})

test('what a client does while it is banned makes the ban no longer', () => {
  prove('192.0.2.1')
  clock.at += MIN
  prove('192.0.2.1')
  expect(bans.of('192.0.2.1')).toMatchObject({ until: start + 10 * MIN, before: 0 })
})

test('each further ban within a day is twice as long, up to a day; after a day without one it begins anew', () => {
  const minutes: number[] = []
  for (let i = 0; i < 10; i++) {
    prove('192.0.2.1')
    const ban = bans.of('192.0.2.1') as Ban
    expect(ban.before).toBe(i)
    minutes.push((ban.until - ban.since) / MIN)
    clock.at = ban.until + 23 * HOUR
  }
  expect(minutes).toEqual([10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440])
  clock.at += HOUR
  prove('192.0.2.1')
  expect(bans.of('192.0.2.1')).toMatchObject({ before: 0, until: clock.at + 10 * MIN })
})

describe('an address that several senders share', () => {
  const who = { source: '192.0.2.1' }

  test('is not banned when mail came from it under three names, and others are', () => {
    for (const name of ['a.example', 'b.example', 'A.example']) offences.served(who, name)
    offences.committed(client('192.0.2.1'), 'tongue')
    expect(spared).toEqual([])
    offences.served(who, 'c.example')
    prove('192.0.2.1')
    prove('192.0.2.2')
    expect(bans.list().map(({ network }) => network)).toEqual(['192.0.2.2/32'])
    expect(spared).toEqual(['192.0.2.1', '192.0.2.1'])
  })

  test('is banned again when a day has passed without the third of them', () => {
    for (const name of ['a.example', 'b.example', 'c.example']) offences.served(who, name)
    clock.at += 24 * HOUR - 1
    prove('192.0.2.1')
    expect(bans.list()).toEqual([])
    for (const name of ['a.example', 'b.example']) offences.served(who, name)
    clock.at += 1
    prove('192.0.2.1')
    expect(bans.of('192.0.2.1')).toBeDefined()
  })
})

describe('a network', () => {
  const ips = (count: number, from = 1) => Array.from({ length: count }, (_, i) => `198.51.100.${from + i}`)

  test('is banned when eight of its addresses are, and at least three quarters of those seen in the last hour', () => {
    prove(ips(1)[0] as string)
    for (const ip of ips(3, 100)) offences.met(client(ip))
    for (const ip of ips(7, 2)) prove(ip)
    expect(LEAST_OF_NET).toBe(8)
    // 8 of 11 are not enough: 9 of 12 are.
    expect(bans.of('198.51.100.200')).toBeUndefined()
    prove('198.51.100.9')
    expect(bans.of('198.51.100.200')).toMatchObject({ network: '198.51.100.0/24', reason: 'network' })
    expect(bans.of('198.51.101.1')).toBeUndefined()
  })

  test('is not while others are active, however many', () => {
    prove(ips(1)[0] as string)
    for (const ip of ips(100, 100)) offences.met(client(ip))
    for (const ip of ips(40, 2)) prove(ip)
    expect(bans.of('198.51.100.250')).toBeUndefined()
  })

  test('is not where others were active before the first of its addresses was banned, whatever became of them, for an hour or two', () => {
    for (const ip of ips(8, 100)) offences.met(client(ip, { standing: 'seen' }))
    clock.at += HOUR
    for (const ip of ips(12)) prove(ip)
    expect(bans.of('198.51.100.250')).toBeUndefined()
    clock.at += 2 * HOUR
    for (const ip of ips(8, 20)) prove(ip)
    expect(bans.of('198.51.100.250')).toMatchObject({ reason: 'network' })
  })

  test('is also of bans that were made elsewhere, of addresses that have come here', () => {
    const since = clock.at
    const heard = (ip: string): Ban => ({
      ...{ network: `${ip}/32`, kind: 'ban', by: 'automatic', reason: 'tongue', since, until: since + HOUR, before: 0 },
    })
    for (const ip of ips(10)) bans.hear(heard(ip))
    prove(ips(1, 11)[0] as string)
    expect(bans.of('198.51.100.250')).toBeUndefined()
    for (const ip of ips(7)) offences.met(client(ip))
    prove(ips(1, 12)[0] as string)
    expect(bans.of('198.51.100.250')).toMatchObject({ reason: 'network' })
  })

  test('of IPv6 is a /48', () => {
    for (let i = 0; i < 8; i++) prove(`2001:db8:5:${i.toString(16)}::1`)
    expect(bans.of('2001:db8:5:ffff::1')).toMatchObject({ network: '2001:db8:5::/48' })
    expect(bans.of('2001:db8:6::1')).toBeUndefined()
  })

  test('is never where good mail is remembered', () => {
    good.add('198.51.100.0/24')
    for (const ip of ips(20)) prove(ip)
    expect(bans.of('198.51.100.200')).toBeUndefined()
    expect(bans.list()).toHaveLength(20)
  })
})

describe("the operator's word", () => {
  test('beats a ban that came by itself, and the narrower beats the wider', () => {
    bans.make(operators('192.0.2.0/24', { reason: 'harvest' }))
    expect(bans.of('192.0.2.9')?.reason).toBe('harvest')
    bans.make(pardon('192.0.2.9/32'))
    expect(bans.of('192.0.2.9')).toBeUndefined()
    expect(bans.of('192.0.2.8')?.reason).toBe('harvest')
    // Also one that comes later.
    clock.at += 1
    prove('192.0.2.9')
    expect(bans.of('192.0.2.9')).toBeUndefined()
    expect(bans.isPardoned('192.0.2.9')).toBe(true)
    expect(bans.list().map(({ network }) => network)).toEqual(['192.0.2.0/24'])
    clock.at += PARDON_MS
    prove('192.0.2.9')
    expect(bans.of('192.0.2.9')?.by).toBe('automatic')
  })

  test('takes one address out of a network that was banned by itself', () => {
    for (let i = 1; i <= 8; i++) prove(`198.51.100.${i}`)
    bans.make(pardon('198.51.100.3'))
    expect(bans.of('198.51.100.3')).toBeUndefined()
    expect(bans.of('198.51.100.4')).toBeDefined()
    expect(bans.of('198.51.100.99')?.network).toBe('198.51.100.0/24')
  })

  test('a pardon undoes the bans in its network, wherever they come from, and they do not count as bans before', () => {
    prove('192.0.2.1')
    const heard = bans.of('192.0.2.1') as Ban
    clock.at += 1000
    bans.make(pardon('192.0.2.0/24'))
    expect(bans.list()).toEqual([])
    expect(bans.before(parseNetwork('192.0.2.1'))).toBeUndefined()
    // A node that hears of the ban only now.
    expect(bans.hear(heard)).toBe(false)
    expect(bans.list()).toEqual([])
  })

  test('the later of two for one network stays, in whichever order they are heard', () => {
    const first = operators('192.0.2.0/24', { reason: 'first' })
    clock.at += 5
    const second = operators('192.0.2.0/24', { reason: 'second' })
    for (const each of [second, first, second]) bans.hear(each)
    expect(bans.list().map(({ reason }) => reason)).toEqual(['second'])
  })

  test('only what this node makes is told on', () => {
    const told: string[] = []
    bans.onMade(({ network }) => told.push(network))
    bans.hear(operators('192.0.2.0/24'))
    bans.make(operators('192.0.3.0/24'))
    bans.make(operators('192.0.3.0/24'))
    expect(told).toEqual(['192.0.3.0/24'])
  })
})

describe('room', () => {
  test('is bounded: the ban that ends first makes room, and never one of the operator', () => {
    bans.make(operators('203.0.113.0/24'))
    for (let i = 0; i < 300; i++) {
      clock.at += 10
      prove(`10${i % 2}.${Math.floor(i / 250) + 1}.${i % 250}.${i % 200}`.replace(/^10\d/, '45'))
    }
    expect(bans.all()).toHaveLength(101)
    expect(bans.of('203.0.113.1')).toBeDefined()
    expect(bans.of('45.2.49.99')).toBeDefined()
  })

  test('of those that are there longest, the one that ends first', () => {
    for (let i = 0; i < 100; i++) {
      clock.at += 1
      const ban = { ...operators(`45.0.0.${i}`), by: 'automatic' as const, reason: 'tongue' }
      bans.make({ ...ban, until: clock.at + (i === 7 ? MIN : HOUR) })
    }
    prove('45.0.1.1')
    expect(bans.of('45.0.0.7')).toBeUndefined()
    expect(bans.of('45.0.0.0')).toBeDefined()
  })

  test('the operator has ten thousand, and those that are over make room', () => {
    for (let i = 0; i < MOST_OF_OPERATOR; i++) bans.make(operators(`45.${Math.floor(i / 250)}.${i % 250}.1`))
    expect(bans.make(operators('203.0.113.1'))).toBe(false)
    clock.at += HOUR
    expect(bans.make(operators('203.0.113.1'))).toBe(true)
    expect(bans.count()).toBe(1)
  })

  test('what is over is forgotten after a day', () => {
    prove('192.0.2.1')
    clock.at += 10 * MIN + REMEMBERED_MS
    expect(bans.all()).toEqual([])
  })
})

describe('what Redis says is taken only if it is a ban', () => {
  const sound: Ban = {
    ...{ network: '192.0.2.1/32', kind: 'ban', by: 'automatic', reason: 'tongue' },
    ...{ since: start, until: start + HOUR, before: 2 },
  }
  const entry = (more: object): string => `1 2 ${JSON.stringify({ ...sound, ...more })}`

  test('a sound one', () => {
    expect(banIn(entry({}), start)).toEqual(sound)
    const operators = { by: 'operator', reason: 'any text', until: start + 300 * 24 * HOUR }
    expect(banIn(entry(operators), start)).toEqual({ ...sound, ...operators })
    expect(banIn(entry({ by: 'operator', kind: 'pardon' }), start)).toBeDefined()
  })

  test.each<[string, string]>([
    ['nothing', ''],
    ['no JSON', '1 2 {'],
    ['an array', '1 2 []'],
    ['null', '1 2 null'],
    ['everybody', entry({ network: '0.0.0.0/0' })],
    ['a network that is too wide', entry({ network: '10.0.0.0/7' })],
    ['everybody of IPv6', entry({ network: '::/0' })],
    ['host bits', entry({ network: '192.0.2.1/24' })],
    ['no network', entry({ network: 'mail.example' })],
    ['a number for it', entry({ network: 5 })],
    ['another kind', entry({ kind: 'x' })],
    ['a pardon that came by itself', entry({ kind: 'pardon' })],
    ['a reason that there is not', entry({ reason: 'x' })],
    ['a reason that is too long', entry({ by: 'operator', reason: 'x'.repeat(201) })],
    ['one from the future', entry({ since: start + 2 * MIN, until: start + HOUR })],
    ['one that ends before it begins', entry({ until: start })],
    ['one that lasts too long', entry({ until: start + 24 * HOUR + 1 })],
    ["one of the operator's that lasts too long", entry({ by: 'operator', until: start + 366 * 24 * HOUR })],
    ['times that are none', entry({ since: '1' })],
    ['a count that is none', entry({ before: -1 })],
  ])('%s is not', (_, text) => {
    expect(banIn(text, start)).toBeUndefined()
  })
})

describe('what the operator allows', () => {
  const allowed = (network: string, more: Partial<Ban> = {}): Ban => operators(network, { kind: 'allow', ...more })

  test('wins over bans of any width and kind, and when it is over they hold again', () => {
    prove('203.0.113.7')
    bans.make(operators('203.0.113.0/28'))
    bans.make(allowed('203.0.113.0/24', { until: clock.at + MIN }))
    expect([bans.isAllowed('203.0.113.7'), bans.of('203.0.113.7')]).toEqual([true, undefined])
    expect(bans.isAllowed('203.0.112.7')).toBe(false)
    expect(bans.list().map(({ kind }) => kind)).toEqual(['ban', 'ban'])
    expect(bans.allowed().map(({ network }) => network)).toEqual(['203.0.113.0/24'])
    clock.at += MIN
    expect(bans.isAllowed('203.0.113.7')).toBe(false)
    expect(bans.of('203.0.113.7')?.network).toBe('203.0.113.0/28')
    expect(bans.allowed()).toEqual([])
  })

  test('and a ban of the same network do not replace each other', () => {
    bans.make(operators('203.0.113.0/24'))
    bans.make(allowed('203.0.113.0/24', { since: clock.at + 1, until: clock.at + MIN }))
    expect(bans.of('203.0.113.7')).toBeUndefined()
    clock.at += MIN
    expect(bans.of('203.0.113.7')?.kind).toBe('ban')
  })

  test('ends by an entry that is over at once, whichever is heard first', () => {
    const entries = [allowed('192.0.2.1'), allowed('192.0.2.1', { since: clock.at + 1, until: clock.at + 2 })]
    for (const order of [entries, [...entries].reverse()]) {
      const others = new Bans({ now: () => clock.at + 2 })
      for (const entry of order) others.hear(entry)
      expect(others.isAllowed('192.0.2.1')).toBe(false)
    }
  })

  test('is told from what has an address in common with it', () => {
    bans.make(allowed('203.0.113.0/24'))
    const inWay = (network: string) => bans.allowedIn(parseNetwork(network))?.network
    for (const each of ['203.0.113.7/32', '203.0.113.0/24', '203.0.0.0/16']) expect(inWay(each)).toBe('203.0.113.0/24')
    for (const each of ['203.0.112.0/24', '2001:db8::/32']) expect(inWay(each)).toBeUndefined()
  })

  test('has a fixed number of places; those that are over make room', () => {
    for (let i = 0; i < MOST_ALLOWED; i++) bans.make(allowed(`10.${i >> 8}.${i & 255}.0/24`))
    expect(bans.make(allowed('192.0.2.0/24'))).toBe(false)
    clock.at += HOUR
    expect(bans.make(allowed('192.0.2.0/24'))).toBe(true)
    expect(bans.allowed()).toHaveLength(1)
  })

  test('is read as another node has written it, and never from anybody but an operator', () => {
    const entry = (ban: Ban): string => `1 1 ${JSON.stringify(ban)}`
    expect(banIn(entry(allowed('192.0.2.0/24')), clock.at)).toMatchObject({ kind: 'allow' })
    expect(banIn(entry(allowed('192.0.2.0/24', { by: 'automatic', reason: 'tongue' })), clock.at)).toBeUndefined()
    expect(banIn(entry(allowed('0.0.0.0/0')), clock.at)).toBeUndefined()
  })
})
