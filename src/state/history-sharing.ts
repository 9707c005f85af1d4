/**
 * Shares over Redis what nodes learn of clients (history.ts): all nodes hear of it within seconds, and a restarted node finds it
 * there. No reply and no lesson ever waits for this. Every second, in the background, a node tells what it has learnt, then
 * asks what has changed.
 *
 * Clients are spread over 16 groups by their address (history-scripts.ts says what a group is), and domains are one more. What a node tells
 * is how many messages there were since it last told, so that the nodes add up. A batch without an answer is told again under its number,
 * before anything else is told to its group or heard, and Redis counts it once, whether or not it had arrived.
 *
 * A node remembers the number of the last change that it has heard of each group, and asks for later ones. If the group has
 * another name than before, Redis has lost what it had. Then every node writes what it remembers of clients that are missing
 * there; so does one that has read its history from a file, at its start; and at any time, a node writes what it remembers of a
 * client if that is more than it hears.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { within } from '../core/deadline.ts'
import { HOUR_MS } from '../core/time.ts'
import { isDomainKey } from './domains.ts'
import { type History, PARTS } from './history.ts'
import { FILL, NEWS, newsIn, TELL } from './history-scripts.ts'
import { Nonsense } from './limiter.ts'
import { NET_MEMORY, OWN_MEMORY } from './past.ts'
import { textOf } from './past-text.ts'
import { Rounds } from './rounds.ts'
import type { SharingOptions } from './sharing.ts'
import { SharingFailures } from './sharing-failures.ts'
import type { Untold } from './untold.ts'

const GROUPS_OF_CLIENTS = 16
/** The last group has the domains. */
const OF_DOMAINS = GROUPS_OF_CLIENTS
const GROUPS = GROUPS_OF_CLIENTS + 1
/** A million clients in all. */
const MOST_OF_GROUP = (1 << 20) / GROUPS_OF_CLIENTS
const EVERY_MS = 1000
/** Clients told in one command, and asked for in one. A command takes Redis a few milliseconds at most. */
const TOLD = 250
const ASKED = 1000
/** Clients told each second: what is more waits. */
const TOLD_EACH_TIME = 20 * TOLD
const PAUSE_MS = 5
/** How long a starting node waits for what others know. The rest comes while it serves. */
const FILL_MS = 2000

export interface HistorySharingOptions extends Omit<SharingOptions, 'now' | 'upSince'> {
  readonly history: History
  /** HISTORY_TTL, in milliseconds. */
  readonly ttlMs: () => number
  /** KNOWN_AFTER. */
  readonly knownAfter: () => number
  readonly isUp: () => boolean
  /** By default every second. */
  readonly everyMs?: number
}

interface Batch {
  /** Grows from batch to batch. */
  readonly number: number
  readonly clients: readonly Untold[]
}

/** Of 16, by the lower half of the address: addresses often end in zeros. */
const groupOf = (key: string): number =>
  isDomainKey(key) ? OF_DOMAINS : Math.imul(Number.parseInt(key.slice(8), 16), 0x9e3779b1) >>> 28

export class HistorySharing {
  readonly #options: HistorySharingOptions
  /** The number of the last change that was heard, by group. */
  readonly #heard = new Array<number>(GROUPS).fill(0)
  /** The name that each group had then; empty if it had none, or was not asked for yet. */
  readonly #names = new Array<string>(GROUPS).fill('')
  /** Groups that Redis has lost, and that this node has not filled yet. */
  readonly #lost = new Set<number>()
  /** What no other node is called, nor this one before a restart. */
  readonly #node = randomBytes(8).toString('hex')
  /** By group. */
  readonly #unanswered = new Map<number, Batch>()
  #batches = 0
  readonly #rounds: Rounds

