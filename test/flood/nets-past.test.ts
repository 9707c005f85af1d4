/** What the flood's networks have sent before the run, as an operator's log would have it, and who of the honest stands among them. */
import { describe, expect, test } from '@jest/globals'
import { dayOf } from '../../bench/flood/day.ts'
import { toldAs } from '../../bench/flood/names.ts'
import { counted, NetsPast } from '../../bench/flood/nets-past.ts'
import { spamPastOf } from '../../bench/flood/past.ts'
import { populationOf } from '../../bench/flood/population.ts'
import { SCENARIOS, withNetsPast } from '../../bench/flood/scenarios.ts'
import { LogLines } from '../../src/cli/learn/read.ts'
import { botAddress, botsOf } from '../../src/cli/senders/bot.ts'
import { HonestPopulation } from '../../src/cli/senders/honest.ts'

const DAY = 86_400_000
const now = Date.parse('2026-11-20T12:00:00Z')
const SCALE = 0.01
const pastOf = (share: number, more: object = {}) => new NetsPast({ scale: SCALE, seed: 1, share, ...more })
const netOf = (ip: string): string => ip.slice(0, ip.lastIndexOf('.'))
const past = pastOf(0.8)
const spammers = [...past.spammers()]
const ofRun = new Set([...botsOf(SCALE)].map((bot) => botAddress(bot, SCALE)))

/** What `spillway learn` reads of these lines: good and bad messages by address. */
function learnt(lines: string) {
  const by = new Map<string, { good: number; bad: number; last: number }>()
  const reader = new LogLines(
    (ip, { good, bad }, at) => {
      const so = by.get(ip) ?? { good: 0, bad: 0, last: 0 }
      by.set(ip, { good: so.good + good, bad: so.bad + bad, last: Math.max(so.last, at) })
    },
    now,
    2,
  )
  for (const line of lines.trim().split('\n')) reader.line(line)
  return { by, foreign: reader.read.foreign }
}

describe('a share of the networks that the flood comes from', () => {
  const nets = new Set([...ofRun].map(netOf))

  test('has a past, and no other network has', () => {
    expect(past.all).toBe(nets.size)
    const old = new Set(spammers.map(({ ip }) => netOf(ip)))
    expect([...old].filter((each) => !nets.has(each))).toEqual([])
    expect(old.size).toBe(past.nets.length)
    expect(old.size / nets.size).toBeGreaterThan(0.75)
    expect(old.size / nets.size).toBeLessThan(0.85)
  })

  test('a greater share has those of a smaller one, and what each has sent is the same; so are they in every run', () => {
    const of = (share: number, seed = 1) => [...pastOf(share, { seed }).spammers()]
    const text = JSON.stringify(spammers)
    expect(JSON.stringify(of(0.8)) === text).toBe(true)
    expect(JSON.stringify(of(0.8, 2)) === text).toBe(false)
    const ips = new Set(spammers.map(({ ip }) => ip))
    const fewer = of(0.3)
    expect(fewer.length).toBeGreaterThan(0)
    expect(fewer.filter(({ ip }) => !ips.has(ip))).toEqual([])
    expect(pastOf(1).nets).toHaveLength(nets.size)
    expect(of(0)).toEqual([])
  })

  test('has sent from several addresses each, one in ten of which sends in the run as well', () => {
    const mean = spammers.length / past.nets.length
    // A tenth of the 17 addresses that a network has in the flood of a day, for a fortnight.
    expect(mean).toBeGreaterThan(20)
    expect(mean).toBeLessThan(27)
    expect(new Set(spammers.map(({ ip }) => ip)).size).toBe(spammers.length)
    const same = spammers.filter(({ ip }) => ofRun.has(ip)).length / spammers.length
    expect(same).toBeGreaterThan(0.07)
    expect(same).toBeLessThan(0.13)
  })

  test.each([
    ['heavy', 5],
    ['one network', 1],
  ] as const)('of a flood of the kind %s: those are its networks', (kind, count) => {
    const theirs = pastOf(1, { kind })
    expect(theirs.nets).toHaveLength(count)
    const from = kind === 'heavy' ? botAddress(0) : '127.200.200.1'
    expect([...theirs.spammers()].map(({ ip }) => netOf(ip))).toContain(netOf(from))
  })
})

