// One scenario with one contender: starts the cluster, Redis, the nodes and the senders, and adds up what came of it.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { cpuMs } from '../measure.ts'
import { atEnd } from '../processes.ts'
import { sizeOf } from './capacity.ts'
import type { ClusterOrder, ClusterPorts, ClusterReport, ClusterSize } from './cluster.ts'
import type { Met } from './early.ts'
import { startFaults, startReporter } from './faults.ts'
import { figuresOf, type Goal } from './figures.ts'
import type { Order, Sent } from './generator.ts'
import {
  CLASSES,
  type Class,
  type ClassTally,
  heldAfterS,
  overCapacity,
  type Point,
  tally,
  timeline,
} from './ledger.ts'
import { netsPastOf } from './nets-past.ts'
import {
  knownClients,
  type Learnt,
  loggedUnknown,
  NO_NODES,
  type Options,
  type Sessions,
  type Stop,
  type Stops,
  sessionsOf,
  startNodes,
  startPostfixBefore,
} from './nodes.ts'
import { HONEST_PER_SECOND, type Scenario } from './scenarios.ts'
import { type Contender, messagesIn, STRANGERS_MESSAGES } from './settings.ts'
import { type LevelPoint, watchLevel } from './watch.ts'

/** The cluster takes this many times its usual mail (assumed). */
export const CAPACITY_FACTOR = 3

export interface Result {
  readonly scenario: string
  readonly contender: Contender
  readonly k: number
  readonly scale: number
  readonly seed: number
  readonly nodes: number
  readonly capacity: number
  readonly hasFlood: boolean
  readonly isFirstDay: boolean
  /** The goals of a flood are judged; of one that is about something else they are not. */
  readonly isFullFlood: boolean
  /** The dot tells what the cluster can take. */
  readonly isDotTrue: boolean
  readonly settings: Readonly<Record<string, string>>
  /** Clients that Spillway had learnt of before the run, by what it made of them. */
  readonly learnt: Learnt | undefined
  readonly classes: Readonly<Record<Class, ClassTally>>
  /** Of the first contacts those in networks with a past. */
  readonly hosted: ClassTally
  /** Of the networks of the flood, how many have a past; undefined: none. */
  readonly netsPast: { readonly share: number; readonly nets: number; readonly of: number } | undefined
  /** Of what was sent when the flood had its full height; without a flood of all. */
  readonly atHeight: Readonly<Record<Class, ClassTally>>
  /** In the worst ten seconds, as a multiple of what the cluster can take: transactions begun (MAIL), and messages at their dot. */
  readonly overCapacity: number
  readonly dotsOverCapacity: number
  /** By second: transactions begun at the cluster, and messages at their dot. */
  readonly begun: readonly number[]
  readonly dots: readonly number[]
  /** Of a known sender that turned bad: after how many seconds it was held; see ledger.ts. */
  readonly heldAfterS: number | undefined
  /** What the scenario is about; see figures.ts. */
  readonly figures: readonly Goal[]
  /** Whether nodes or the cluster were cut off, so that what was past its dot may be there twice. */
  readonly isCut: boolean
  /** Messages that the nodes have logged as unknown: they may be there twice. */
  readonly unknown: number
  readonly command: string | undefined
  /** The share of the machine's time in which nothing ran. */
  readonly idle: number
  /** Cores used on average. */
  readonly cores: { readonly nodes: number; readonly senders: number; readonly cluster: number }
  /** How sessions ended, by the standing that Spillway gave the client; empty where there is no node. */
  readonly sessions: Sessions
  /** Visits by what the client is, and by which tests they were refused. */
  readonly met: Readonly<Record<string, Met>>
  readonly visits: number
  /** The most sockets that the senders had open at once. */
  readonly sockets: number
  /** See Sent in generator.ts: a run with any is no result. */
  readonly dropped: number
  readonly lateMs: number
  /** Shares at the first try: of all honest mail, and apart. */
  readonly timeline: readonly Point[]
  readonly known: readonly Point[]
  readonly firstContacts: readonly Point[]
  readonly levels: readonly LevelPoint[]
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

const STEP_S = 10

interface Started extends Stops {
  child(file: string, ...args: string[]): ChildProcess
}

export async function runScenario(scenario: Scenario, options: Options): Promise<Result> {
  const stops: Stop[] = []
  const stopAll = async (): Promise<void> => {
    for (const stop of stops.splice(0).reverse()) await stop()
  }
  // Where the benchmark is interrupted, `finally` is never reached.
  atEnd(stopAll)
  const child: Started['child'] = (file, ...args) => {
    const process = fork(join(import.meta.dirname, file), args, { execArgv: [] })
    stops.push(() => {
      if (process.exitCode !== null || process.signalCode !== null) return undefined
      process.kill('SIGKILL')
      return once(process, 'exit')
    })
    return process
  }
  try {
    return await play(scenario, options, { child, stopping: (stop) => stops.push(stop) })
  } finally {
    await stopAll()
  }
}

/** The next message of a child; rejects if it ends instead. */
async function next<T>(child: ChildProcess, ms: number): Promise<T> {
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`${child.spawnargs[1]} has ended early: ${signal ?? code}`)
  })
  const [message] = (await Promise.race([once(child, 'message', { signal: AbortSignal.timeout(ms) }), ended])) as [T]
  return message
}