  constructor(options: HistorySharingOptions) {
    this.#options = options
    this.#rounds = new Rounds({
      everyMs: options.everyMs ?? EVERY_MS,
      isDue: options.isUp,
      work: () => this.#work(),
      failures: new SharingFailures(options, 'the history of clients is not shared over Redis'),
    })
    options.history.share()
  }

  /** Resolves when all that others know has been read, or after a moment. What is remembered now is written afterwards. */
  async start(): Promise<void> {
    const isNew = this.#options.history.isEmpty
    await within(this.#rounds.start(), FILL_MS, () => undefined)
    if (!isNew) this.#loseAll()
  }

  /** Tells what it can within half a second. */
  stop(): Promise<void> {
    return this.#rounds.stop(async () => {
      if (this.#isUp) await this.#tell()
    })
  }

  get #isUp(): boolean {
    return this.#options.isUp()
  }

  async #work(): Promise<void> {
    await this.#tell()
    for (let group = 0; group < GROUPS && !this.#rounds.isStopped; group++) await this.#ask(group)
    if (this.#lost.size > 0) await this.#fill()
  }

  /** Rejects if not everything was told; that is told the next time. */
  async #tell(): Promise<void> {
    const untold = Map.groupBy(this.#options.history.takeUntold(TOLD_EACH_TIME), ({ key }) => groupOf(key))
    const groups = new Set([...this.#unanswered.keys(), ...untold.keys()])
    const results = await Promise.allSettled(
      [...groups].map((group) => this.#tellGroup(group, untold.get(group) ?? [])),
    )
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  async #tellGroup(group: number, untold: readonly Untold[]): Promise<void> {
    const waiting = inBatches(untold, TOLD)
    try {
      if (this.#unanswered.has(group)) await this.#tellBatch(group)
      for (let batch = waiting.shift(); batch !== undefined; batch = waiting.shift()) {
        this.#unanswered.set(group, { number: ++this.#batches, clients: batch })
        await this.#tellBatch(group)
      }
    } finally {
      this.#options.history.putBack(waiting.flat())
    }
  }

  /** Tells what has no answer yet. */
  async #tellBatch(group: number): Promise<void> {
    const { number, clients } = this.#unanswered.get(group)!
    const hour = Math.max(...clients.map((each) => each.hour))
    const told = clients.flatMap(({ key, good, bad, since, hour, undone, buckets = -1 }) => [
      key,
      good,
      bad,
      since,
      hour,
      undone,
      buckets,
    ])
    const memory = group === OF_DOMAINS ? NET_MEMORY : OWN_MEMORY
    await this.#change(TELL, group, [number, hour, MOST_OF_GROUP, memory, this.#options.knownAfter(), ...told])
    this.#unanswered.delete(group)
  }

  /** Hears what has changed in a group. One that Redis has lost is filled first, and heard from its beginning the next time. */
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
        return
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
      if (isAll || this.#rounds.isStopped || this.#heard[group] === heard) return
      await setTimeout(PAUSE_MS, undefined, { ref: false })
    }
  }

  /** Writes all that this node remembers, where Redis knows less. Rejects if Redis fails. */
  writeAll(): Promise<void> {
    this.#loseAll()
    return this.#fill()
  }

  #loseAll(): void {
    for (let group = 0; group < GROUPS; group++) this.#lost.add(group)
  }

  /** Writes what this node remembers of clients that are missing in these groups. */
  async #fill(): Promise<void> {
    const { history } = this.#options
    const groups = new Set(this.#lost)
    for (let part = 0; part < PARTS && !this.#rounds.isStopped && this.#isUp; part++) {
      const found: [key: string, value: string][] = []
      history.each(part, (key, past) => {
        if (groups.has(groupOf(key))) found.push([key, textOf(past)])
      })
      for (const [group, clients] of Map.groupBy(found, ([key]) => groupOf(key))) await this.#write(group, clients)
      await setTimeout(PAUSE_MS, undefined, { ref: false })
    }
    if (this.#isUp) for (const group of groups) this.#lost.delete(group)
  }

  /** @param clients fields and values */
  async #write(group: number, clients: readonly string[][]): Promise<void> {
    for (const batch of inBatches(clients, TOLD)) {
      await this.#change(FILL, group, [MOST_OF_GROUP, ...batch.flat()])
    }
  }

  /** With a name for a group that has none: whoever writes first gives it, each time another. */
  async #change(script: string, group: number, args: readonly (string | number)[]): Promise<void> {
    const name = randomBytes(8).toString('hex')
    const seq = await this.#run(script, group, [this.#expiryMs, name, ...args])
    if (seq === 1) this.#names[group] ||= name
  }

  #run(script: string, group: number, args: readonly (string | number)[]): Promise<unknown> {
    const { client, prefix, watched } = this.#options
    const key = `${prefix}history:{${group}}`
    return watched('history', client.eval(script, 3, key, `${key}:changes`, `${key}:told:${this.#node}`, ...args))
  }

  /** In whole hours, as they are reckoned in. */
  get #expiryMs(): number {
    return Math.ceil(this.#options.ttlMs() / HOUR_MS) * HOUR_MS
  }
}

function inBatches<T>(all: readonly T[], size: number): T[][] {
  const batches: T[][] = []
  for (let at = 0; at < all.length; at += size) batches.push(all.slice(at, at + size))
  return batches
}
