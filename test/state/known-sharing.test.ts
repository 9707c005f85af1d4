/** R43 Recipients taken lately, put together by several nodes over a real Redis. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createKnownRecipients, type SharedMemory } from '../../src/state/known-recipients.ts'
import { KnownSharing } from '../../src/state/known-sharing.ts'
import { REMEMBERED_DAYS } from '../../src/state/known-table.ts'
import { connectRedis, type RedisLink } from '../../src/state/redis.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { startFakeRedis } from './fake-redis.ts'
import { recordsIn } from './known-records.ts'
import { addressOf } from './shared-nodes.ts'

const DAY = 86_400_000
let redis: RedisServer
let at = 0
let elapsed = 0
const running: Sharer[] = []
beforeEach(async () => {
  redis = await startRedis()
  at = 20_500 * DAY
})
afterEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.stop()))
  await redis.stop()
})

interface Sharer {
  readonly memory: SharedMemory
  readonly link: RedisLink
  readonly warnings: string[]
  readonly commands: { ok: number; failed: number }
  /** What happens between an answer of Redis and its being read. */
  meanwhile: () => Promise<void>
  stop(): Promise<void>
}
const silent = (warnings: string[]): Log => ({
  debug: () => undefined,
  info: () => undefined,
  warn: (fields) => void warnings.push(String((fields as { err?: string }).err)),
  error: () => undefined,
  flush: () => undefined,
})

/** A node that shares; `before`: what it does before it hears of Redis. */
async function sharer(
  before: (memory: SharedMemory) => void = () => undefined,
  port = redis.port,
  sets = 4096,
): Promise<Sharer> {
  const memory = createKnownRecipients({ now: () => at, sets })
  before(memory)
  const warnings: string[] = []
  const commands = { ok: 0, failed: 0 }
  const link = connectRedis({ address: addressOf(`redis://127.0.0.1:${port}`), timeoutMs: 2000, log: silent([]) })
  let connections = 0
  link.client.on('ready', () => connections++)
  const sharing = new KnownSharing({
    ...{ memory, client: link.client, prefix: 'test:', elapsed: () => elapsed, log: silent(warnings) },
    upSince: () => (link.connected() ? connections : undefined),
    async watched(_, answer) {
      const told = await answer.catch((error: unknown) => {
        commands.failed++
        throw error
      })
      commands.ok++
      await made.meanwhile()
      return told
    },
  })
  await eventually(
    () => link.connected(),
    (is) => is,
  )
  sharing.start()
  let over: Promise<void> | undefined
  const made: Sharer = {
    ...{ memory, link, warnings, commands },
    meanwhile: async () => undefined,
    stop() {
      over ??= sharing.stop().then(() => link.close())
      return over
    },
  }
  running.push(made)
  return made
}

const users = (memory: SharedMemory, from: number, to: number): number => {
  let count = 0
  for (let i = from; i < to; i++) if (memory.has(`u${i}@d${i % 50}.example`)) count++
  return count
}
const take = (memory: SharedMemory, from: number, to: number): void => {
  for (let i = from; i < to; i++) memory.heard(`u${i}@d${i % 50}.example`, 'accepted')
}
const knows = (memory: SharedMemory, from: number, to: number, ms?: number): Promise<number> =>
  eventually(
    () => users(memory, from, to),
    (count) => count === to - from,
    ms,
  )
/** The keys of the sets. */
const keys = async (): Promise<string[]> => (await redis.call('keys', 'test:known:*')).split('\n').filter(Boolean)
/** How many records Redis holds. */
const held = (): Promise<number> => recordsIn(redis, 'test:')
/** As when all have come to them on their way through all sets, until all have the same. */
async function meet(...nodes: Sharer[]): Promise<void> {
  const [{ memory: first }] = nodes as [Sharer]
  const isSame = (set: number): boolean => nodes.every(({ memory }) => memory.read(set).equals(first.read(set)))
  await eventually(
    () => {
      let differing = 0
      for (let set = 0; set < first.sets; set++) {
        if (isSame(set)) continue
        differing++
        for (const { memory } of nodes) memory.changed.add(set)
      }
      return differing
    },
    (differing) => differing === 0,
  )
}

test('a node that starts again knows within moments whom it has taken, and whoever else starts does so too', async () => {
  const first = await sharer((memory) => take(memory, 0, 3000))
  await eventually(
    () => first.memory.changed.size,
    (size) => size === 0,
  )
  await first.stop()
  const again = await sharer()
  // The cycle through all sets, one every 250 ms, would know 3 % of them by then.
  await knows(again.memory, 0, 3000, 30_000)
  // The secret, the 64 keys, and what the cycle has added since: moments, however busy the machine is.
  expect(again.commands.ok).toBeLessThan(100)
})

