/**
 * Keeps sessions in Redis for seven days, so that any node can explain what any of them has turned away (core/kept-session.ts says which).
 * No session waits for this, and a connection that is refused costs no command of its own: once a second, in the background, a
 * node writes what it has kept since, many sessions in one command. Only who asks for an explanation waits for an answer.
 *
 * Each kind has two keys in one slot: a hash of the sessions by their ids, and a sorted set that all of them are found in, by id, by
 * source and by sender, each in the order of time, because an id begins with the second. Each kind has room of its own. What
 * is older than seven days goes, and where there is no room the oldest go: no flood of one kind pushes out another.
 */
import { setTimeout } from 'node:timers/promises'
import { within } from '../core/deadline.ts'
import { digitsOfTime } from '../core/id.ts'
import type { Network } from '../core/ip.ts'
import { KEPT_KINDS, KEPT_MS, type KeptKind, type KeptSession, latestOf } from '../core/kept-session.ts'
import { recordOf } from '../core/record.ts'
import {
  keyOfSource,
  keysOfNetwork,
  keysOfSender,
  NO_SENDER,
  type SenderKeys,
  sessionIn,
  textOfSession,
} from './kept-session-text.ts'
import { Nonsense } from './limiter.ts'
import type { SharingOptions } from './sharing.ts'
import { SharingFailures } from './sharing-failures.ts'

/**
 * ARGV: how many have room, the digits of an id that is too old, expiry in ms, the most that go at a time; then for each session its id,
 * and its text with what it is found by. Written once more, a session takes its own place.
 */
const TELL = `
local function leave(id)
  local text = redis.call('HMGET', KEYS[1], id)[1]
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], 'i' .. id)
  local source, sender = string.match(text or '', '^(%S+) (%S+) ')
  if source then redis.call('ZREM', KEYS[2], source .. ' ' .. id, sender .. ' ' .. id) end
end
for i = 5, #ARGV, 2 do
  local id, text = ARGV[i], ARGV[i + 1]
  leave(id)
  local source, sender = string.match(text, '^(%S+) (%S+) ')
  redis.call('HSET', KEYS[1], id, text)
  redis.call('ZADD', KEYS[2], 0, 'i' .. id, 0, source .. ' ' .. id)
  if sender ~= '-' then redis.call('ZADD', KEYS[2], 0, sender .. ' ' .. id) end
end
local over = redis.call('HLEN', KEYS[1]) - ARGV[1]
for i, member in ipairs(redis.call('ZRANGE', KEYS[2], '[i', '(j', 'BYLEX', 'LIMIT', 0, ARGV[4])) do
  local id = string.sub(member, 2)
  if i > over and id >= ARGV[2] then break end
  leave(id)
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[3]) end
return redis.call('HLEN', KEYS[1])
`
/** ARGV: the first and the last member, the most of them to look at, and to return. Returns the texts, the latest first. */
const FIND = `
local ids, texts = {}, {}
for i, member in ipairs(redis.call('ZRANGE', KEYS[2], ARGV[2], ARGV[1], 'BYLEX', 'REV', 'LIMIT', 0, ARGV[3])) do
  ids[i] = string.sub(member, -11)
end
table.sort(ids, function(a, b) return a > b end)
for i = 1, math.min(#ids, tonumber(ARGV[4])) do texts[#texts + 1] = redis.call('HMGET', KEYS[1], ids[i])[1] or '' end
return texts
`
const EVERY_MS = 1000
const STOP_MS = 500
const PAUSE_MS = 5
/** How long somebody who asks waits for Redis, at most twice in a row: a parent waits a second for its workers. */
const ASKED_MS = 400
/** Sessions in one command: it takes Redis about a millisecond. */
const BATCH = 32
/** Sessions that go at a time, for want of room or of age. */
const MOST_LEAVING = 200
/** Sessions of a network that are looked at, of each kind. */
const MOST_OF_NETWORK = 1000

/** Of each kind: its share of the room there is, what all nodes together write in a second, and what waits to be told. */
const KINDS: Readonly<
  Record<KeptKind, { readonly share: number; readonly perSecond: number; readonly waiting: number }>
> = {
  known: { share: 0.4, perSecond: 64, waiting: 2048 },
  seen: { share: 0.2, perSecond: 32, waiting: 1024 },
  plausible: { share: 0.2, perSecond: 16, waiting: 1024 },
  sampled: { share: 0.1, perSecond: 8, waiting: 64 },
  served: { share: 0.1, perSecond: 8, waiting: 256 },
}

interface Waiting {
  readonly session: KeptSession
  readonly sender: string | undefined
}

/** What is looked for. */
export type Sought =
  | { readonly id: string }
  | { readonly source: string }
  | { readonly network: Network }
  | { readonly sender: string }

export interface KeptSessionsOptions extends SharingOptions {
  /** The number of live nodes, including this one. */
  readonly nodes: () => number
  /** How many sessions Redis keeps; 0: none. */
  readonly most: () => number
  readonly senderKeys: () => SenderKeys
}

export class KeptSessions {
  readonly #options: KeptSessionsOptions
  readonly #failures: SharingFailures
  readonly #waiting = recordOf(KEPT_KINDS, (): Waiting[] => [])
  /** Sessions that were to be told and had no place: the next one stands for them. */
  readonly #lost: Record<KeptKind, number> = { ...recordOf(KEPT_KINDS, () => 0) }
  /** What is left of a session that this node might have written: its part of many nodes is less than one a second. They begin apart. */
  readonly #left: Record<KeptKind, number> = { ...recordOf(KEPT_KINDS, () => Math.random()) }
  #timer: NodeJS.Timeout | undefined
  #busy: Promise<void> | undefined

