/**
 * How hard this node and the mail servers behind it are pressed. Pure functions of samples. Each signal is measured against its
 * target; 1 is at the target, and the largest is the pressure of the node.
 *
 *     signal            what is measured                                        target
 *     upstream_slots    connections to the mail servers that clients hold,      all connections, without those that
 *                       and clients that wait for one, counted by net           strangers may not hold (strangers-part.ts)
 *     upstream_latency  reply to the dot (dot-times.ts)                         OVERLOAD_UPSTREAM_LATENCY
 *     reported_queue    what is reported of the mail servers (reported.ts)      1
 *     connections       open connections of clients, counted by net             70 % of MAX_CONNECTIONS
 *     event_loop        mean delay of the event loop                            OVERLOAD_EVENT_LOOP
 *     memory            memory of the process (memory.ts)                       85 % of what it may have
 *     global_limits     use of the global limit that is used most               90 % of it
 *
 * Counted by net: no neighbourhood (/24, /48) counts with more than a sixteenth of the capacity, whatever it holds or waits for.
 * The pool and the seats have rules of their own for one that is greedy (relay/pool/fairness.ts, state/seats.ts). It must not make
 * a level that all strangers pay for.
 *
 * Latency: what at least half of the capacity keeps to. Each mail server counts with its connections; the servers are put in
 * order, the quickest first, and the one at which half of all connections is reached gives the figure. So one slow server of
 * two or three raises nothing: it gets less of the mail, because its connections stay taken, and whether the others can carry
 * the rest shows in upstream_slots. If most of them are slow, it is the cluster. A server with too few samples counts as quick.
 * The same holds for what is reported of their queues: a server of which nothing is reported counts as one at ease.
 *
 * Mail servers that are away are no pressure: nothing can be sent to them, and clients hear 451 for that. Nor is greylisting
 * behind us, or a refusal of content: replies of that kind are not measured at all.
 */
import { type PressureReport, SIGNALS, type Signal } from '../core/overload.ts'

/** What is left of a capacity when its pressure is 1 must be enough for the seconds until a level takes effect. */
const OF_CONNECTIONS = 0.7
const OF_MEMORY = 0.85
const OF_GLOBAL_LIMITS = 0.9
/** The most of a capacity that one neighbourhood counts with. */
const OF_ONE_NET = 1 / 16

/** One address of a mail server that is in use. */
export interface ServerSample {
  /** As the operator wrote it. */
  readonly upstream: string
  /** Connections that may be held to it. */
  readonly slots: number
  /** In milliseconds; undefined: too few samples. */
  readonly dotMs: number | undefined
}

export interface PoolSample {
  /** Connections that may be held to all servers in use, without those that strangers may not hold at present (strangers-part.ts). */
  readonly slots: number
  /** For each neighbourhood, how many connections its clients hold or wait for. */
  readonly wanted: Iterable<number>
  readonly servers: readonly ServerSample[]
}

export interface Sample {
  readonly pool: PoolSample
  /** What is reported at present, by mail server as the operator wrote it. */
  readonly reported: ReadonlyMap<string, number>
  /** For each neighbourhood, how many connections its clients have open. */
  readonly connections: Iterable<number>
  readonly maxConnections: number
  /** Mean delay of the event loop, in milliseconds. */
  readonly loopMs: number
  /** Memory in use, as a share of what may be used. */
  readonly memory: number
  /** Use of the global limit that is used most, as a share of it. */
  readonly globalLimits: number
}

export interface Targets {
  readonly latencyMs: number
  readonly loopMs: number
}

export interface Pressure {
  /** The largest of all. */
  readonly value: number
  /** Which it is. */
  readonly signal: Signal
  readonly of: Readonly<Record<Signal, number>>
  /** The mail server that takes longest to accept messages, and how long, in milliseconds; undefined: none has enough samples. */
  readonly slowest: { readonly upstream: string; readonly ms: number } | undefined
  /** The mail server in use of which the highest pressure is reported; undefined: nothing is reported. */
  readonly fullest: PressureReport | undefined
}

/** What servers with at least half of all slots keep to. @returns 0 where there are none */
function keptByHalf(servers: readonly ServerSample[], figureOf: (server: ServerSample) => number): number {
  const all = servers.reduce((sum, { slots }) => sum + slots, 0)
  let reached = 0
  for (const server of [...servers].sort((a, b) => figureOf(a) - figureOf(b))) {
    reached += server.slots
    if (reached >= all / 2) return figureOf(server)
  }
  return 0
}

/** @returns in milliseconds; 0 where nothing is known */
export const latencyOf = (servers: readonly ServerSample[]): number => keptByHalf(servers, ({ dotMs }) => dotMs ?? 0)

export const queueOf = (servers: readonly ServerSample[], reported: Sample['reported']): number =>
  keptByHalf(servers, ({ upstream }) => reported.get(upstream) ?? 0)

function slowestOf(servers: readonly ServerSample[]): Pressure['slowest'] {
  let slowest: Pressure['slowest']
  for (const { upstream, dotMs } of servers) {
    if (dotMs !== undefined && (slowest === undefined || dotMs > slowest.ms)) slowest = { upstream, ms: dotMs }
  }
  return slowest
}

function fullestOf(servers: readonly ServerSample[], reported: Sample['reported']): Pressure['fullest'] {
  let fullest: Pressure['fullest']
  for (const { upstream } of servers) {
    const value = reported.get(upstream)
    if (value !== undefined && (fullest === undefined || value > fullest.value)) fullest = { upstream, value }
  }
  return fullest
}

/** How much of a capacity is in use. @param ofNets what each neighbourhood has of it */
export function usedOf(capacity: number, ofNets: Iterable<number>): number {
  const most = Math.max(1, Math.floor(capacity * OF_ONE_NET))
  let used = 0
  for (const ofNet of ofNets) used += Math.min(ofNet, most)
  return used
}

export function pressureOf(sample: Sample, { latencyMs, loopMs }: Targets): Pressure {
  const { pool, connections, maxConnections, memory, globalLimits } = sample
  const of: Record<Signal, number> = {
    upstream_slots: pool.slots === 0 ? 0 : usedOf(pool.slots, pool.wanted) / pool.slots,
    upstream_latency: latencyOf(pool.servers) / latencyMs,
    reported_queue: queueOf(pool.servers, sample.reported),
    connections: usedOf(maxConnections, connections) / (OF_CONNECTIONS * maxConnections),
    event_loop: sample.loopMs / loopMs,
    memory: memory / OF_MEMORY,
    global_limits: globalLimits / OF_GLOBAL_LIMITS,
  }
  let signal: Signal = SIGNALS[0]
  for (const each of SIGNALS) if (of[each] > of[signal]) signal = each
  const fullest = fullestOf(pool.servers, sample.reported)
  return { value: of[signal], signal, of, slowest: slowestOf(pool.servers), fullest }
}
