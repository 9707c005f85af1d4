/** Who has to go when the admin port is full, and how long anybody may stay. */
import { beforeEach, expect, test } from '@jest/globals'
import { Connection, Connections } from '../../src/admin/connections.ts'
import { ADMIN_CONNECTIONS } from '../../src/config/machine-rules.ts'

let now: number
let dropped: string[]
let connections: Connections
beforeEach(() => {
  now = 1000
  dropped = []
  connections = new Connections(4)
})

/** A newcomer called `name`, from the source that its letters are. */
function come(name: string): Connection {
  const connection: Connection = new Connection(name.replace(/\d/g, ''), () => dropped.push(name), now)
  connections.admit(connection)
  return connection
}
const served = (name: string): Connection => {
  const connection = come(name)
  connection.served(now)
  return connection
}

test('as long as there are places nobody goes', () => {
  for (const name of ['a1', 'a2', 'a3', 'a4']) come(name)
  expect(dropped).toEqual([])
})

test('half requests of one source make room for each other, the oldest first, and never one of another source', () => {
  const honest = come('b1')
  for (const name of ['a1', 'a2', 'a3', 'a4', 'a5']) come(name)
  expect(dropped).toEqual(['a1', 'a2'])
  connections.delete(honest)
  come('a6')
  expect(dropped).toEqual(['a1', 'a2'])
})

test('whoever comes from elsewhere finds room, whatever one source holds', () => {
  for (const name of ['a1', 'a2', 'a3', 'a4']) served(name)
  served('b1')
  expect(dropped).toEqual(['a1'])
  served('c1')
  expect(dropped).toEqual(['a1', 'a2'])
})

test('among its own, a request that is whole stays before half ones; an answer that is out goes before both', () => {
  const whole = served('a1')
  come('a2')
  served('a3').answered()
  come('a4')
  come('a5')
  expect(dropped).toEqual(['a2'])
  whole.answered()
  whole.sent()
  come('a6')
  expect(dropped).toEqual(['a2', 'a1'])
  come('a7')
  come('a8')
  come('a9')
  expect(dropped).toEqual(['a2', 'a1', 'a4', 'a5', 'a6'])
})

test('where all that a source holds is being served, its newcomer goes; a slow reader would go before it', () => {
  const [first] = ['a1', 'a2', 'a3', 'a4'].map(served)
  come('a5')
  expect(dropped).toEqual(['a5'])
  first?.answered()
  come('a6')
  expect(dropped).toEqual(['a5', 'a1'])
})

test('a thousand sources with one half request each hold no place against one that asks at once', () => {
  for (let i = 0; i < 1000; i++) come(String.fromCharCode(0x4e00 + i))
  const honest = served('b1')
  expect(honest.phase).toBe('served')
  for (let i = 0; i < 1000; i++) come(String.fromCharCode(0x4e00 + i))
  expect(dropped).not.toContain('b1')
})

test('as shipped: 64 places, 5 s for the request, then 10 s for the answer', () => {
  expect(ADMIN_CONNECTIONS).toBe(64)
  come('a1')
  const asked = come('b1')
  const sweepAt = (at: number): string[] => {
    now = at
    connections.sweep(now)
    return dropped
  }
  expect(sweepAt(5999)).toEqual([])
  asked.served(now)
  expect(sweepAt(6000)).toEqual(['a1'])
  asked.answered()
  dropped = []
  connections = new Connections(1)
  const slow = served('c1')
  slow.answered()
  expect(sweepAt(15_999)).toEqual([])
  expect(sweepAt(16_000)).toEqual(['c1'])
})
