/** The order of evidence, in plain numbers. */
import { describe, expect, test } from '@jest/globals'
import { STANDINGS } from '../../src/core/client.ts'
import { decidedBy, type Evidence, sharesLimits, standingAlone, standingOf } from '../../src/overload/standing.ts'
import type { Latest } from '../../src/state/latest-mail.ts'
import { aged, type Lesson, NET_MEMORY, NO_PAST, OWN_MEMORY, type Past, taught } from '../../src/state/past.ts'

/** As it is shipped. */
const NEEDS = { after: 3, days: 2 }
const GOOD: Lesson = { good: 1, bad: 0 }
const BAD: Lesson = { good: 0, bad: 1 }
const START = 500_000

/** @param lessons hours after the start, and what came then */
const past = (...lessons: readonly (readonly [number, Lesson, number?])[]): Past =>
  lessons.reduce(
    (before, [hour, lesson, times = 1]) =>
      Array.from({ length: times }).reduce<Past>((so) => taught(so, lesson, START + hour, OWN_MEMORY), before),
    NO_PAST,
  )
const net = (good: number, bad: number, over = 24): Past => ({
  good,
  recentGood: good,
  recentBad: bad,
  first: START,
  lastGood: START + over,
  lastBad: START + over,
})
const FRIEND = past([0, GOOD, 2], [24, GOOD, 200])
const of = (own: Past, around: Past = NO_PAST, isAllowed = false) => standingOf({ isAllowed, own, net: around }, NEEDS)

test.each([
  ['nothing', NO_PAST, 'new'],
  ['one good message', past([0, GOOD]), 'seen'],
  ['a thousand good messages in one day', past([0, GOOD, 500], [19, GOOD, 500]), 'seen'],
  ['just before and just after midnight', past([23, GOOD, 2], [25, GOOD]), 'seen'],
  ['two good messages on two days', past([0, GOOD], [24, GOOD]), 'seen'],
  ['three good messages on two days', past([0, GOOD, 2], [20, GOOD]), 'known'],
  ['three good messages and a bad one', past([0, GOOD, 2], [24, GOOD], [24, BAD]), 'seen'],
  ['four good messages and a bad one: 80 %', past([0, GOOD, 2], [24, GOOD, 2], [24, BAD]), 'known'],
  ['one bad message', past([0, BAD]), 'new'],
  ['two bad messages', past([0, BAD, 2]), 'suspect'],
  ['two bad messages and two good ones', past([0, BAD, 2], [0, GOOD, 2]), 'seen'],
  ['one spam that got through, and two that did not', past([0, GOOD], [0, BAD, 2]), 'suspect'],
] as const)('%s', (_, own, standing) => {
  expect(of(own)).toBe(standing)
  expect(STANDINGS).toContain(standing)
})

describe('a friend', () => {
  test('that turns bad is no longer known after six bad messages in a row, and a suspect after eighteen', () => {
    const after = (count: number) => of(taughtTimes(FRIEND, BAD, 24, count))
    expect([0, 5, 6, 17, 18].map(after)).toEqual(['known', 'known', 'seen', 'seen', 'suspect'])
  })

  test('of whose mail four in five are good is none that turned bad, however long it goes on', () => {
    let own = FRIEND
    for (let i = 0; i < 500; i++) own = taught(own, i % 6 === 5 ? BAD : GOOD, START + 24, OWN_MEMORY)
    expect(of(own)).toBe('known')
    for (let i = 0; i < 100; i++) own = taught(own, i % 3 === 2 ? BAD : GOOD, START + 24, OWN_MEMORY)
    expect(of(own)).toBe('seen')
  })

  test('is forgiven within days, because bad mail fades and good mail does not', () => {
    const spoiled = taughtTimes(FRIEND, BAD, 24, 18)
    const days = [0, 1, 2, 3, 4].map((day) => of(aged(spoiled, START + 24 + 24 * day)))
    expect(days).toEqual(['suspect', 'seen', 'seen', 'known', 'known'])
  })

  test('is not spoiled by a list with 2 % dead subscribers', () => {
    expect(of(taughtTimes(FRIEND, { good: 1, bad: 0.1 }, 24, 500))).toBe('known')
  })
})

