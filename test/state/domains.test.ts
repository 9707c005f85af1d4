/** What is remembered of domains, in plain numbers: how widely, how long, and what is not. */
import { describe, expect, test } from '@jest/globals'
import { Domains, GOOD_NETS, netsOf } from '../../src/state/domains.ts'
import { History } from '../../src/state/history.ts'
import { NO_PAST, type Past } from '../../src/state/past.ts'

const DAY = 86_400_000
const GOOD = { good: 1, bad: 0 }
const BAD = { good: 0, bad: 1 }
const NAME = 'provider.example'
const SEED = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8])

function begin(capacity = 1024) {
  const clock = { now: 20_000 * DAY }
  const domains = new Domains({ ttlMs: () => 100 * DAY, now: () => clock.now, seed: SEED, capacity })
  return { clock, domains }
}
/** Addresses of so many networks. */
const ips = (count: number): string[] => Array.from({ length: count }, (_, i) => `10.${i >> 8}.${i & 255}.1`)

test('addresses count, and so do the networks that their good mail came from', () => {
  const { domains } = begin()
  for (const ip of ips(3)) domains.learn(NAME, ip, GOOD)
  domains.learn(NAME, '10.0.0.2', GOOD)
  domains.learn(NAME, '2001:db8:1::1', GOOD)
  domains.learn(NAME, '10.9.9.9', BAD)
  const past = domains.of(NAME)
  expect(past).toMatchObject({ good: 5, recentGood: 5, recentBad: 1 })
  expect(netsOf(past)).toBe(4)
  expect(domains.of('another.example')).toEqual(NO_PAST)
})

test('networks are never counted too high, and of a big provider high enough', () => {
  for (const count of [1, 2, 3, 10, 1000]) {
    const { domains } = begin()
    for (const ip of ips(count)) domains.learn(NAME, ip, GOOD)
    const nets = netsOf(domains.of(NAME))
    expect(nets).toBeLessThanOrEqual(Math.min(28, count))
    if (count >= 10) expect(nets).toBeGreaterThan(GOOD_NETS)
    if (count === 1000) expect(nets).toBe(28)
  }
  const { domains } = begin()
  for (let i = 0; i < 256; i++) domains.learn(NAME, `192.0.2.${i}`, GOOD)
  for (let i = 0; i < 256; i++) domains.learn('six.example', `2001:db8:1:${i.toString(16)}::1`, GOOD)
  expect([NAME, 'six.example'].map((each) => netsOf(domains.of(each)))).toEqual([1, 1])
})

test('a domain with nothing good behind it is not remembered, and one that is silent is forgotten', () => {
  const { domains, clock } = begin()
  domains.learn(NAME, '10.0.0.1', BAD)
  expect(domains.of(NAME)).toEqual(NO_PAST)
  domains.learn(NAME, '10.0.0.1', GOOD)
  clock.now += 99 * DAY
  expect(domains.of(NAME).good).toBe(1)
  clock.now += DAY
  expect(domains.of(NAME)).toEqual(NO_PAST)
})

test('domains with good mail from several networks are not pushed out by others, however many come', () => {
  const { domains } = begin()
  for (let i = 0; i < 200; i++) for (const ip of ips(20)) domains.learn(`good${i}.example`, ip, GOOD)
  for (let i = 0; i < 20_000; i++) domains.learn(`cheap${i}.example`, '10.0.0.1', GOOD)
  const left = Array.from({ length: 200 }, (_, i) => domains.of(`good${i}.example`)).filter(({ good }) => good === 20)
  expect(left).toHaveLength(200)
})

describe('the history of a client says what its domain may learn', () => {
  const history = (): History =>
    new History({
      standingAlone: () => 'seen',
      ...{ ttlMs: () => 100 * DAY, now: () => 20_000 * DAY, seed: SEED, capacity: 1 << 12 },
    })

  test('each address once a day, good and bad', () => {
    const clients = history()
    expect(clients.learn('192.0.2.1', { good: 3, bad: 0 })).toEqual({ good: 1, bad: 0 })
    expect(clients.learn('192.0.2.1', GOOD)).toBeUndefined()
    expect(clients.learn('192.0.2.1', { good: 1, bad: 2 })).toEqual({ good: 0, bad: 1 })
    expect(clients.learn('192.0.2.1', { good: 0, bad: 0 })).toBeUndefined()
    expect(clients.learn('192.0.2.2', { good: 1, bad: 0.5 })).toEqual({ good: 1, bad: 0 })
  })

  test('what one node has learnt is added up at others, whoever tells first', () => {
    const [a, b] = [history(), history()]
    for (const each of [a, b]) each.share()
    a.domains.learn(NAME, '10.0.0.1', GOOD)
    b.domains.learn(NAME, '10.0.1.1', GOOD)
    const [told] = a.takeUntold(10)
    expect(told).toMatchObject({ good: 1, bad: 0, buckets: a.domains.of(NAME).buckets })
    const all: Past = { ...a.domains.of(NAME) }
    expect(b.hear(told!.key, all)).toBeUndefined()
    expect(b.domains.of(NAME).good).toBe(2)
    expect(netsOf(b.domains.of(NAME))).toBe(2)
    // Others have lost what this node has told.
    b.takeUntold(10)
    expect(b.hear(told!.key, { ...NO_PAST, good: 1, first: 1, lastGood: 480_000 })).toMatchObject({ good: 2 })
    a.putBack([told!])
    expect(a.untold).toBe(1)
  })
})
