// One turn of a contender: a number of connections, and the CPU time that each of them cost the server.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Arrivals, Messages, Sources, Tally, Visits } from './load.ts'
import { addressAt } from './measure.ts'
import type { Contender, Load } from './processes.ts'

/** After the last client has gone, the server still has to close connections. */
const SETTLE_MS = 200

/** What is relayed in one turn. */
export const RELAYED = { kind: 'messages', count: 1_000, concurrency: 50, size: 4_096 } as const
/** More addresses than there are messages in all rounds, so that every connection comes from a new address. */
export const STRANGERS: Sources = { first: '127.32.0.1', count: 200_000 }

/** All limits are on, and so high that nobody exceeds one. */
export const WIDE_LIMITS = {
  LIMIT_IP_CONNECTIONS: '100000/1m',
  LIMIT_NET_CONNECTIONS: '100000/1m',
  LIMIT_GLOBAL_CONNECTIONS: '1000000/1m',
  LIMIT_IP_MESSAGES: '100000/1m',
  LIMIT_GLOBAL_MESSAGES: '1000000/1m',
  LIMIT_IP_RECIPIENTS: '100000/1m',
}

export interface Turn {
  /** CPU time per connection in µs: of all processes of the server, and of those that `aloneMs` measures. */
  readonly us: number
  readonly alone: number
  readonly tally: Tally
}

/** Gives the clients an order for this server, and measures what it cost the server. */
export async function turn(
  load: Load,
  server: Contender,
  order: Omit<Visits, 'port'> | Omit<Messages, 'port'> | Omit<Arrivals, 'ports'>,
  aloneMs: () => number = server.cpuMs,
): Promise<Turn> {
  const before = { all: server.cpuMs(), alone: aloneMs() }
  const tally = await load.order(
    order.kind === 'arrivals' ? { ...order, ports: [server.port] } : { ...order, port: server.port },
  )
  await sleep(SETTLE_MS)
  const us = (from: number, to: number) => ((to - from) * 1000) / order.count
  return { us: us(before.all, server.cpuMs()), alone: us(before.alone, aloneMs()), tally }
}

/** @returns a function that gives the next `count` addresses of the pool at each call, or all of a smaller pool */
export function drawn({ first, count: size, step = 1 }: Sources, count: number): () => Sources {
  let used = 0
  return () => {
    const sources = { first: addressAt(first, (used % size) * step), count: Math.min(count, size), step }
    used += sources.count
    return sources
  }
}

/** The percentage of a contender's connections that ended in good order with the expected code. */
export function read(turns: readonly Turn[], code: string): string {
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)
  const whole = sum(turns.map(({ tally }) => tally.codes[code] ?? 0))
  const all = sum(turns.map(({ tally }) => tally.lost + sum(Object.values(tally.codes))))
  const others = new Set(turns.flatMap(({ tally }) => Object.keys(tally.codes)))
  others.delete(code)
  const wrong = others.size > 0 ? ` (others: ${[...others]})` : ''
  return `${((100 * whole) / all).toFixed(whole === all ? 0 : 2)} %${wrong}`
}