describe('the neighbourhood', () => {
  const little = past([0, GOOD, 2])
  test.each([
    ['four bad addresses', net(0, 4), ['suspect', 'suspect', 'known']],
    ['three bad addresses', net(0, 3), ['new', 'seen', 'known']],
    ["a big provider's pool: one good address to four bad ones", net(20, 80), ['new', 'seen', 'known']],
    ['a spammer with a network, of whose addresses a few got through', net(10, 90), ['suspect', 'suspect', 'known']],
    ['five good addresses over two days', net(5, 0), ['seen', 'seen', 'known']],
    ['five good addresses in one day', net(5, 0, 4), ['new', 'seen', 'known']],
  ] as const)('%s', (_, around, [stranger, seen, known]) => {
    expect(of(NO_PAST, around)).toBe(stranger)
    expect(of(little, around)).toBe(seen)
    expect(of(FRIEND, around)).toBe(known)
  })

  test.each([
    ['nobody', NO_PAST, 'seen'],
    ['one bad address', net(0, 1), 'new'],
    ['one bad address yesterday', aged(net(0, 1), START + 60), 'seen'],
    ['one bad address, and one good', net(1, 1), 'seen'],
  ] as const)('a single good message, and of the neighbours %s', (_, around, standing) => {
    expect(of(past([0, GOOD]), around)).toBe(standing)
  })

  test('takes away no suspicion: a bad client among good ones is a suspect', () => {
    expect(of(past([0, BAD, 2]), net(50, 0))).toBe('suspect')
  })

  test('weighs its addresses by more than one client weighs its messages', () => {
    const many = taughtNet(100, 80)
    expect(many.recentGood + many.recentBad).toBeCloseTo(NET_MEMORY)
    expect(of(NO_PAST, many)).toBe('new')
  })
})

describe('the domain', () => {
  const days = (count: number): number => 24 * count
  /** @param nets so many networks, of 28 */
  const domain = (good: number, bad: number, nets: number, over: number): Past => ({
    ...net(good, bad, over),
    buckets: 2 ** nets - 1,
  })
  const standingWith = (about: Past, own: Past = NO_PAST, around: Past = NO_PAST) =>
    standingOf({ isAllowed: false, own, net: around, domain: about }, NEEDS)
  const GOOD_ONE = domain(20, 0, 3, days(6))

  test.each([
    ['twenty good addresses in three networks over a week', GOOD_ONE, 'seen'],
    ['nineteen', domain(19, 0, 3, days(6)), 'new'],
    ['two networks, however much came from them', domain(1000, 0, 2, days(60)), 'new'],
    ['five days', domain(1000, 0, 20, days(5)), 'new'],
    ['four in five are good', domain(80, 20, 20, days(60)), 'seen'],
    ['less are', domain(79, 21, 20, days(60)), 'new'],
    ['all are bad', domain(20, 80, 20, days(60)), 'new'],
  ] as const)('%s', (_, about, standing) => {
    expect(standingWith(about)).toBe(standing)
  })

  test('makes nobody known, and nobody suspect', () => {
    expect(standingWith(domain(1e6, 0, 28, days(365)), past([0, GOOD]))).toBe('seen')
    for (const bad of [1, 50, 100]) expect(standingWith(domain(1, bad, 28, days(365)))).toBe('new')
  })

  test('helps nobody who has sent bad mail himself, until a day later', () => {
    const spoiled = past([0, BAD])
    expect(standingWith(GOOD_ONE, spoiled)).toBe('new')
    expect(standingWith(GOOD_ONE, aged(spoiled, START + 23))).toBe('new')
    expect(standingWith(GOOD_ONE, aged(spoiled, START + 24))).toBe('seen')
    expect(standingWith(GOOD_ONE, past([0, BAD, 2]))).toBe('suspect')
  })

  test('helps nobody among bad neighbours', () => {
    expect(standingWith(GOOD_ONE, NO_PAST, net(0, 4))).toBe('suspect')
  })

  test('lends nothing any more when twenty-three of its addresses have turned bad', () => {
    let about: Past = domain(100, 0, 28, days(60))
    const lent: string[] = []
    for (let bad = 1; bad <= 23; bad++) {
      about = { ...taught(about, BAD, START + days(60), NET_MEMORY), buckets: 2 ** 28 - 1 }
      lent.push(standingWith(about))
    }
    expect(lent).toEqual([...new Array(22).fill('seen'), 'new'])
  })

  test('with more days for everybody it needs more, too', () => {
    const needs = { after: 3, days: 14 }
    const standing = (over: number) =>
      standingOf({ isAllowed: false, own: NO_PAST, net: NO_PAST, domain: domain(20, 0, 3, over) }, needs)
    expect([standing(days(12)), standing(days(13))]).toEqual(['new', 'seen'])
  })
})

