/** The model of senders that the demo and the flood lab share: its figures are those that docs/flood.md names. */
import { describe, expect, test } from '@jest/globals'
import { botAddress, habitsOf, nextBot } from '../../../src/cli/senders/bot.ts'
import { connects, HonestPopulation, LARGE, messagesAConnection } from '../../../src/cli/senders/honest.ts'
import { bodyOf, honestRecipients, honestSize, spamSize } from '../../../src/cli/senders/letter.ts'
import { MTAS, type MtaName, mta } from '../../../src/cli/senders/mta.ts'
import { seeded, zipf } from '../../../src/cli/senders/random.ts'

const MINUTE = 60_000
const draws = <T>(count: number, draw: () => T): T[] => Array.from({ length: count }, draw)
const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * q)] as number
const mean = (values: readonly number[]): number => values.reduce((sum, each) => sum + each, 0) / values.length
const share = (values: readonly boolean[]): number => mean(values.map(Number))

describe('retries', () => {
  const first = (name: MtaName, count: number): (number | undefined)[] =>
    draws(count, () => 0).map((_, i) => {
      const at = mta(name).retryAtMs(i + 1)
      return at === undefined ? undefined : Math.round(at / 1000)
    })

  test('Postfix: 300 s, doubling to 4,000 s, for five days', () => {
    expect(first('postfix', 6)).toEqual([300, 900, 2100, 4500, 8500, 12_500])
    expect(mta('postfix').retryAtMs(110)).toBeLessThanOrEqual(5 * 24 * 60 * MINUTE)
    expect(mta('postfix').retryAtMs(111)).toBeUndefined()
  })
  test('Exim: a quarter of an hour eight times, then from an hour on half as long again, then six hours', () => {
    expect(first('exim', 10).map((s) => (s as number) / 60)).toEqual([15, 30, 45, 60, 75, 90, 105, 120, 180, 270])
    expect((mta('exim').retryAtMs(16) as number) - (mta('exim').retryAtMs(15) as number)).toBe(360 * MINUTE)
  })
  test('qmail: 400 n² s', () => expect(first('qmail', 4)).toEqual([400, 1600, 3600, 6400]))
  test('Gmail: from seven addresses', () => {
    expect(first('gmail', 4).map((s) => (s as number) / 60)).toEqual([6, 29, 57, 99])
    expect(mta('gmail').addresses).toBe(7)
  })
  test('Outlook: every four minutes in the end', () =>
    expect(first('outlook', 9).map((s) => (s as number) / 60)).toEqual([1, 2, 3, 5, 8, 12, 16, 20, 24]))
  test('AOL gives up after 32 minutes, qq.com after twelve tries', () => {
    expect(first('aol', 5).map((s) => s && s / 60)).toEqual([6, 12, 22, 32, undefined])
    expect(first('qq', 12).findLastIndex((s) => s !== undefined)).toBe(10)
  })
  test.each(MTAS)('$name: each retry is later than the one before, and there is a last one', ({ retryAtMs }) => {
    const times = draws(2000, () => 0).map((_, i) => retryAtMs(i + 1))
    const end = times.indexOf(undefined)
    expect(end).toBeGreaterThan(3)
    for (let i = 1; i < end; i++) expect(times[i]).toBeGreaterThan(times[i - 1] as number)
    expect(times.slice(end)).toEqual(times.slice(end).map(() => undefined))
  })
})

describe('messages', () => {
  test('honest sizes: median 20 KB, p99 2 MB; spam: median 4 KB, mean 10 KB', () => {
    const random = seeded(1)
    const honest = draws(100_000, () => honestSize(random))
    expect(quantile(honest, 0.5) / 20_000).toBeCloseTo(1, 1)
    expect(quantile(honest, 0.99) / 2_000_000).toBeCloseTo(1, 0)
    const spam = draws(100_000, () => spamSize(random))
    expect(quantile(spam, 0.5) / 4000).toBeCloseTo(1, 1)
    expect(mean(spam) / 10_000).toBeCloseTo(1, 0)
  })
  test('1.1 recipients', () => {
    const random = seeded(2)
    expect(mean(draws(50_000, () => honestRecipients(random)))).toBeCloseTo(1.1, 1)
  })
  test('a body is whole lines, about as long as asked, and no line begins with a dot', () => {
    for (const size of [0, 100, 77_999, 250_000]) {
      const body = Buffer.concat([...bodyOf(size)]).toString('latin1')
      expect(Math.abs(body.length - size)).toBeLessThanOrEqual(39)
      expect(body).toMatch(/^([^.\r\n][^\r\n]*\r\n)*$/)
    }
  })
})

