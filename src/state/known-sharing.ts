/**
 * What nodes remember of recipients (known-recipients.ts), put together over Redis: a node that starts again finds it there, and
 * all nodes come to know the same. Never in the way of a reply: it goes on in the background, a few sets at a time.
 *
 * A set is one value of at most 1,280 bytes, and 4,096 sets are all there is, so Redis holds no more than a node does. To
 * share a set is to read what Redis has, to take it in, and to write what both know where that is more; a script writes only
 * where nobody has written meanwhile, else it is done over. What has changed here goes first; beside that all sets are gone
 * through again and again, to learn what others have changed, and to fill a Redis that came back empty.
 *
 * Hashes of different secrets have nothing in common, so all nodes use one, which the first of them puts into Redis. A node that
 * has just started, and comes first to a Redis that is empty, must not make the others forget: a secret that was in use for an hour
 * takes the place of one that was not. A fingerprint of the secret stands in the names of the values.
 */
import { createHash } from 'node:crypto'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { RedisUse } from '../telemetry/metrics.ts'
import { within } from './deadline.ts'
import { fingerprintOf, type SharedMemory } from './known-recipients.ts'
import { RECORD, REMEMBERED_DAYS, WAYS } from './known-table.ts'
import { Nonsense } from './limiter.ts'
import type { RedisClient } from './redis.ts'

/** ARGV: a secret (SECRET), expiry in ms. Returns the one that all use from now on, and whether it was there. */
const AGREE = `
local held = redis.call('GET', KEYS[1])
local used = held
if not held or (string.sub(ARGV[1], 1, 1) == '0' and string.sub(held, 1, 1) ~= '0') then used = ARGV[1] end
redis.call('SET', KEYS[1], used, 'PX', ARGV[2])
return {used, (held and string.sub(held, 3) == string.sub(used, 3)) and 1 or 0}
`
/** ARGV: SHA-1 of what was read, what takes its place, expiry in ms. Returns whether it was still there, and is replaced. */
const REPLACE = `
if redis.sha1hex(redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
`
const EVERY_MS = 250
/** Sets in one write: a question of a client that comes behind them waits for less than a millisecond. */
const BATCH = 64
/** The secret is looked at every so many times, and whenever Redis is back. */
const AGREE_EVERY = 240
const DAY_MS = 86_400_000
const EXPIRY_MS = (REMEMBERED_DAYS + 1) * DAY_MS
/** It outlives what was written with it. */
const SECRET_EXPIRY_MS = 2 * EXPIRY_MS
/** No set is longer, but two nodes may disagree on which records to keep. */
const LONGEST = 2 * WAYS * RECORD
/** 0 where it was in use for a while, 1 where it was made lately; then the secret. */
const SECRET = /^([01]):([0-9a-f]{64})$/
/** How long nodes that were away have to come back, before a secret made meanwhile is as good as theirs. */
const IN_USE_MS = 3_600_000

export interface KnownSharingOptions {
  readonly memory: SharedMemory
  readonly client: RedisClient
  /** Of all keys. */
  readonly prefix: string
  readonly timeoutMs: number
  /** Since when Redis is asked, as a number that is another after each absence; undefined: it is not. */
  readonly upSince: () => number | undefined
  /** Counts a command. */
  readonly watched: <T>(use: RedisUse, answer: Promise<T>) => Promise<T>
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  readonly log: Log
}

export class KnownSharing {
  readonly #options: KnownSharingOptions
  #timer: NodeJS.Timeout | undefined
  #busy: Promise<void> | undefined
  /** The set that is looked at next on the way through all. */
  #next = 0
  /** Whether all sets were looked at since the secret was agreed on. */
  #loaded = false
  /** When the secret was first used, by `elapsed`; before that, for ever. */
  #usedSince = Number.POSITIVE_INFINITY
  #sinceAgreed = Number.POSITIVE_INFINITY
  #up: number | undefined
  /** What went wrong last; one line for each kind of it. */
  #trouble = ''

  constructor(options: KnownSharingOptions) {
    this.#options = options
  }

  /** Begins, without waiting for anything. */
  start(): void {
    this.#timer ??= setInterval(() => this.#step(), EVERY_MS).unref()
    this.#step()
  }

