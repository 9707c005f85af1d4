/** Clients of all six standings at each level of overload: what they hear at the banner and at RCPT, and how much they may. */
import { afterEach, describe, expect, test } from '@jest/globals'
import { STANDINGS, type Standing } from '../../src/core/client.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { LEVELS, type Level } from '../../src/core/overload.ts'
import { Overload } from '../../src/overload/overload.ts'
import type { Sample } from '../../src/overload/pressure.ts'
import { startFront, type TestFront } from '../support/front.ts'
import { startUpstream } from '../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const SAMPLE: Sample = {
  pool: { slots: 1, wanted: [], servers: [] },
  ...{ reported: new Map(), connections: [], maxConnections: 1, loopMs: 0, memory: 0, globalLimits: 0 },
}
const LOG = { debug() {}, info() {}, warn() {}, error() {}, flush() {} }

/** Each standing has an address of its own. */
const addressOf = (standing: Standing): string => `127.0.0.${10 + STANDINGS.indexOf(standing)}`

async function pinned(mode: Level, settings: Record<string, string> = {}): Promise<TestFront> {
  const upstream = await startUpstream()
  ends.push(() => upstream.stop())
  const overload = new Overload({
    settings: { mode, latencyMs: 1, loopMs: 1, reserve: 0, maxConnections: 1, isEnforced: true },
    ...{ sample: () => SAMPLE, clock: SYSTEM_CLOCK, seed: new Uint8Array(8), log: LOG },
  })
  overload.tick()
  const standingOf = ({ ip }: { ip: string }): Standing => STANDINGS.find((each) => addressOf(each) === ip) ?? 'new'
  const node = await startFront(
    upstream.address,
    settings,
    {},
    (right) => ({ ...right, overload, policy: Object.create(right.policy, { standingOf: { value: standingOf } }) }),
    overload,
  )
  ends.push(() => node.stop())
  return node
}

/** The code that turns the client away, or 250 for its recipient. */
async function heard(node: TestFront, standing: Standing): Promise<string> {
  const client = await node.client(addressOf(standing))
  const banner = await client.reply()
  if (!banner.startsWith('220')) return `${banner.slice(0, 9)} at the banner`
  await client.command('EHLO client.example')
  await client.command('MAIL FROM:<a@example.org>')
  const reply = await client.command('RCPT TO:<b@example.net>')
  client.end()
  return reply.startsWith('250') ? '250' : reply.slice(0, 9)
}

const BANNER = '421 4.3.2 at the banner'
const HEARD: Readonly<Record<Level, Readonly<Record<Standing, string>>>> = {
  0: { trusted: '250', known: '250', seen: '250', new: '250', suspect: '250', banned: '250' },
  1: { trusted: '250', known: '250', seen: '250', new: '250', suspect: '250', banned: '250' },
  2: { trusted: '250', known: '250', seen: '250', new: '250', suspect: BANNER, banned: BANNER },
  3: { trusted: '250', known: '250', seen: '250', new: '451 4.3.2', suspect: BANNER, banned: BANNER },
  4: { trusted: '250', known: '250', seen: '250', new: BANNER, suspect: BANNER, banned: BANNER },
}

test.each(LEVELS)('level %i: the banner and RCPT', async (level) => {
  const node = await pinned(level)
  for (const standing of STANDINGS) {
    expect([standing, await heard(node, standing)]).toEqual([standing, HEARD[level][standing]])
  }
})

describe('limits of messages', () => {
  /** Messages that are let in, of thirty. */
  async function messages(node: TestFront, standing: Standing): Promise<number> {
    const client = await node.client(addressOf(standing))
    await client.hello()
    let count = 0
    for (let i = 0; i < 30; i++) {
      await client.command('MAIL FROM:<a@example.org>')
      if ((await client.command('RCPT TO:<b@example.net>')).startsWith('250')) count++
      await client.command('RSET')
    }
    return count
  }

  test.each([
    [0, { trusted: 30, known: 20, seen: 10, new: 10, suspect: 10, banned: 10 }],
    [1, { trusted: 30, known: 20, seen: 5, new: 5, suspect: 5, banned: 5 }],
  ] as const)('level %i', async (level, expected) => {
    const limits = { LIMIT_IP_MESSAGES: '10/1h', LIMIT_KNOWN_FACTOR: '2', LIMIT_STRESS_FACTOR: '0.5' }
    const node = await pinned(level, limits)
    for (const standing of STANDINGS) {
      expect([standing, await messages(node, standing)]).toEqual([standing, expected[standing]])
    }
  })
})