test('the allow list comes before everything', () => {
  expect(of(past([0, BAD, 25]), net(0, 100), true)).toBe('trusted')
})

test('one day asks for no time at all', () => {
  expect(standingAlone(past([0, GOOD, 3]), { after: 3, days: 1 })).toBe('known')
})

test('more days ask for more time', () => {
  const needs = { after: 3, days: 14 }
  expect(standingAlone(past([0, GOOD, 20], [13 * 24 - 5, GOOD]), needs)).toBe('seen')
  expect(standingAlone(past([0, GOOD, 20], [13 * 24 - 4, GOOD]), needs)).toBe('known')
})

function taughtTimes(own: Past, lesson: Lesson, hour: number, times: number): Past {
  return Array.from({ length: times }).reduce<Past>((so) => taught(so, lesson, START + hour, OWN_MEMORY), own)
}

function taughtNet(good: number, bad: number): Past {
  let so = NO_PAST
  for (let i = 0; i < good; i++) so = taught(so, GOOD, START, NET_MEMORY)
  for (let i = 0; i < bad; i++) so = taught(so, BAD, START, NET_MEMORY)
  return so
}

describe('a network whose known senders turn bad together', () => {
  const TURNED: Latest = { good: 5, bad: 6, badAddresses: 3, ownGood: 0 }
  const evidence = (own: Past, latest: Latest | undefined, more: Partial<Evidence> = {}): Evidence => ({
    ...{ isAllowed: false, own, net: NO_PAST, latest },
    ...more,
  })
  const is = (...given: Parameters<typeof evidence>) => [
    decidedBy(evidence(...given), NEEDS),
    sharesLimits(evidence(...given), NEEDS),
  ]
  const HELD = ['turned_network', true]
  const KNOWN = ['own_good_mail', false]

  test.each<[string, Latest | undefined, unknown]>([
    ['that has turned', TURNED, HELD],
    ['nothing is known of', undefined, KNOWN],
    ['with five bad messages', { ...TURNED, good: 0, bad: 5 }, KNOWN],
    ['with two bad addresses', { ...TURNED, bad: 50, badAddresses: 2 }, KNOWN],
    ['of whose mail half is bad', { ...TURNED, good: 6 }, KNOWN],
    ['of whose mail half is bad, and much', { ...TURNED, good: 25, bad: 25 }, KNOWN],
    ['with an address that has sent three good messages since', { ...TURNED, ownGood: 2.9 }, KNOWN],
    ['with an address that has sent two good messages since', { ...TURNED, ownGood: 2 }, HELD],
  ])('%s', (_, latest, held) => {
    expect(is(FRIEND, latest)).toEqual(held)
  })

  test('is no evidence against whom the operator allows, relays, and strangers', () => {
    expect(is(FRIEND, TURNED, { isAllowed: true })).toEqual(['allow_list', false])
    expect(is(FRIEND, TURNED, { isRelay: true })).toEqual(['relays_list', false])
    expect(is(FRIEND, TURNED, { banned: 'operator' })).toEqual(['operators_ban', false])
    expect(is(NO_PAST, TURNED)).toEqual(['nothing', false])
    expect(is(past([0, GOOD, 2]), TURNED)).toEqual(['a_little_good_mail', false])
  })

  test('shares the limits of one client with those whom their own bad mail has cost their standing', () => {
    expect(is(taughtTimes(FRIEND, BAD, 24, 6), TURNED)).toEqual(['a_little_good_mail', true])
    expect(is(taughtTimes(FRIEND, BAD, 24, 18), TURNED)).toEqual(['own_bad_mail', true])
    expect(is(FRIEND, TURNED, { banned: 'automatic' })).toEqual(['automatic_ban', true])
  })

  test('lends nothing to its strangers, and makes none of its known senders suspect', () => {
    const lending = net(100, 0, 24)
    const domain = { ...net(100, 0, 7 * 24), buckets: 0xff }
    expect(is(NO_PAST, undefined, { net: lending })).toEqual(['good_neighbours', false])
    expect(is(NO_PAST, TURNED, { net: lending })).toEqual(['nothing', false])
    expect(is(NO_PAST, undefined, { domain })).toEqual(['good_domain', false])
    expect(is(NO_PAST, TURNED, { domain })).toEqual(['nothing', false])
    expect(is(FRIEND, TURNED, { net: net(0, 100) })).toEqual(HELD)
  })
})
