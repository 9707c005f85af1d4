// What stands between the senders and the cluster in a run: Redis, the nodes, and where it is wanted a real Postfix.

import { readFileSync } from 'node:fs'
import { startPostfix } from '../../test/services/postfix.ts'
import { waitUntil } from '../../test/services/processes.ts'
import { type RedisServer, startRedis } from '../../test/services/redis.ts'
import { startUnbound } from '../../test/services/unbound.ts'
import { type Forwarder, startForwarder } from '../cluster/forwarder.ts'
import { learn, type Spillway, startSpillway } from '../processes.ts'
import { makePair } from '../tls.ts'
import { type Size, sizeOf } from './capacity.ts'
import { dayOf } from './day.ts'
import { recordsOf } from './early.ts'
import { DOMAIN } from './names.ts'
import { netsPastOf } from './nets-past.ts'
import { pastOf, snowshoePast, spamPastOf } from './past.ts'
import { populationOf } from './population.ts'
import { HONEST_PER_SECOND, type Scenario } from './scenarios.ts'
import { blind, type Contender, connections, divided } from './settings.ts'

export interface Options {
  readonly contender: Contender
  readonly nodes: number
  readonly scale: number
  readonly seed: number
  /** Puts a real Postfix before the cluster, with as many places, which relays to it live. For small runs, by root. */
  readonly hasPostfix?: boolean
  /** Further settings of Spillway, by name without prefix, where it is not there for blind shedding. */
  readonly more?: Readonly<Record<string, string>>
  /** The build that the nodes run; the shipped one by default. */
  readonly program?: string
  /** Called with the nodes before the load begins; awaited. */
  readonly watched?: (nodes: readonly Spillway[]) => Promise<void>
  /** What the run was asked for with; in its report. */
  readonly command?: string
}

/** Clients that Spillway has learnt of, by what it makes of them. */
export interface Learnt {
  readonly known: number
  readonly seen: number
}

export type Stop = () => Promise<unknown> | unknown
/** Takes what is to be stopped at the end of the run. */
export interface Stops {
  stopping(stop: Stop): void
}

interface Setting {
  readonly scenario: Scenario
  readonly options: Options
  readonly capacity: number
  /** The cluster's, and the one that tells how full its queue is. */
  readonly port: number
  readonly web: number
  readonly isProxied: boolean
}

export interface Nodes {
  /** Those that run now: one that was killed has another in its place. */
  readonly running: readonly Spillway[]
  readonly settings: Readonly<Record<string, string>>
  readonly learnt: Learnt | undefined
  /** Of all nodes, those that were killed included. */
  readonly logs: readonly string[]
  /** Undefined where there are no nodes. */
  readonly redis: RedisServer | undefined
  /** The way of the nodes to Redis. */
  readonly wire: Forwarder | undefined
  /** Kills a node, and starts it again on its port. */
  kill(index: number): Promise<void>
}

export async function startNodes(
  { scenario, options, capacity, port, web, isProxied }: Setting,
  { stopping }: Stops,
): Promise<Nodes> {
  const { contender, nodes, program } = options
  const redis = await startRedis()
  stopping(() => redis.stop())
  const wire = await startForwarder(redis.port)
  stopping(() => wire.cut())
  const dns = await startNames(scenario, options, { stopping })
  const settings = {
    UPSTREAM_MAX_CONNECTIONS: connections(sizeOf(capacity).places, nodes),
    ...(contender === 'blind' ? blind(capacity) : { ...divided(scenario.k), ...scenario.settings, ...options.more }),
  }
  const all = {
    UPSTREAMS: `127.0.0.1:${port}`,
    UPSTREAM_CLIENT_IP: 'none',
    REDIS_URL: `redis://127.0.0.1:${wire.port}`,
    ...(isProxied ? { PROXY_PROTOCOL_FROM: '127.0.0.0/8' } : {}),
    ...dns,
    ...(scenario.queue?.told === 'asked' ? { UPSTREAM_PRESSURE_URL: `http://127.0.0.1:${web}/` } : {}),
    ...certificate(),
    ...settings,
  }
  let learnt: Learnt | undefined
  const lines = logsOf(scenario, options, isProxied)
  if (lines !== '') {
    const { known, seen } = await learn(lines, all, program)
    learnt = { known, seen }
  }
  const running: Spillway[] = []
  const logs: string[] = []
  for (let i = 0; i < nodes; i++) {
    const node = await startSpillway(all, { program })
    stopping(() => node.stop())
    running.push(node)
    logs.push(node.log)
  }
  for (const node of running) await knows(node, learnt?.known ?? 0)
  const kill = async (index: number): Promise<void> => {
    const node = running[index] as Spillway
    await node.kill()
    const again = await startSpillway({ ...all, LISTEN: `127.0.0.1:${node.port}` }, { program })
    stopping(() => again.stop())
    running[index] = again
    logs.push(again.log)
  }
  return { running, logs, settings, learnt, redis, wire, kill }
}