async function play(whole: Scenario, asked: Options, started: Started): Promise<Result> {
  const options = { ...asked, nodes: Math.max(asked.nodes, whole.nodes ?? 1) }
  const { contender, scale, seed } = options
  const scenario = as(whole, contender)
  const capacity = HONEST_PER_SECOND * scale * CAPACITY_FACTOR
  const holds = scenario.queue && { queue: capacity * scenario.queue.holdsS }
  const cluster = started.child('cluster.ts', JSON.stringify({ ...sizeOf(capacity), ...holds } satisfies ClusterSize))
  const tell = (order: ClusterOrder) => cluster.send(order)
  const { port: sink, web } = await next<ClusterPorts>(cluster, 30_000)
  const port = options.hasPostfix ? await startPostfixBefore(sink, sizeOf(capacity), started) : sink
  const isTold =
    scenario.flood?.kind === 'one /48' ||
    [scenario.firstDay, scenario.logs, scenario.listed].some((each) => each !== undefined)
  const isProxied = isTold && contender !== 'nothing'
  const setting = { scenario, options, capacity, port, web, isProxied }
  const nodes = contender === 'nothing' ? NO_NODES : await startNodes(setting, started)
  const ports = nodes.running.length === 0 ? [port] : nodes.running.map((node) => node.port)
  const senders = started.child('generator.ts')
  senders.send({ scenario, ports, seed, scale, isProxied } satisfies Order)
  await next(senders, 30_000)
  await options.watched?.(nodes.running)
  tell({ kind: 'begin' })
  senders.send('begin')
  const cpus = { nodes: nodes.running.map(({ pid }) => pid), senders: [senders.pid], cluster: [cluster.pid] }
  const used = () => Object.entries(cpus).map(([name, pids]) => [name, cpuMs(pids as number[])] as const)
  const [before, cpuBefore, began] = [machine(), used(), performance.now()]
  const watch = watchLevel(nodes.running[0]?.admin)
  started.stopping(() => watch.stop())
  const watchedMs = (scenario.afterMin * 60_000) / scenario.k
  const known = await knownClients(nodes)
  const around = { nodes, port: ports[0] as number, tell, attackers: () => started.child('../tls-load.ts') }
  const endFaults = startFaults(scenario, around)
  started.stopping(() => endFaults().catch(() => undefined))
  if (scenario.queue?.told === 'posted') started.stopping(startReporter(nodes, { web, port }))
  const sent = await next<Sent>(senders, scenario.seconds * 1000 + watchedMs + 120_000)
  const [after, cpuAfter, tookMs] = [machine(), used(), performance.now() - began]
  await endFaults()
  tell({ kind: 'report' })
  const report = await next<ClusterReport>(cluster, 30_000)
  const cores = cpuAfter.map(([name, ms], i) => [name, (ms - (cpuBefore[i]?.[1] as number)) / tookMs])
  const sessions = await sessionsOf(nodes.running)
  const counts = counted(scenario, { sent, report, capacity, watchedMs })
  const { relayed = 0, shed = 0 } = sessions.suspect ?? {}
  const unknown = loggedUnknown(nodes)
  const figures = figuresOf({
    ...{
      scenario,
      levels: watch.points,
      turned: report.turned,
      queue: report.queue,
      limit: messagesIn(nodes.settings),
    },
    ...{ arrived: new Map(report.arrived), honest: sent.deliveries.filter((each) => each.class !== 'spam') },
    ...{
      dotsOverCapacity: counts.dotsOverCapacity,
      suspects: relayed + shed,
      strangersShed: sessions.new?.shed ?? 0,
      unknown,
    },
    known: { before: known, after: await knownClients(nodes) },
    met: sent.met,
  })
  return {
    ...{ scenario: scenario.name, contender, k: scenario.k, scale, seed, nodes: nodes.running.length, capacity },
    ...{ hasFlood: scenario.flood !== undefined, isFirstDay: scenario.firstDay !== undefined },
    isFullFlood: scenario.flood !== undefined && scenario.queue === undefined && scenario.logs === undefined,
    isDotTrue: scenario.queue === undefined,
    ...{ settings: nodes.settings, learnt: nodes.learnt, netsPast: summaryOf(scenario, options) },
    ...counts,
    figures: contender === 'spillway' ? figures : [],
    ...{ isCut: scenario.kills !== undefined || scenario.down !== undefined, unknown, command: options.command },
    idle: (after.idle - before.idle) / (after.all - before.all),
    cores: Object.fromEntries(cores) as Result['cores'],
    sessions,
    met: sent.met,
    levels: watch.points,
  }
}