describe('honest senders', () => {
  const population = new HonestPopulation(1)
  test('follow Zipf 1.05', () => {
    const random = seeded(3)
    const rank = zipf(20_000, 1.05)
    const ranks = draws(100_000, () => rank(random))
    const first = ranks.filter((each) => each === 0).length
    const tenth = ranks.filter((each) => each === 9).length
    expect(first / tenth / 10 ** 1.05).toBeCloseTo(1, 0)
  })
  test('each has a network of its own, none shares one with a stranger or a bot', () => {
    const nets = new Set<string>()
    const net = (address: string): string => address.replace(/\.\d+$/, '')
    for (let rank = 0; rank < population.count; rank++)
      nets.add(net(population.established(rank).addresses[0] as string))
    expect(nets.size).toBe(20_000)
    const others = [
      ...draws(9000, () => population.stranger().addresses[0] as string),
      botAddress(0),
      botAddress(499_999),
    ]
    for (const each of others) {
      expect(nets.has(net(each))).toBe(false)
      expect(each).toMatch(/^127\.(9[6-9]|1[0-9]{2}|2[0-5][0-9])\.\d{1,3}\.\d{1,3}$/)
    }
    expect(new Set(others).size).toBe(others.length)
  })
  test('1.1 messages a connection; large ones 3 to 20', () => {
    const random = seeded(4)
    const small = population.established(5000)
    const large = population.established(0)
    expect(mean(draws(50_000, () => messagesAConnection(random, small)))).toBeCloseTo(1.1, 1)
    const many = draws(5000, () => messagesAConnection(random, large))
    expect([Math.min(...many), Math.max(...many)]).toEqual([3, 20])
  })
  test('who connects is drawn so that shares are of messages, large senders included', () => {
    const random = seeded(6)
    let [all, large] = [0, 0]
    for (let i = 0; i < 100_000; i++) {
      const sender = population.next(random)
      if (!connects(random, sender)) continue
      const messages = messagesAConnection(random, sender)
      all += messages
      if (sender.isLarge) large += messages
    }
    const wanted = draws(LARGE, () => 0).reduce((sum, _, rank) => sum + population.shareOf(rank), 0)
    expect(large / all).toBeCloseTo(wanted, 1)
    expect(draws(population.count, () => 0).reduce((sum, _, rank) => sum + population.shareOf(rank), 0)).toBeCloseTo(1)
  })
})

describe('bots', () => {
  const habits = draws(50_000, () => 0).map((_, bot) => habitsOf(7, bot))
  test('come back never, within a minute, or properly: 36, 31, 33 in a hundred', () => {
    expect(share(habits.map(({ comesBack }) => comesBack === 'never'))).toBeCloseTo(0.36, 2)
    expect(share(habits.map(({ comesBack }) => comesBack === 'within 60 s'))).toBeCloseTo(0.31, 2)
  })
  test('more of them may come back properly; the others keep their proportion', () => {
    const many = draws(50_000, () => 0).map((_, bot) => habitsOf(7, bot, undefined, 0.7).comesBack)
    expect(share(many.map((each) => each === 'properly'))).toBeCloseTo(0.7, 2)
    expect(share(many.map((each) => each === 'never'))).toBeCloseTo((0.3 * 36) / 67, 2)
  })
  test('speak early, ignore replies, hang, and leave without QUIT as often as measured', () => {
    expect(share(habits.map(({ pregreets }) => pregreets))).toBeCloseTo(0.15, 1)
    expect(share(habits.map(({ ignoresReplies }) => ignoresReplies))).toBeCloseTo(0.1, 1)
    expect(share(habits.map(({ hangs }) => hangs))).toBeCloseTo(0.03, 2)
    expect(share(habits.map(({ quits }) => quits))).toBeCloseTo(0.4, 1)
  })
  test('call themselves as assumed: seven in ten by a name as mail servers have', () => {
    const shareOf = (name: string) => share(habits.map(({ helo }) => helo === name))
    expect(shareOf('a name')).toBeCloseTo(0.7, 2)
    expect(shareOf('the server')).toBeCloseTo(0.05, 2)
  })
  test('a bot keeps its habits', () => expect(habitsOf(7, 123)).toEqual(habits[123]))
  test('a bot has one address, and 500,000 have as many, in 30,000 networks', () => {
    const all = draws(500_000, () => 0).map((_, bot) => botAddress(bot))
    expect(new Set(all).size).toBe(500_000)
    expect(new Set(all.map((each) => each.replace(/\.\d+$/, ''))).size).toBe(30_000)
  })
  test('a tenth of the bots is in a tenth of the networks', () => {
    const all = draws(50_000, () => 0).map((_, bot) => botAddress(bot, 0.1))
    expect(new Set(all).size).toBe(50_000)
    expect(new Set(all.map((each) => each.replace(/\.\d+$/, ''))).size).toBe(3000)
  })
  test('most visits are from bots that come again', () => {
    const random = seeded(5)
    expect(share(draws(50_000, () => nextBot(random) >= 425_000))).toBeGreaterThan(0.97)
  })
})
