// One scenario with one contender: starts the cluster, Redis, the nodes and the senders, and adds up what came of it.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { startRedis } from '../../test/services/redis.ts'
import { startSpillway } from '../processes.ts'
import type { ClusterOrder, ClusterReport } from './cluster.ts'
import type { Order, Sent } from './generator.ts'
import { CLASSES, type Class, type ClassTally, overCapacity, tally, timeline } from './ledger.ts'
import { HONEST_PER_SECOND, type Scenario } from './scenarios.ts'
import { blind, type Contender, divided } from './settings.ts'

/** The cluster takes this many times its usual mail (assumed). */
export const CAPACITY_FACTOR = 3

export interface Options {
  readonly contender: Contender
  readonly nodes: number
  readonly scale: number
  readonly seed: number
  /** The build that the nodes run; the shipped one by default. */
  readonly program?: string
}

export interface Result {
  readonly scenario: string
  readonly contender: Contender
  readonly k: number
  readonly scale: number
  readonly seed: number
  readonly nodes: number
  readonly capacity: number
  readonly settings: Readonly<Record<string, string>>
  readonly classes: Readonly<Record<Class, ClassTally>>
  /** Transactions that the cluster began in the worst ten seconds, as a multiple of what it can take. */
  readonly overCapacity: number
  /** The share of the machine's time in which nothing ran. */
  readonly idle: number
  /** The most sockets that the senders had open at once. */
  readonly sockets: number
  readonly timeline: ReturnType<typeof timeline>
}

/** The machine's time so far, in ticks, and how much of it was idle (proc(5), /proc/stat). */
function machine(): { readonly all: number; readonly idle: number } {
  const fields = (readFileSync('/proc/stat', 'latin1').split('\n')[0] as string)
    .trim()
    .split(/\s+/)
    .slice(1, 9)
    .map(Number)
  return { all: fields.reduce((sum, each) => sum + each, 0), idle: (fields[3] as number) + (fields[4] as number) }
}

const STEP_S = 5

export async function runScenario(scenario: Scenario, options: Options): Promise<Result> {
  const stops: (() => Promise<unknown> | unknown)[] = []
  const start = (file: string): ChildProcess => {
    const child = fork(join(import.meta.dirname, file), { execArgv: [] })
    stops.push(() => {
      if (child.exitCode !== null || child.signalCode !== null) return undefined
      child.kill('SIGKILL')
      return once(child, 'exit')
    })
    return child
  }
  try {
    return await play(scenario, options, start, (stop) => stops.push(stop))
  } finally {
    for (const stop of stops.reverse()) await stop()
  }
}

/** The next message of a child; rejects if it ends instead. */
async function next<T>(child: ChildProcess, ms: number): Promise<T> {
  const ended = once(child, 'exit').then(() => {
    throw new Error('a process of the lab has ended early')
  })
  const [message] = (await Promise.race([once(child, 'message', { signal: AbortSignal.timeout(ms) }), ended])) as [T]
  return message
}

async function play(
  scenario: Scenario,
  { contender, nodes, scale, seed, program }: Options,
  start: (file: string) => ChildProcess,
  atEnd: (stop: () => Promise<unknown>) => void,
): Promise<Result> {
  const capacity = HONEST_PER_SECOND * scale * CAPACITY_FACTOR
  const cluster = start('cluster.ts')
  const tell = (order: ClusterOrder) => cluster.send(order)
  const { port } = await next<{ port: number }>(cluster, 10_000)
  const isProxied = scenario.firstDay !== undefined && contender !== 'nothing'
  const settings = contender === 'blind' ? blind(capacity) : contender === 'spillway' ? divided(scenario.k) : {}
  const ports: number[] = []
  if (contender === 'nothing') ports.push(port)
  else {
    const redis = await startRedis()
    atEnd(() => redis.stop())
    for (let i = 0; i < nodes; i++) {
      const node = await startSpillway(
        {
          UPSTREAMS: `127.0.0.1:${port}`,
          UPSTREAM_CLIENT_IP: 'none',
          REDIS_URL: `redis://127.0.0.1:${redis.port}`,
          ...(isProxied ? { PROXY_PROTOCOL_FROM: '127.0.0.0/8' } : {}),
          ...settings,
        },
        { program },
      )
      atEnd(() => node.stop())
      ports.push(node.port)
    }
  }
  const senders = start('generator.ts')
  const order: Order = { scenario, ports, seed, scale, isProxied, sendsHistory: contender === 'spillway' }
  senders.send(order)
  await next(senders, 300_000)
  tell({ kind: 'capacity', perSecond: capacity })
  const before = machine()
  senders.send('begin')
  const minutes = (min: number) => (min * 60_000) / scenario.k
  const { stall, down } = scenario
  const timers = [
    stall && setTimeout(() => tell({ kind: 'stall', ms: minutes(stall.min) }), stall.atS * 1000),
    down && setTimeout(() => tell({ kind: 'down', ms: minutes(down.min) }), down.atS * 1000),
  ]
  atEnd(async () => {
    for (const each of timers) clearTimeout(each)
  })
  const longest = scenario.seconds * 1000 + minutes(scenario.afterMin)
  const sent = await next<Sent>(senders, longest + 120_000)
  const after = machine()
  tell({ kind: 'report' })
  const report = await next<ClusterReport>(cluster, 30_000)
  const arrived = new Map(report.arrived)
  const watched = { k: scenario.k, watchedMs: minutes(scenario.afterMin) }
  const of = (who: Class) =>
    tally(
      sent.deliveries.filter((each) => each.class === who),
      arrived,
      watched,
    )
  return {
    scenario: scenario.name,
    contender,
    k: scenario.k,
    scale,
    seed,
    nodes: contender === 'nothing' ? 0 : nodes,
    capacity,
    settings,
    classes: Object.fromEntries(CLASSES.map((who) => [who, of(who)])) as Record<Class, ClassTally>,
    overCapacity: overCapacity(report.begun, capacity),
    idle: (after.idle - before.idle) / (after.all - before.all),
    sockets: sent.sockets,
    timeline: timeline(sent.deliveries, STEP_S),
  }
}