test('what one learned last is there when it is stopped in order', async () => {
  const first = await sharer()
  await eventually(
    () => first.commands.ok,
    (count) => count >= 65,
  )
  take(first.memory, 0, 500)
  await first.stop()
  await knows((await sharer()).memory, 0, 500, 10_000)
})

test('nodes learn of each other while they run, and what is a day newer counts', async () => {
  const [a, b] = [await sharer(), await sharer()]
  await eventually(
    () => Math.min(a.commands.ok, b.commands.ok),
    (count) => count >= 65,
  )
  take(a.memory, 0, 10)
  at += DAY
  take(b.memory, 5, 10)
  await meet(a, b)
  expect(users(b.memory, 0, 10)).toBe(10)
  at += REMEMBERED_DAYS * DAY
  expect([users(a.memory, 0, 10), users(b.memory, 0, 10)]).toEqual([5, 5])
})

test('two that write the same set at once lose nothing of it', async () => {
  const [a, b] = [await sharer(), await sharer()]
  await eventually(
    () => Math.min(a.commands.ok, b.commands.ok),
    (count) => count >= 65,
  )
  const { secret } = a.memory
  const alone = (domain: number): SharedMemory => {
    const memory = createKnownRecipients({ now: () => at })
    memory.adopt(secret)
    memory.heard(`u@d${domain}.example`, 'accepted')
    return memory
  }
  // Two mailboxes of one set.
  const [set] = [...alone(0).changed] as [number]
  const sets = createKnownRecipients({ now: () => at })
  sets.adopt(secret)
  let second = 0
  while (sets.read(set).length === 0) sets.heard(`u@d${++second}.example`, 'accepted')
  // When the first has read what there is, and before it writes, the second writes.
  const written = new Promise<void>((resolve) => {
    a.meanwhile = async () => {
      if (!a.memory.has('u@d0.example') || a.memory.changed.has(set)) return
      a.meanwhile = async () => undefined
      b.memory.merge(set, sets.read(set))
      b.memory.changed.add(set)
      await eventually(held, (count) => count === 1)
      await b.stop()
      resolve()
    }
  })
  a.memory.heard('u@d0.example', 'accepted')
  await written
  await eventually(held, (count) => count === 2)
  expect([0, second].map((i) => a.memory.has(`u@d${i}.example`))).toEqual([true, true])
})

test('a domain that takes everything is one for all, and so is it when it no longer does', async () => {
  const [a, b] = [await sharer(), await sharer()]
  for (let i = 0; i < 3000; i++) a.memory.heard(`${i}@all.example`, 'accepted')
  await eventually(
    () => a.memory.changed.size,
    (size) => size === 0,
  )
  expect(await held()).toBeLessThanOrEqual(1001)
  const c = await sharer()
  await eventually(
    () => c.memory.has('never.seen@all.example'),
    (has) => has,
  )
  c.memory.heard('gone@all.example', 'unknown')
  at += 61_000
  c.memory.heard('x@other.example', 'accepted')
  expect(c.memory.acceptsEverything('x@all.example')).toBe(false)
  await meet(c, a, b)
  expect([a, b].map(({ memory }) => memory.acceptsEverything('x@all.example'))).toEqual([false, false])
})

describe('a Redis that comes back empty', () => {
  test('is filled again by the nodes', async () => {
    const node = await sharer((memory) => take(memory, 0, 1000))
    await eventually(held, (count) => count === 1000)
    await redis.restart()
    await eventually(held, (count) => count === 1000)
    expect(users(node.memory, 0, 1000)).toBe(1000)
  })

  test('and hears first of a node that has just started: the others do not forget for that', async () => {
    const old = await sharer((memory) => take(memory, 0, 1000))
    await eventually(held, (count) => count === 1000)
    const key = old.memory.secret
    // An hour later it is in use, as the next look shows.
    elapsed += 3_600_000
    old.link.client.disconnect(true)
    const secret = (): Promise<string> => redis.call('hget', 'test:known', 'secret')
    await eventually(secret, (now) => now === `0:${key}`)
    old.link.client.disconnect()
    await redis.restart()
    const young = await sharer()
    await eventually(secret, (now) => now === `1:${young.memory.secret}`)
    await old.link.client.connect()
    await eventually(secret, (now) => now === `0:${key}`)
    expect(users(old.memory, 0, 1000)).toBe(1000)
    await eventually(held, (count) => count === 1000)
    const late = await sharer()
    await knows(late.memory, 0, 1000, 10_000)
    young.link.client.disconnect(true)
    await knows(young.memory, 0, 1000, 10_000)
    expect([late, young].map(({ memory }) => memory.secret)).toEqual([key, key])
  })
})