  /** Shares what it has not shared yet, as far as that is done in time. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    const { memory, timeoutMs } = this.#options
    const rest = async (): Promise<void> => {
      await this.#busy
      while (this.#isUp() && this.#loaded && memory.changed.size > 0) await this.#share(this.#changed())
    }
    await within(rest(), timeoutMs).catch(() => undefined)
  }

  #step(): void {
    if (!this.#isUp()) return
    this.#busy ??= this.#work()
      .then(() => {
        this.#trouble = ''
      })
      .catch((error: unknown) => this.#failed(messageOf(error)))
      .finally(() => {
        this.#busy = undefined
      })
  }

  #isUp(): boolean {
    const up = this.#options.upSince()
    // It may have come back as another, or empty.
    if (up !== this.#up) this.#sinceAgreed = Number.POSITIVE_INFINITY
    this.#up = up
    return up !== undefined
  }

  async #work(): Promise<void> {
    if (this.#sinceAgreed++ >= AGREE_EVERY) await this.#agree()
    while (!this.#loaded && this.#isUp()) {
      const sets = this.#following(BATCH)
      this.#loaded = this.#next === 0
      await this.#share(sets)
    }
    await this.#share([...new Set([...this.#changed(), ...this.#following(1)])])
  }

  /** Finds out which secret all nodes use. */
  async #agree(): Promise<void> {
    const { memory, client, prefix, watched, elapsed } = this.#options
    const at = elapsed()
    const own = `${at - this.#usedSince >= IN_USE_MS ? 0 : 1}:${memory.secret}`
    const answer = await watched('known', client.eval(AGREE, 1, `${prefix}known`, own, SECRET_EXPIRY_MS))
    const [used, wasThere] = Array.isArray(answer) ? (answer as unknown[]) : []
    const [, kind, secret] = (typeof used === 'string' && SECRET.exec(used)) || []
    // Not told what it was: it may be the secret.
    if (secret === undefined) throw new Nonsense('no secret')
    const isOther = secret !== memory.secret
    if (kind === '0') this.#usedSince = Number.NEGATIVE_INFINITY
    else if (isOther || this.#usedSince > at) this.#usedSince = at
    if (isOther) {
      memory.adopt(secret)
      this.#loaded = false
      this.#next = 0
    } else if (wasThere !== 1) {
      for (let set = 0; set < memory.sets; set++) if (memory.read(set).length > 0) memory.changed.add(set)
    }
    this.#sinceAgreed = 0
  }

  #changed(): number[] {
    return [...this.#options.memory.changed].slice(0, BATCH)
  }

  #following(count: number): number[] {
    const { sets } = this.#options.memory
    const first = this.#next
    const length = Math.min(count, sets - first)
    this.#next = (first + length) % sets
    return Array.from({ length }, (_, i) => first + i)
  }

  /** Brings these sets together with what Redis has of them. What fails is done over. */
  async #share(sets: readonly number[]): Promise<void> {
    const { memory } = this.#options
    for (const set of sets) memory.changed.delete(set)
    const results = await Promise.allSettled(sets.map((set) => this.#shareOne(set)))
    let failure: unknown
    results.forEach((result, i) => {
      if (result.status === 'fulfilled' && result.value) return
      memory.changed.add(sets[i] as number)
      if (result.status === 'rejected') failure ??= result.reason
    })
    if (failure !== undefined) throw failure
  }

  /** @returns false where another node has written meanwhile */
  async #shareOne(set: number): Promise<boolean> {
    const { memory, client, prefix, watched } = this.#options
    const secret = memory.secret
    const key = `${prefix}known:${fingerprintOf(secret)}:${set}`
    const answer: unknown = (await watched('known', client.getBuffer(key))) ?? Buffer.alloc(0)
    if (!Buffer.isBuffer(answer)) throw new Nonsense(answer)
    const isSound = answer.length <= LONGEST && answer.length % RECORD === 0
    // What is no set is written over.
    if (isSound) memory.merge(set, answer)
    const all = memory.read(set)
    if (all.equals(answer) || all.length === 0) return true
    const before = createHash('sha1').update(answer).digest('hex')
    const replaced = await watched('known', client.eval(REPLACE, 1, key, before, all, EXPIRY_MS))
    if (replaced !== 0 && replaced !== 1) throw new Nonsense(replaced)
    return replaced === 1
  }

  #failed(reason: string): void {
    if (reason === this.#trouble) return
    this.#trouble = reason
    this.#options.log.warn({ err: reason.slice(0, 200) }, 'recipients taken lately are not shared over Redis')
  }
}
