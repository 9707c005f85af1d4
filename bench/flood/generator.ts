// The senders, in a process of their own: honest ones and bots as src/cli/senders has them. bench/flood/run.ts starts it, and
// gives it two orders: to write the history, and to send the scenario.

import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Bots } from './bots.ts'
import { Honest } from './honest.ts'
import type { Delivery } from './ledger.ts'
import { HONEST_PER_SECOND, type Scenario } from './scenarios.ts'
import { World } from './world.ts'

export interface Order {
  readonly scenario: Scenario
  readonly ports: readonly number[]
  readonly seed: number
  /** Rates and populations are multiplied by this. */
  readonly scale: number
  /** Whether addresses are told by PROXY headers. */
  readonly isProxied: boolean
  /** Whether the known senders' first messages are sent, or only taken as sent. */
  readonly sendsHistory: boolean
}

export type Word = { readonly said: 'history'; readonly sockets: number } | Sent
export interface Sent {
  readonly said: 'sent'
  readonly deliveries: readonly Delivery[]
  readonly sockets: number
}

const TICK_MS = 20

async function send(order: Order): Promise<void> {
  const { scenario, scale } = order
  const open = new Set<Socket>()
  const world = new World(order, open)
  const honest = new Honest(world)
  await honest.history(order.sendsHistory)
  process.send?.({ said: 'history', sockets: open.size } satisfies Word)
  await new Promise((resolve) => process.once('message', resolve))
  world.begin()
  const bots = new Bots(world)
  const afterMs = (scenario.afterMin * 60_000) / scenario.k
  const endMs = scenario.seconds * 1000
  let last = 0
  while (world.now() < endMs + afterMs) {
    const now = world.now()
    const seconds = (now - last) / 1000
    if (now < endMs) honest.tick(seconds, HONEST_PER_SECOND * scale)
    bots.tick(seconds, HONEST_PER_SECOND * scale)
    last = now
    await sleep(TICK_MS)
  }
  world.end()
  // What has begun may still be answered.
  for (let i = 0; i < 500 && open.size > 0; i++) await sleep(TICK_MS)
  for (const socket of open) socket.destroy()
  process.send?.({ said: 'sent', deliveries: world.deliveries, sockets: world.mostOpen } satisfies Word)
}

process.on('disconnect', () => process.exit(0))
process.once('message', (order: Order) => {
  send(order).catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
})
