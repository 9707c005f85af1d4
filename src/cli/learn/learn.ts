/**
 * `spillway learn`: reads logs of mail servers, and gives what they show of clients to the nodes: to Redis, from which running nodes
 * hear it within seconds, or to the file of SPILLWAY_HISTORY_FILE, for nodes that are started afterwards. What is there of a
 * client with as many good messages stays as it is, so that a log may be read twice.
 */
import { randomBytes } from 'node:crypto'
import type { Loaded } from '../../config/load.ts'
import { describe, SettingsError } from '../../config/mistakes.ts'
import type { Settings } from '../../config/settings.ts'
import { shareOf, workersOf } from '../../config/workers.ts'
import { messageOf } from '../../core/errors.ts'
import { organisationOf } from '../../dns/organisation.ts'
import { standingAlone } from '../../overload/standing.ts'
import { CLIENTS, History } from '../../state/history.ts'
import { HistoryFile } from '../../state/history-file.ts'
import { HistorySharing } from '../../state/history-sharing.ts'
import { NeighbourhoodsSharing } from '../../state/neighbourhoods-sharing.ts'
import { connectRedis, redisMessageOf } from '../../state/redis.ts'
import type { Log } from '../../telemetry/log.ts'
import { LONGEST, linesOf, TOO_LONG } from '../log-lines.ts'
import { type Learn, type LinesRead, LogLines } from './read.ts'

/** What the verb prints, with the final line end, and the exit code. */
export interface Told {
  readonly output: string
  readonly code: 0 | 1 | 64 | 78
}

export interface Learned extends LinesRead {
  /** Clients by what the log makes of them. */
  readonly known: number
  readonly seen: number
  /** In which addresses have sent bad mail lately. */
  readonly networks: number
  /** Where it went. */
  readonly written: readonly string[]
}

const NOWHERE =
  'There is nowhere to keep what is learnt: set SPILLWAY_REDIS_URL, or SPILLWAY_HISTORY_FILE for a node without Redis.\n'
/** How long Redis may take to connect, and for one command, in ms. */
const REDIS_MS = 5000
const FOREIGN_SHARE = 0.5

/** @param path `-`: standard input @param options `cores`: how many of them this process may use */
export async function learn(
  loaded: Loaded | SettingsError,
  path: string,
  options: { readonly json: boolean; readonly cores: number },
): Promise<Told> {
  if (loaded instanceof SettingsError) return { output: describe(loaded.mistakes), code: 78 }
  const { settings } = loaded
  if (settings.redisUrl === undefined && settings.historyFile === undefined) return { output: NOWHERE, code: 78 }
  const now = Date.now()
  const history = emptyHistory(settings, now)
  const lines = new LogLines(teacherOf(history, settings.historyDomains), now, settings.knownDays)
  try {
    for await (const line of linesOf(path)) {
      if (line === TOO_LONG) lines.tooLong()
      else lines.line(line.endsWith('\r') ? line.slice(0, -1) : line)
    }
  } catch (error) {
    return { output: `The log cannot be read: ${messageOf(error)}.\n`, code: 1 }
  }
  const problem = doubtAbout(lines.read)
  if (problem !== undefined) return { output: problem, code: 1 }
  try {
    const written = [...(await toRedis(settings, history)), ...(await toFiles(settings, history, options.cores))]
    const found = {
      ...lines.read,
      known: history.count('known'),
      seen: history.count('seen'),
      networks: badNetsOf(history),
      written,
    }
    return { output: options.json ? `${JSON.stringify(found, undefined, 2)}\n` : inWords(found), code: 0 }
  } catch (error) {
    return { output: `What was learnt could not be written: ${redisMessageOf(error)}.\n`, code: 1 }
  }
}

/** A name that the mail server has confirmed teaches the domain that it is in. */
const teacherOf =
  (history: History, hasDomains: boolean): Learn =>
  (ip, lesson, at, name) => {
    const counted = history.learn(ip, lesson, at)
    const domain = name === undefined || !hasDomains ? undefined : organisationOf(name, ip)
    if (counted !== undefined && domain !== undefined) history.domains.learn(domain, ip, counted, at)
  }