/** The lab's own name server, where a list is asked. */
async function startNames(
  { listed }: Scenario,
  options: Options,
  { stopping }: Stops,
): Promise<Readonly<Record<string, string>>> {
  if (listed === undefined) return {}
  const dns = await startUnbound({ records: recordsOf(populationOf(options), listed, options.scale) })
  stopping(() => dns.stop())
  return { DNS_SERVERS: dns.address }
}

function certificate(): Readonly<Record<string, string>> {
  const { cert, key } = makePair('ECDSA P-256')
  return { TLS_CERT: cert, TLS_KEY: key }
}

/** What Spillway learns before the run. */
function logsOf(scenario: Scenario, options: Options, isProxied: boolean): string {
  const { hasPast, logs = 'a fortnight', turnsBad } = scenario
  if (!hasPast || logs === 'none') return ''
  const how = { perSecond: HONEST_PER_SECOND * options.scale, seed: options.seed, now: Date.now() }
  const population = populationOf(options)
  const spammers = netsPastOf(scenario, options)?.spammers() ?? []
  if (logs === 'a day') return dayOf(population, how, spammers)
  const snowshoe = turnsBad?.who === 'a known /24' ? snowshoePast(how.now) : ''
  return pastOf(population, how, isProxied) + spamPastOf(spammers, how.now, isProxied) + snowshoe
}

/** Waits until the node has heard of what was learnt. */
const knows = (node: Spillway, count: number): Promise<true> =>
  waitUntil(
    async () => (((await node.counters()).get('spillway_known_clients') ?? 0) >= count ? true : undefined),
    90_000,
    () => 'Spillway has not heard of the senders that it was to learn',
  )

export const NO_NODES: Nodes = {
  ...{ running: [], logs: [], settings: {}, learnt: undefined, redis: undefined, wire: undefined },
  kill: () => Promise.resolve(),
}

/** @param sink the port of the cluster, which then is what decides on recipients and messages @returns Postfix's port */
export async function startPostfixBefore(sink: number, { places }: Size, { stopping }: Stops): Promise<number> {
  const postfix = await startPostfix({
    domains: [DOMAIN],
    listeners: [{ kind: 'proxy-filter', filter: `127.0.0.1:${sink}` }],
    params: {
      virtual_mailbox_maps: 'static:all',
      // The sink refuses foreign domains as well as unknown users.
      smtpd_relay_restrictions: 'permit_mynetworks, reject',
      default_process_limit: places,
    },
  })
  stopping(() => postfix.stop())
  return postfix.port()
}

const SESSIONS = /^spillway_sessions_total\{outcome="(\w+)",standing="(\w+)"\}$/

export type Sessions = Readonly<Record<string, { readonly relayed: number; readonly shed: number }>>

export async function sessionsOf(nodes: readonly Spillway[]): Promise<Sessions> {
  const sessions: Record<string, { relayed: number; shed: number }> = {}
  for (const node of nodes) {
    for (const [series, count] of await node.counters()) {
      const [, outcome, standing = ''] = SESSIONS.exec(series) ?? []
      if (outcome !== 'relayed' && outcome !== 'shed') continue
      const so = sessions[standing] ?? { relayed: 0, shed: 0 }
      sessions[standing] = { ...so, [outcome]: so[outcome] + count }
    }
  }
  return sessions
}

/** What the first node says of it; NaN where there is none. */
export const knownClients = async ({ running }: Nodes): Promise<number> =>
  (await running[0]?.counters())?.get('spillway_known_clients') ?? Number.NaN

/** Messages that may be with the cluster, or not: what nobody could say at the end of a transaction. */
export function loggedUnknown({ logs }: Pick<Nodes, 'logs'>): number {
  return logs.reduce((sum, file) => sum + readFileSync(file, 'utf8').split('"result":"unknown"').length - 1, 0)
}
