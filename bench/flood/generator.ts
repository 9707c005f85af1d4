// The senders, in a process of their own: honest ones and bots as src/cli/senders has them. bench/flood/run.ts starts it, and
// gives it an order, and then the word to begin.

import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Bots } from './bots.ts'
import type { Met } from './early.ts'
import { Honest } from './honest.ts'
import type { Delivery } from './ledger.ts'
import { HONEST_PER_SECOND, type Scenario } from './scenarios.ts'
import { SlowClients } from './slow.ts'
import { World } from './world.ts'

export interface Order {
  readonly scenario: Scenario
  readonly ports: readonly number[]
  readonly seed: number
  /** Rates and populations are multiplied by this. */
  readonly scale: number
  /** Whether addresses are told by PROXY headers. */
  readonly isProxied: boolean
}

export interface Sent {
  readonly deliveries: readonly Delivery[]
  /** The most that were open at once. */
  readonly sockets: number
  /** Visits that were to be made, and were not, because the lab itself was at its end. */
  readonly dropped: number
  /** Visits made. */
  readonly visits: number
  /** What tests have made of them, by what they are. */
  readonly met: Readonly<Record<string, Met>>
  /** By how much the senders' clock was late at worst, in ms: much more than 100 ms says that the lab was too slow. */
  readonly lateMs: number
}

const TICK_MS = 20

async function send(order: Order): Promise<void> {
  const { scenario, scale } = order
  const open = new Set<Socket>()
  const world = new World(order, open)
  const honest = new Honest(world)
  process.send?.('ready')
  await new Promise((resolve) => process.once('message', resolve))
  world.begin()
  const bots = new Bots(world)
  const slow = new SlowClients(world, open)
  const afterMs = (scenario.afterMin * 60_000) / scenario.k
  const endMs = scenario.seconds * 1000
  let last = 0
  let lateMs = 0
  while (world.now() < endMs + afterMs) {
    const now = world.now()
    const seconds = (now - last) / 1000
    if (now < endMs) honest.tick(seconds, HONEST_PER_SECOND * scale)
    bots.tick(seconds, HONEST_PER_SECOND * scale)
    slow.tick(seconds)
    last = now
    lateMs = Math.max(lateMs, seconds * 1000 - TICK_MS)
    await sleep(TICK_MS)
  }
  world.end()
  slow.stop()
  // What has begun may still be answered.
  for (let i = 0; i < 500 && world.unanswered > 0; i++) await sleep(TICK_MS)
  for (const socket of open) socket.destroy()
  const { deliveries, mostOpen: sockets, dropped, visits } = world
  process.send?.({ deliveries, sockets, dropped, visits, met: world.meetings.all, lateMs } satisfies Sent)
}

process.on('disconnect', () => process.exit(0))
process.once('message', (order: Order) => {
  send(order).catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
})