function badNetsOf({ nets }: History): number {
  let count = 0
  nets.each(0, 1, () => count++)
  return count
}

function emptyHistory({ knownAfter: after, knownDays: days, historyTtl }: Settings, now: number): History {
  return new History({
    standingAlone: (own) => standingAlone(own, { after, days }),
    ttlMs: () => historyTtl,
    now: () => now,
    seed: randomBytes(8),
    capacity: CLIENTS,
  })
}

const overLong = (long: number): string =>
  long === 0 ? '' : ` Lines longer than ${LONGEST >> 20} MB are passed over: there are ${long}.`

function doubtAbout({ lines, used, foreign, long }: LinesRead): string | undefined {
  if (lines === 0) return 'The log is empty.\n'
  if (foreign > FOREIGN_SHARE * lines) {
    return `${foreign} of ${lines} lines are neither of a log of Postfix, Exim or sendmail nor of the form ip,accepted,rejected,last. Nothing was learnt.${overLong(long)} A log that is compressed otherwise than by gzip is read with: xzcat mail.log.xz | spillway learn -\n`
  }
  return used === 0 ? `None of ${lines} lines shows a client's message. Nothing was learnt.\n` : undefined
}

async function toRedis(
  { redisUrl, redisPrefix, historyTtl, knownAfter }: Settings,
  history: History,
): Promise<string[]> {
  if (redisUrl === undefined) return []
  let failure = 'it does not answer'
  const fail = (_: object, msg: string): void => {
    failure = msg
  }
  const log: Log = {
    debug: fail,
    info: fail,
    warn: ({ err }, msg) => fail({}, `${msg}: ${err}`),
    error: fail,
    flush: () => undefined,
  }
  const link = connectRedis({ address: redisUrl, timeoutMs: REDIS_MS, log })
  const ready = new Promise<void>((resolve) => link.onReady(resolve))
  const late = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error(`Redis: ${failure}`)), REDIS_MS).unref()
  })
  try {
    await Promise.race([ready, late])
    const common = {
      ...{ client: link.client, prefix: redisPrefix, log, elapsed: () => performance.now() },
      watched: <T>(_: unknown, answer: Promise<T>): Promise<T> => answer,
    }
    const sharing = new HistorySharing({
      ...{ ...common, history, ttlMs: () => historyTtl, isUp: () => true, knownAfter: () => knownAfter },
    })
    await sharing.writeAll()
    const nets = new NeighbourhoodsSharing({ ...common, nets: history.nets, upSince: () => 0, now: Date.now })
    await nets.writeAll()
  } finally {
    await link.close()
  }
  return ['Redis']
}

/** One for each worker: without Redis each remembers for itself. */
async function toFiles(settings: Settings, history: History, cores: number): Promise<string[]> {
  if (settings.redisUrl !== undefined || settings.historyFile === undefined) return []
  const count = workersOf(settings, cores)
  const shares = Array.from({ length: count }, (_, index) => shareOf(settings, { index, of: count }))
  const paths = count === 1 ? [settings.historyFile] : shares.flatMap(({ historyFile }) => historyFile ?? [])
  const silent = (): void => undefined
  const log: Log = { debug: silent, info: silent, warn: silent, error: silent, flush: silent }
  for (const path of paths) {
    const file = new HistoryFile({ path, history, log, now: Date.now })
    await file.load()
    await file.save()
  }
  return paths
}

const inWords = ({ lines, used, long, known, seen, networks, written }: Learned): string =>
  [
    `${lines} lines read, ${used} of them about clients.${overLong(long)}`,
    `${known} clients are known by them, ${seen} more have sent good mail.`,
    `From ${networks} networks came bad mail lately.`,
    `Written to ${written.join(', ')}.`,
    '',
  ].join('\n')
