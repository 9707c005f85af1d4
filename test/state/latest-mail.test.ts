/** What came within minutes from the known clients of a network: how it is weighed, how it fades, and what it may hold. */
import { expect, test } from '@jest/globals'
import { FORGOTTEN_MS, HALF_MS, LatestMail, NO_LATEST } from '../../src/state/latest-mail.ts'

const NET = '192.0.2.0/24'
const at = (host: number | string, net = NET) => ({ source: `192.0.2.${host}`, net })

function begin(processes = 1) {
  const clock = { now: 1_000_000 }
  const latest = new LatestMail({ now: () => clock.now, processes })
  const note = (host: number, kind: 'good' | 'bad', times = 1): void => {
    for (let i = 0; i < times; i++) latest.note(at(host), kind)
  }
  return { clock, latest, note }
}

test('good and bad messages are counted for the network, bad addresses once each, and of those three at most', () => {
  const { latest, note } = begin()
  expect(latest.of(at(1))).toBe(NO_LATEST)
  note(1, 'good', 4)
  note(2, 'bad', 5)
  expect(latest.of(at(9))).toEqual({ good: 4, bad: 5, badAddresses: 1, ownGood: 0 })
  for (let host = 3; host < 30; host++) note(host, 'bad')
  expect(latest.of(at(9))).toMatchObject({ bad: 32, badAddresses: 3 })
  expect(latest.of(at(1, '198.51.100.0/24'))).toBe(NO_LATEST)
})

test('all of it weighs half as much five minutes later, and a bad address counts for twenty', () => {
  const { clock, latest, note } = begin()
  note(1, 'good', 8)
  note(2, 'bad', 4)
  clock.now += HALF_MS
  expect(latest.of(at(1))).toEqual({ good: 4, bad: 2, badAddresses: 1, ownGood: 4 })
  note(2, 'bad')
  expect(latest.of(at(1))).toMatchObject({ good: 4, bad: 3, badAddresses: 1 })
  clock.now += FORGOTTEN_MS - 1
  expect(latest.of(at(1)).badAddresses).toBe(1)
  clock.now += 1
  expect(latest.of(at(1)).badAddresses).toBe(0)
  // A clock that steps back makes nothing weigh more.
  clock.now -= 100 * FORGOTTEN_MS
  expect(latest.of(at(1))).toMatchObject({ good: 4, bad: 3, ownGood: 8 })
})

test('what a network was worth before is outweighed by fifty messages, however much it was', () => {
  const { latest, note } = begin()
  note(1, 'good', 5000)
  expect(latest.of(at(1)).good).toBeCloseTo(50, 6)
  note(2, 'bad', 34)
  expect(latest.of(at(1)).good).toBeGreaterThan(25)
  note(2, 'bad', 1)
  const { good, bad } = latest.of(at(1))
  expect(good).toBeLessThan(25)
  expect(good + bad).toBeCloseTo(50, 6)
})

test('of an address those good messages count that came since its last bad one', () => {
  const { latest, note } = begin()
  note(1, 'good', 3)
  expect(latest.of(at(1)).ownGood).toBe(3)
  note(1, 'bad')
  expect(latest.of(at(1)).ownGood).toBe(0)
  note(1, 'good')
  expect(latest.of(at(1)).ownGood).toBe(1)
  expect(latest.of(at(2)).ownGood).toBe(0)
})

test('however many networks and addresses come, those that were silent for longest make room', () => {
  const { latest } = begin(1 << 10)
  const net = (i: number) => ({ source: `${i}`, net: `net ${i}` })
  for (let i = 0; i < 100; i++) latest.note(net(i), 'good')
  const held = Array.from({ length: 100 }, (_, i) => latest.of(net(i))).filter((each) => each !== NO_LATEST)
  expect(held).toHaveLength(16)
  expect(held.every(({ ownGood }) => ownGood === 1)).toBe(true)
  expect(latest.of(net(99)).good).toBe(1)
})
