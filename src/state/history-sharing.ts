/**
 * Shares over Redis what nodes learn of clients (history.ts): all nodes hear of it within seconds, and a restarted node finds it
 * there. No reply and no lesson ever waits for this. Every second, in the background, a node tells what it has learnt, then
 * asks what has changed.
 *
 * Clients are spread over 16 groups by their address (history-scripts.ts says what a group is). What a node tells
 * is how many messages there were since it last told, so that the nodes add up. A batch that fails is told again. If it had arrived
 * nevertheless, its messages count twice; that is no harm, because nobody is known by a number alone.
 *
 * A node remembers the number of the last change that it has heard of each group, and asks for later ones. If the
 * group has another name than before, Redis has lost what it had. Then every node writes what it remembers of clients that are missing there;
 * and at any time, of a client of which it remembers more than it hears.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { within } from '../core/deadline.ts'
import type { Log } from '../telemetry/log.ts'
import type { RedisUse } from '../telemetry/metrics.ts'
import { type History, PARTS, type Untold } from './history.ts'
import { FILL, NEWS, newsIn, TELL } from './history-scripts.ts'
import { Nonsense } from './limiter.ts'
import { HOUR_MS, OWN_MEMORY } from './past.ts'
import { textOf } from './past-text.ts'
import { type RedisClient, reasonOf } from './redis.ts'

const GROUPS = 16
/** A million clients in all. */
const MOST_OF_GROUP = (1 << 20) / GROUPS
const EVERY_MS = 1000
/** Clients told in one command, and asked for in one. A command takes Redis a few milliseconds at most. */
const TOLD = 250
const ASKED = 1000
/** Clients told each second: what is more waits. */
const TOLD_EACH_TIME = 20 * TOLD
const PAUSE_MS = 5
const STOP_MS = 500
/** How long a starting node waits for what others know. The rest comes while it serves. */
const FILL_MS = 2000
/** Failures are logged no more often than this. */
const LOG_EVERY_MS = 3_600_000

export interface HistorySharingOptions {
  readonly history: History
  readonly client: RedisClient
  /** The prefix of all keys. */
  readonly prefix: string
  /** HISTORY_TTL, in milliseconds. */
  readonly ttlMs: () => number
  /** A number that changes each time Redis comes back; undefined while it is away. */
  readonly upSince: () => number | undefined
  /** Counts one command. */
  readonly watched: <T>(use: RedisUse, answer: Promise<T>) => Promise<T>
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  readonly log: Log
  /** By default every second. */
  readonly everyMs?: number
}

/** Of 16, by the lower half of the address: addresses often end in zeros. */
const groupOf = (key: string): number => Math.imul(Number.parseInt(key.slice(8), 16), 0x9e3779b1) >>> 28

export class HistorySharing {
  readonly #options: HistorySharingOptions
  /** The number of the last change that was heard, by group. */
  readonly #heard = new Array<number>(GROUPS).fill(0)
  /** The name that each group had then. */
  readonly #names = new Array<string>(GROUPS).fill('')
  /** Groups that Redis has lost, and that this node has not filled yet. */
  readonly #lost = new Set<number>()
  readonly #name = randomBytes(8).toString('hex')
  #timer: NodeJS.Timeout | undefined
  #busy: Promise<void> | undefined
  #isStopped = false
  /** When a failure was last logged, by `elapsed`. */
  #loggedAt = Number.NEGATIVE_INFINITY

  constructor(options: HistorySharingOptions) {
    this.#options = options
    options.history.share()
  }