describe('what it holds and costs', () => {
  test('no more than a node does, whatever is taken; and all of it expires', async () => {
    const known = (memory: SharedMemory): void => {
      memory.heard('nobody@large.example', 'unknown')
      for (let i = 0; i < 50_000; i++) memory.heard(`${i}@large.example`, 'accepted')
    }
    const node = await sharer(known, redis.port, 256)
    await eventually(
      () => node.memory.changed.size,
      (size) => size === 0,
    )
    // The last of them may be on their way.
    const all = await eventually(keys, ({ length }) => length === 4)
    let bytes = 0
    for (const each of all) {
      bytes += Number(await redis.call('memory', 'usage', each))
      expect(Number(await redis.call('pttl', each))).toBeGreaterThan(30 * DAY)
    }
    // There are 64 of them in the end.
    expect((bytes / 4) * 64).toBeLessThan(7_000_000)
    expect(Number(await redis.call('pttl', 'test:known'))).toBeGreaterThan(31 * DAY)
  })

  test('with nothing new four sets a second are read, and none is written', async () => {
    let sets = 0
    const node = await sharer((memory) => {
      take(memory, 0, 1000)
      sets = memory.changed.size
    })
    // The secret, 64 groups that are read, and each set that is written: none of them is on its way any more.
    await eventually(
      () => node.commands.ok,
      (count) => count >= 1 + 64 + sets,
    )
    expect(node.memory.changed.size).toBe(0)
    await redis.call('config', 'resetstat')
    const began = performance.now()
    const before = node.commands.ok
    await eventually(
      () => node.commands.ok - before,
      (count) => count >= 8,
    )
    const { hmget = 0, hset = 0 } = await redis.commands()
    expect(hset).toBe(0)
    expect(hmget).toBeLessThanOrEqual(2 + ((performance.now() - began) / 1000) * 4)
  })

  test('nothing that was taken can be read in it', async () => {
    await sharer((memory) => memory.heard('jane.doe@d1.example', 'accepted'))
    await eventually(held, (count) => count === 1)
    for (const each of await keys()) expect(await redis.call('hvals', each)).not.toMatch(/jane|example/)
  })
})

describe('what is no set', () => {
  test.each([
    ['too short', 'x'],
    ['too long', 'x'.repeat(50_000)],
    ['of another type', undefined],
  ])('%s: does no harm, and is said once', async (_, value) => {
    const first = await sharer((memory) => take(memory, 0, 3))
    await eventually(held, (count) => count === 3)
    const [one] = (await keys()) as [string]
    const [set] = (await redis.call('hkeys', one)).split('\n') as [string]
    await first.stop()
    if (value === undefined) {
      await redis.call('del', one)
      await redis.call('lpush', one, 'x')
    } else await redis.call('hset', one, set, value)
    const next = await sharer((memory) => memory.adopt(first.memory.secret))
    take(next.memory, 0, 3)
    await eventually(
      () => next.commands.ok,
      (count) => count > 70,
    )
    expect(users(next.memory, 0, 3)).toBe(3)
    if (value === undefined) expect(next.warnings).toEqual([expect.stringContaining('WRONGTYPE')])
    else expect(await redis.call('hstrlen', one, set)).toBe('10')
  })

  test.each(['+OK\r\n', '*0\r\n', ':1\r\n', '*2\r\n$3\r\nkey\r\n:1\r\n', '$-1\r\n'])(
    'a Redis that answers %j to all',
    async (answer) => {
      const fake = await startFakeRedis()
      try {
        fake.answers.other = answer
        const node = await sharer((memory) => take(memory, 0, 10), fake.port)
        const key = node.memory.secret
        await eventually(
          () => node.warnings.length,
          (count) => count > 0,
        )
        const asked = node.commands.ok
        await eventually(
          () => node.commands.ok,
          (count) => count > asked,
        )
        expect([node.warnings.length, users(node.memory, 0, 10), node.memory.secret]).toEqual([1, 10, key])
      } finally {
        await Promise.all(running.splice(0).map((each) => each.stop()))
        await fake.stop()
      }
    },
  )
})
