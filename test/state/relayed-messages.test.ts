/** Which message came from whom: for how long, and for how many. */
import { expect, test } from '@jest/globals'
import { MESSAGES, RelayedMessages } from '../../src/state/relayed-messages.ts'

const DAY = 86_400_000

function begin(capacity = 64) {
  const clock = { now: Date.UTC(2026, 0, 10, 12) }
  return { clock, messages: new RelayedMessages(capacity, () => clock.now) }
}

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['255.255.255.255', '255.255.255.255'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::'],
  ['ffff:ffff:ffff:ffff::1', 'ffff:ffff:ffff:ffff::'],
])('a message of %s is one of %s', (ip, address) => {
  const { messages } = begin()
  messages.add('4XyZ', ip, 'good')
  expect(messages.get('4XyZ')).toEqual({ address, countsAs: 'good' })
  expect(messages.get('4xyz')).toBeUndefined()
})

test('what it counts as can change', () => {
  const { messages } = begin()
  messages.add('A', '192.0.2.1', 'bad')
  messages.change('A', 'good')
  messages.change('B', 'good')
  expect(messages.get('A')?.countsAs).toBe('good')
  expect(messages.get('B')).toBeUndefined()
})

test('an id that is used again means the later message', () => {
  const { clock, messages } = begin()
  messages.add('A', '192.0.2.1', 'good')
  clock.now += 60_000
  messages.add('A', '192.0.2.2', 'bad')
  expect(messages.get('A')).toEqual({ address: '192.0.2.2', countsAs: 'bad' })
})

test('a message is known for a day, and a change does not make it longer', () => {
  const { clock, messages } = begin()
  messages.add('A', '192.0.2.1', 'good')
  clock.now += DAY - 60_000
  messages.change('A', 'spam')
  expect(messages.get('A')?.countsAs).toBe('spam')
  clock.now += 60_000
  expect(messages.get('A')).toBeUndefined()
})

test('where there is no room, the earliest message of its set goes', () => {
  const { clock, messages } = begin(16)
  for (let i = 0; i < 17; i++) {
    messages.add(`M${i}`, '192.0.2.1', 'good')
    clock.now += 60_000
  }
  expect(messages.get('M0')).toBeUndefined()
  for (let i = 1; i < 17; i++) expect(messages.get(`M${i}`)).toBeDefined()
})

test('as it is shipped, it knows the last 100,000 messages of a day, and more', () => {
  const { messages } = begin(MESSAGES)
  for (let i = 0; i < 200_000; i++) messages.add(`M${i}`, '192.0.2.1', 'good')
  let known = 0
  for (let i = 100_000; i < 200_000; i++) if (messages.get(`M${i}`) !== undefined) known++
  expect(known).toBeGreaterThan(99_900)
})