/** The scenario as a contender has it. */
function as(scenario: Scenario, contender: Contender): Scenario {
  const { flood: _, ...calm } = scenario
  const { turnsBad } = scenario
  if (contender === 'calm') return calm
  if (contender !== 'one sender' || turnsBad === undefined) return scenario
  return { ...scenario, turnsBad: { ...turnsBad, who: 'a known sender' } }
}

function summaryOf(scenario: Scenario, options: Options): Result['netsPast'] {
  const past = netsPastOf(scenario, options)
  return past && { share: past.share, nets: past.nets.length, of: past.all }
}

interface Counts {
  readonly sent: Sent
  readonly report: ClusterReport
  readonly capacity: number
  readonly watchedMs: number
}

function counted({ k, turnsBad, flood }: Scenario, { sent, report, capacity, watchedMs }: Counts) {
  const arrived = new Map(report.arrived)
  const by = Object.fromEntries(
    CLASSES.map((who) => [who, sent.deliveries.filter((each) => each.class === who)]),
  ) as unknown as Record<Class, Sent['deliveries']>
  const tallies = (fromMs: number) =>
    Object.fromEntries(
      CLASSES.map((who) => [
        who,
        tally(
          by[who].filter(({ sentMs }) => sentMs >= fromMs),
          arrived,
          { k, watchedMs },
        ),
      ]),
    ) as Record<Class, ClassTally>
  const { sockets, dropped, visits, lateMs } = sent
  return {
    classes: tallies(0),
    hosted: tally(
      by['first contact'].filter(({ isHosted }) => isHosted),
      arrived,
      { k, watchedMs },
    ),
    atHeight: tallies((flood?.rampS ?? 0) * 1000),
    overCapacity: overCapacity(report.begun, capacity),
    dotsOverCapacity: overCapacity(report.dots, capacity),
    ...{ begun: report.begun, dots: report.dots },
    heldAfterS:
      turnsBad === undefined || turnsBad.who !== undefined
        ? undefined
        : heldAfterS(report.turned, turnsBad.atS, STRANGERS_MESSAGES),
    ...{ sockets, dropped, visits, lateMs },
    timeline: timeline([...by.known, ...by['first contact']], STEP_S),
    known: timeline(by.known, STEP_S),
    firstContacts: timeline(by['first contact'], STEP_S),
  }
}