test('spillway learn hears of what was taken and of what was refused, as far back as the log goes', () => {
  const { by, foreign } = learnt(spamPastOf(spammers, now))
  expect(foreign).toBe(0)
  const all = [...by.values()]
  const sum = (of: 'good' | 'bad') => all.reduce((so, each) => so + each[of], 0)
  const messages = spammers.reduce((so, each) => so + each.messages, 0)
  // Three recipients, of which 40 % are unknown; of messages with one that is known half are refused.
  expect(sum('good') / messages).toBeCloseTo(0.43, 1)
  expect(sum('bad') / messages).toBeCloseTo(1.63, 0)
  const once = spammers.filter((each) => each.messages === 1)
  expect(once.length / spammers.length).toBeCloseTo(0.7, 1)
  expect(once.some((each) => counted(each).accepted === 1)).toBe(true)
  const ages = all.map(({ last }) => (now - last) / DAY).toSorted((a, b) => a - b)
  expect(ages[0]).toBeGreaterThanOrEqual(0)
  expect(ages.at(-1)).toBeLessThanOrEqual(14)
  expect(ages[Math.floor(ages.length / 2)]).toBeGreaterThan(5)
  const told = learnt(spamPastOf(spammers, now, true)).by
  expect([...told.keys()].filter((ip) => !ip.startsWith('11.'))).toEqual([])
})

test('a day of logs has the spam of that day, and what it refuses counts', () => {
  const population = populationOf({ seed: 1, scale: 0.002 })
  const how = { perSecond: 0.0278, seed: 1, now }
  const without = learnt(dayOf(population, how)).by
  const { by, foreign } = learnt(dayOf(population, how, spammers))
  expect(foreign).toBe(0)
  const today = spammers.filter(({ agoMs }) => agoMs < DAY)
  expect(today.length).toBeGreaterThan(200)
  expect([...without].map(([ip]) => [ip, by.get(ip)])).toEqual([...without])
  const spam = new Set(today.map(({ ip }) => toldAs(ip)))
  const others = [...by.keys()].filter((ip) => !without.has(ip))
  expect(others.filter((ip) => !spam.has(ip))).toEqual([])
  expect(others.length / today.length).toBeGreaterThan(0.95)
  expect(others.filter((ip) => now - (by.get(ip)?.last ?? 0) > DAY)).toEqual([])
  const single = today.find(({ messages, drawn: [first] }) => messages === 1 && first?.text === 'refused')
  const { unknown = 0 } = single?.drawn[0] ?? {}
  expect(by.get(toldAs(single?.ip ?? ''))).toMatchObject({ good: 0, bad: unknown + 1 })
})

test('a tenth of the first contacts stands in such networks, at addresses that no bot has had', () => {
  const population = new HonestPopulation(1, 50)
  const strangers = Array.from({ length: 1500 }, () => population.stranger())
  const housed = strangers.map((each, i) => past.housed(each, i))
  const moved = housed.filter((each, i) => each !== strangers[i])
  expect(moved.length / strangers.length).toBeCloseTo(0.1, 1)
  const old = new Set(spammers.map(({ ip }) => netOf(ip)))
  const bots = new Set([...ofRun, ...spammers.map(({ ip }) => ip)])
  for (const { addresses, mta } of moved) {
    expect(addresses).toHaveLength(mta.addresses)
    expect(new Set(addresses.map(netOf)).size).toBe(1)
    expect(addresses.filter((each) => !old.has(netOf(each)) || bots.has(each))).toEqual([])
  }
  expect(strangers.map((each, i) => past.housed(each, i))).toEqual(housed)
  expect(strangers.map((each, i) => pastOf(0).housed(each, i))).toEqual(strangers)
})

test('a scenario with another share has another name, and S1 is that of the pessimist', () => {
  const [S1] = SCENARIOS
  expect(S1?.netsPast).toBeUndefined()
  const shares = SCENARIOS.filter(({ name }) => name.startsWith('S1-nets-'))
  expect(shares.map(({ name, netsPast }) => [name, netsPast])).toEqual([
    ['S1-nets-50', 0.5],
    ['S1-nets-80', 0.8],
    ['S1-nets-95', 0.95],
  ])
  for (const each of shares) expect(each).toEqual({ ...S1, ...withNetsPast(each, each.netsPast ?? 0) })
  expect(withNetsPast(shares[1] as (typeof shares)[1], 0.3)).toMatchObject({
    name: 'S1-nets-30',
    title: 'ramp to 50 times in 60 s, held; 30 % of its networks have a past',
  })
})
