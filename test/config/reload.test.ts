/** What a reload takes, and what it leaves to a restart. */
import { describe, expect, test } from '@jest/globals'
import { hashOf, merge, type Reading, readingOf, rereadOf } from '../../src/config/reload.ts'
import { lookup } from '../../src/core/ip.ts'
import { loadWith, machine } from './given.ts'

const read = (settings: Record<string, string>): Reading => readingOf(loadWith(settings))
const names = (changes: readonly { setting: string }[]): string[] => changes.map(({ setting }) => setting)

test('nothing has changed where the same was read', () => {
  const merged = merge(read({ SPILLWAY_DENY: '192.0.2.0/24' }), read({ SPILLWAY_DENY: '192.0.2.0/24' }))
  expect(merged).toMatchObject({ changed: [], needsRestart: [] })
})

test('what is live is taken, the rest keeps its value and is named', () => {
  const before = read({ SPILLWAY_DENY: '192.0.2.0/24', SPILLWAY_REDIS_TIMEOUT: '50ms' })
  const next = read({ SPILLWAY_DENY: '198.51.100.0/24', SPILLWAY_REDIS_TIMEOUT: '60ms', SPILLWAY_OBSERVE: 'size' })
  const { reading, changed, needsRestart } = merge(before, next)
  expect(changed).toEqual([
    { setting: 'SPILLWAY_DENY', before: '192.0.2.0/24', read: '198.51.100.0/24' },
    { setting: 'SPILLWAY_OBSERVE', before: 'none', read: 'size' },
  ])
  expect(needsRestart).toEqual([{ setting: 'SPILLWAY_REDIS_TIMEOUT', before: '50ms', read: '60ms' }])
  expect(lookup(reading.lists.deny)('198.51.100.1')).toBe(true)
  expect(lookup(reading.lists.deny)('192.0.2.1')).toBe(false)
  expect(reading.settings).toMatchObject({ redisTimeout: 50, observe: ['size'] })
  // Until the restart it is named at every reload, and no longer once the file says the old value again.
  expect(names(merge(reading, next).needsRestart)).toEqual(['SPILLWAY_REDIS_TIMEOUT'])
  expect(merge(reading, next).changed).toEqual([])
  expect(merge(reading, before).needsRestart).toEqual([])
})

test.each([
  ['10/1m', '20/1m'],
  ['10/1m', '10/5m'],
  ['10/1m', 'off'],
  ['off', '10/1m'],
])('a limit of %s becomes %s', (before, after) => {
  const [old, next] = [read({ SPILLWAY_LIMIT_IP_MESSAGES: before }), read({ SPILLWAY_LIMIT_IP_MESSAGES: after })]
  const { reading, changed, needsRestart } = merge(old, next)
  expect(changed).toEqual([{ setting: 'SPILLWAY_LIMIT_IP_MESSAGES', before, read: after }])
  expect(needsRestart).toEqual([])
  expect(reading.settings.limitIpMessages).toEqual(next.settings.limitIpMessages)
})

describe('what is secret', () => {
  const [old, next] = ['a-secret-token-of-old-0123', 'a-secret-token-of-new-0123']

  test('is compared, and never shown', () => {
    const merged = merge(read({ SPILLWAY_ADMIN_TOKEN: old }), read({ SPILLWAY_ADMIN_TOKEN: next }))
    expect(merged.changed).toEqual([{ setting: 'SPILLWAY_ADMIN_TOKEN', before: '(hidden)', read: '(hidden)' }])
    const urls = ['old', 'new'].map((password) => read({ SPILLWAY_REDIS_URL: `redis://:${password}pw@127.0.0.1` }))
    const [change] = merge(urls[0] as Reading, urls[1] as Reading).needsRestart
    expect(change).toMatchObject({ setting: 'SPILLWAY_REDIS_URL' })
    expect(JSON.stringify(change)).not.toMatch(/oldpw|newpw/)
  })

  test('is not in the hash, which tells all other settings apart', () => {
    expect(hashOf(read({ SPILLWAY_ADMIN_TOKEN: old }))).toBe(hashOf(read({ SPILLWAY_ADMIN_TOKEN: next })))
    expect(hashOf(read({}))).toMatch(/^[0-9a-f]{12}$/)
    expect(hashOf(read({}))).not.toBe(hashOf(read({ SPILLWAY_DENY: '192.0.2.1' })))
    expect(hashOf(read({}))).not.toBe(hashOf(read({ SPILLWAY_ADMIN_TOKEN: old })))
  })
})

test('what a node has for itself is not in the hash, so that nodes that are alike have the same', () => {
  const own = { LISTEN: '192.0.2.1:25', HOSTNAME: 'mx2.example.net', MAX_CONNECTIONS: '9', ADMIN_HOSTS: 'a.example' }
  for (const [name, value] of Object.entries({ ...own, ADMIN_LISTEN: '127.0.0.2:9' })) {
    expect(hashOf(read({ [`SPILLWAY_${name}`]: value }))).toBe(hashOf(read({})))
  }
})

test('the hash is of what is in force', () => {
  const before = read({})
  const { reading } = merge(before, read({ SPILLWAY_REDIS_TIMEOUT: '60ms' }))
  expect(hashOf(reading)).toBe(hashOf(before))
  expect(hashOf(merge(before, read({ SPILLWAY_OBSERVE: 'all' })).reading)).not.toBe(hashOf(before))
})

test('a long list is told by its first entry and its length', () => {
  const list = Array.from({ length: 300 }, (_, i) => `192.0.${i % 256}.${i >> 8}`).join()
  expect(merge(read({}), read({ SPILLWAY_DENY: list })).changed[0]?.read).toBe('192.0.0.0/32,… (300 entries)')
})

test('mistakes come back as values, each by its name', () => {
  const again = rereadOf(machine({ SPILLWAY_IDLE_TIMEOUT: '30', SPILLWAY_OBSERVE: 'nothing' }))
  if (!('mistakes' in again)) throw new Error('there is a mistake in it')
  expect(again.mistakes.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['SPILLWAY_IDLE_TIMEOUT', 'SPILLWAY_OBSERVE']),
  )
})