  constructor(options: KeptSessionsOptions) {
    this.#options = options
    this.#failures = new SharingFailures(options, 'sessions are not kept in Redis for explanations')
  }

  /** Starts in the background. */
  start(): void {
    this.#timer ??= setInterval(() => void this.step(), EVERY_MS).unref()
  }

  /** Tells what it can within STOP_MS. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    const rest = async (): Promise<void> => {
      await this.#busy
      if (this.isUp) await this.#tell(Number.POSITIVE_INFINITY)
    }
    await within(rest(), STOP_MS).catch(() => undefined)
  }

  /** @param sender as senderOf() gives it; kept in memory until it is told, and in Redis as its HMAC */
  note(kind: KeptKind, session: KeptSession, sender: string | undefined): void {
    if (this.#options.most() === 0) return
    const waiting = this.#waiting[kind]
    if (waiting.length >= KINDS[kind].waiting) this.#lost[kind] += waiting.shift()?.session.sample ?? 0
    const sample = session.sample + this.#lost[kind]
    this.#lost[kind] = 0
    waiting.push({ session: sample === session.sample ? session : { ...session, sample }, sender })
  }

  /** Tells what is due. Called once a second; never rejects. */
  step(): Promise<void> {
    if (!this.isUp) return Promise.resolve()
    this.#busy ??= this.#tell(1 / this.#options.nodes())
      .catch((error: unknown) => this.#failures.tell(error))
      .finally(() => {
        this.#busy = undefined
      })
    return this.#busy
  }

  /** The latest first. Rejects if Redis does not answer, or answers nonsense. @param most of all kinds together */
  async find(sought: Sought, most: number): Promise<KeptSession[]> {
    const ranges = this.#ranges(sought)
    if (ranges.length === 0) throw new Error('the nodes have not agreed on a secret yet')
    const asked = KEPT_KINDS.flatMap((kind) => ranges.map((range) => this.#findIn(kind, range, most)))
    return latestOf(await within(Promise.all(asked), ASKED_MS), most)
  }

  /** Whether Redis can be asked. */
  get isUp(): boolean {
    return this.#options.upSince() !== undefined
  }

  #ranges(sought: Sought): readonly (readonly [first: string, last: string])[] {
    if ('id' in sought) return [[`i${sought.id}`, `i${sought.id}`]]
    if ('network' in sought) {
      const [first, last] = keysOfNetwork(sought.network)
      return [[`${first} `, `${last}!`]]
    }
    const keys =
      'source' in sought ? [keyOfSource(sought.source)] : keysOfSender(sought.sender, this.#options.senderKeys())
    // A space is before '!', and no key has either.
    return keys.map((key) => [`${key} `, `${key}!`])
  }

  async #findIn(kind: KeptKind, [first, last]: readonly [string, string], most: number): Promise<KeptSession[]> {
    // Those of one source, or one sender, are in the order of time.
    const isOne = first.slice(0, -1) === last.slice(0, -1)
    const args = [`[${first}`, `[${last}`, isOne ? most : MOST_OF_NETWORK, most]
    const answer = await this.#run(FIND, kind, args)
    if (!Array.isArray(answer) || answer.length > most) throw new Nonsense('no sessions')
    return answer.flatMap((text) => sessionIn(text) ?? [])
  }

  /** @param part of what all nodes together write in a second */
  async #tell(part: number): Promise<void> {
    const keys = this.#options.senderKeys()
    // Under a secret of its own nobody else would find them. The nodes agree within a second.
    if (keys.log === undefined && keys.agreed === undefined) return
    for (const kind of KEPT_KINDS) {
      const waiting = this.#waiting[kind]
      let due = Math.min(waiting.length, this.#most(kind, part))
      while (due > 0) {
        const batch = waiting.splice(0, Math.min(due, BATCH))
        due -= batch.length
        await this.#tellBatch(kind, batch, keys)
        if (due > 0) await setTimeout(PAUSE_MS, undefined, { ref: false })
      }
    }
  }

  /** How many of a kind may be written now. */
  #most(kind: KeptKind, part: number): number {
    const most = this.#left[kind] + KINDS[kind].perSecond * part
    const whole = Math.floor(most)
    this.#left[kind] = most - whole
    return whole
  }

  async #tellBatch(kind: KeptKind, batch: readonly Waiting[], keys: SenderKeys): Promise<void> {
    const room = Math.ceil(this.#options.most() * KINDS[kind].share)
    const tooOld = digitsOfTime(this.#options.now() - KEPT_MS)
    const told = batch.flatMap(({ session, sender }) => {
      const [key = NO_SENDER] = sender === undefined ? [] : keysOfSender(sender, keys)
      return [session.id, textOfSession(session, key)]
    })
    try {
      const count = await this.#run(TELL, kind, [room, tooOld, KEPT_MS, MOST_LEAVING, ...told])
      if (typeof count !== 'number') throw new Nonsense(count)
    } catch (error) {
      // They are told the next time, as far as there is a place; a session that has arrived all the same takes its own place then.
      const waiting = this.#waiting[kind]
      const over = Math.max(0, waiting.length + batch.length - KINDS[kind].waiting)
      waiting.unshift(...batch.slice(over))
      for (const { session } of batch.slice(0, over)) this.#lost[kind] += session.sample
      throw error
    }
  }

  #run(script: string, kind: KeptKind, args: readonly (string | number)[]): Promise<unknown> {
    const { client, prefix, watched } = this.#options
    const key = `${prefix}sessions:{${kind}}`
    return watched('sessions', client.eval(script, 2, key, `${key}:found`, ...args))
  }
}
