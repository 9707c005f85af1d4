// What stands between the senders and the cluster in a run: Redis, the nodes, and where it is wanted a real Postfix.

import { startPostfix } from '../../test/services/postfix.ts'
import { waitUntil } from '../../test/services/processes.ts'
import { startRedis } from '../../test/services/redis.ts'
import { learn, type Spillway, startSpillway } from '../processes.ts'
import { type Size, sizeOf } from './capacity.ts'
import { DOMAIN } from './names.ts'
import { pastOf } from './past.ts'
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
  /** The cluster's. */
  readonly port: number
  readonly isProxied: boolean
}

export interface Nodes {
  readonly running: readonly Spillway[]
  readonly settings: Readonly<Record<string, string>>
  readonly learnt: Learnt | undefined
}

export async function startNodes(
  { scenario, options, capacity, port, isProxied }: Setting,
  { stopping }: Stops,
): Promise<Nodes> {
  const { contender, nodes, program, scale, seed } = options
  const redis = await startRedis()
  stopping(() => redis.stop())
  const settings = {
    UPSTREAM_MAX_CONNECTIONS: connections(sizeOf(capacity).places, nodes),
    ...(contender === 'blind' ? blind(capacity) : { ...divided(scenario.k), ...options.more }),
  }
  const all = {
    UPSTREAMS: `127.0.0.1:${port}`,
    UPSTREAM_CLIENT_IP: 'none',
    REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    ...(isProxied ? { PROXY_PROTOCOL_FROM: '127.0.0.0/8' } : {}),
    ...settings,
  }
  let learnt: Learnt | undefined
  if (scenario.hasPast) {
    const perSecond = HONEST_PER_SECOND * scale
    const { known, seen } = await learn(
      pastOf(populationOf(options), { perSecond, seed, now: Date.now() }),
      all,
      program,
    )
    learnt = { known, seen }
  }
  const running: Spillway[] = []
  for (let i = 0; i < nodes; i++) {
    const node = await startSpillway(all, { program })
    stopping(() => node.stop())
    running.push(node)
  }
  for (const node of running) await knows(node, learnt?.known ?? 0)
  return { running, settings, learnt }
}

/** Waits until the node has heard of what was learnt. */
const knows = (node: Spillway, count: number): Promise<true> =>
  waitUntil(
    async () => (((await node.counters()).get('spillway_known_clients') ?? 0) >= count ? true : undefined),
    90_000,
    () => 'Spillway has not heard of the senders that it was to learn',
  )

export const NO_NODES: Nodes = { running: [], settings: {}, learnt: undefined }

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