  /** Resolves when all that others know has been read, or after a moment. */
  async start(): Promise<void> {
    this.#timer ??= setInterval(() => void this.#step(), this.#options.everyMs ?? EVERY_MS).unref()
    await within(this.#step(), FILL_MS, () => undefined)
  }

  /** Tells what it can within STOP_MS. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#isStopped = true
    const rest = async (): Promise<void> => {
      await this.#busy
      if (this.#isUp) await this.#tell()
    }
    await within(rest(), STOP_MS).catch(() => undefined)
  }

  get #isUp(): boolean {
    return this.#options.upSince() !== undefined
  }

  /** Never rejects. */
  #step(): Promise<void> {
    if (!this.#isUp) return Promise.resolve()
    this.#busy ??= this.#work()
      .catch((error: unknown) => this.#failed(reasonOf(error)))
      .finally(() => {
        this.#busy = undefined
      })
    return this.#busy
  }

  async #work(): Promise<void> {
    await this.#tell()
    for (let group = 0; group < GROUPS && !this.#isStopped; group++) await this.#ask(group)
    if (this.#lost.size > 0) await this.#fill()
  }

  /** What fails is noted again. */
  async #tell(): Promise<void> {
    const { history } = this.#options
    const groups = new Map<number, Untold[]>()
    for (const each of history.takeUntold(TOLD_EACH_TIME)) {
      const group = groupOf(each.key)
      groups.set(group, [...(groups.get(group) ?? []), each])
    }
    const batches = [...groups].flatMap(([group, all]) => inBatches(all, TOLD).map((batch) => ({ group, batch })))
    const results = await Promise.allSettled(batches.map(({ group, batch }) => this.#tellBatch(group, batch)))
    results.forEach(({ status }, i) => {
      if (status === 'rejected') history.putBack(batches[i]?.batch ?? [])
    })
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  #tellBatch(group: number, batch: readonly Untold[]): Promise<unknown> {
    const hour = Math.max(...batch.map((each) => each.hour))
    const clients = batch.flatMap(({ key, good, bad, since, hour, undone }) => [key, good, bad, since, hour, undone])
    return this.#run(TELL, group, [this.#expiryMs, this.#name, hour, MOST_OF_GROUP, OWN_MEMORY, ...clients])
  }

  /** Hears what has changed in a group. */
  async #ask(group: number): Promise<void> {
    const { history } = this.#options
    for (;;) {
      const heard = this.#heard[group]!
      const answer = await this.#run(NEWS, group, [heard, ASKED])
      const news = newsIn(answer)
      if (news === undefined) throw new Nonsense(answer)
      const before = this.#names[group]
      this.#names[group] = news.group
      if ((before !== news.group && before !== '') || news.seq < heard) {
        this.#lost.add(group)
        this.#heard[group] = 0
        continue
      }
      const more: string[][] = []
      for (const { key, past } of news.changes) {
        const known = past && history.hear(key, past)
        if (known !== undefined) more.push([key, textOf(known)])
      }
      await this.#write(group, more)
      const last = news.changes.at(-1)?.seq ?? news.seq
      const isAll = news.changes.length < ASKED
      // The last change may have been cut in two: it is asked for again. No change has half as many clients.
      this.#heard[group] = isAll ? news.seq : Math.max(heard, last - 1)
      if (isAll || this.#isStopped || this.#heard[group] === heard) return
      await setTimeout(PAUSE_MS, undefined, { ref: false })
    }
  }

  /** Writes all that this node remembers, where Redis knows less. Rejects if Redis fails. */
  writeAll(): Promise<void> {
    for (let group = 0; group < GROUPS; group++) this.#lost.add(group)
    return this.#fill()
  }

  /** Writes what this node remembers of clients that are missing in these groups. */
  async #fill(): Promise<void> {
    const { history } = this.#options
    const groups = new Set(this.#lost)
    for (let part = 0; part < PARTS && !this.#isStopped && this.#isUp; part++) {
      const found = new Map<number, string[][]>()
      history.each(part, (key, past) => {
        const group = groupOf(key)
        if (groups.has(group)) found.set(group, [...(found.get(group) ?? []), [key, textOf(past)]])
      })
      for (const [group, clients] of found) {
        await this.#write(group, clients)
      }
      await setTimeout(PAUSE_MS, undefined, { ref: false })
    }
    if (this.#isUp) for (const group of groups) this.#lost.delete(group)
  }

  /** @param clients fields and values */
  async #write(group: number, clients: readonly string[][]): Promise<void> {
    for (const batch of inBatches(clients, TOLD)) {
      await this.#run(FILL, group, [this.#expiryMs, this.#name, MOST_OF_GROUP, ...batch.flat()])
    }
  }

  #run(script: string, group: number, args: readonly (string | number)[]): Promise<unknown> {
    const { client, prefix, watched } = this.#options
    const key = `${prefix}history:{${group}}`
    return watched('history', client.eval(script, 2, key, `${key}:changes`, ...args))
  }

  /** In whole hours, as they are reckoned in. */
  get #expiryMs(): number {
    return Math.ceil(this.#options.ttlMs() / HOUR_MS) * HOUR_MS
  }

  #failed(reason: string): void {
    const { log, elapsed } = this.#options
    const at = elapsed()
    if (at - this.#loggedAt < LOG_EVERY_MS) return
    this.#loggedAt = at
    log.warn({ err: reason.slice(0, 200) }, 'the history of clients is not shared over Redis')
  }
}

function inBatches<T>(all: readonly T[], size: number): T[][] {
  const batches: T[][] = []
  for (let at = 0; at < all.length; at += size) batches.push(all.slice(at, at + size))
  return batches
}
