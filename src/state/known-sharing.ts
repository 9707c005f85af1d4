/**
 * Shares over Redis what nodes remember of recipients (known-recipients.ts): a restarted node finds it there, and all
 * nodes come to know the same. No reply ever waits for this. It runs in the background, a few sets at a time.
 *
 * A set is one field of at most 1,280 bytes, a key holds 64 sets, and there are 4,096 sets, so that Redis holds no more
 * than a node does. To share a set, a node reads it from Redis, merges it, and writes the result back if it contains
 * more. A script writes only if nobody else has written in the meantime; otherwise the set is shared again. Sets that
 * have changed here go first. The node also cycles through all sets, to learn what others have changed and to fill a
 * Redis that came back empty.
 *
 * Hashes under different secrets have nothing in common, so all nodes use one secret, which the first node puts into
 * Redis. A node that has just started and finds Redis empty must not make the others forget, so a secret that has been
 * in use for an hour replaces one that has not. The names of the keys contain a fingerprint of the secret.
 */
import { createHash } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { DAY_MS } from '../core/time.ts'
import { fingerprintOf, type SharedMemory } from './known-recipients.ts'
import { RECORD, REMEMBERED_DAYS, WAYS } from './known-table.ts'
import { Nonsense } from './limiter.ts'
import { Rounds } from './rounds.ts'
import type { SharingOptions } from './sharing.ts'
import { SharingFailures } from './sharing-failures.ts'

/**
 * ARGV: a secret as in SECRET, expiry in ms. Returns the secret to use from now on, and whether it was there before.
 */
const AGREE = `
local held = redis.call('HMGET', KEYS[1], 'secret')[1]
local used = held
if not held or (string.sub(ARGV[1], 1, 1) == '0' and string.sub(held, 1, 1) ~= '0') then used = ARGV[1] end
redis.call('HSET', KEYS[1], 'secret', used)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {used, (held and string.sub(held, 3) == string.sub(used, 3)) and 1 or 0}
`
/**
 * ARGV: a set, SHA-1 of what was read, its replacement, expiry in ms. Returns 1 if it was replaced, 0 if it had
 * changed.
 */
const REPLACE = `
if redis.sha1hex(redis.call('HMGET', KEYS[1], ARGV[1])[1] or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
`
const EVERY_MS = 250
/** Sets per key, and per write: a charge for a client that is sent after them waits less than a millisecond. */
const GROUP = 64
/** The pause between two keys while a starting node reads them all, so that it has time for its clients. */
const PAUSE_MS = 10
/** The secret is read again after this many steps, and whenever Redis comes back. */
const AGREE_EVERY = 240
const NOTHING = Buffer.alloc(0)
const EXPIRY_MS = (REMEMBERED_DAYS + 1) * DAY_MS
/** The secret outlives what was written under it. */
const SECRET_EXPIRY_MS = 2 * EXPIRY_MS
/** Longer than anything a node writes. */
const LONGEST = 2 * WAYS * RECORD
/** 0 for a secret that has been in use for an hour or 1 for a newer one, then the secret. */
const SECRET = /^([01]):([0-9a-f]{64})$/
/** A node that loses Redis for less than this need not give up its secret for one that was made in the meantime. */
const IN_USE_MS = 3_600_000

export interface KnownSharingOptions extends Omit<SharingOptions, 'now'> {
  readonly memory: SharedMemory
}

export class KnownSharing {
  readonly #options: KnownSharingOptions
  /** The next set in the cycle through all sets. */
  #next = 0
  /** Whether all sets have been read since the secret was adopted. */
  #loaded = false
  /** When the secret was first used, by `elapsed`. */
  #usedSince = Number.POSITIVE_INFINITY
  #sinceAgreed = Number.POSITIVE_INFINITY
  #up: number | undefined
  readonly #rounds: Rounds

  constructor(options: KnownSharingOptions) {
    this.#options = options
    this.#rounds = new Rounds({
      everyMs: EVERY_MS,
      isDue: () => this.#isUp(),
      work: () => this.#work(),
      failures: new SharingFailures(options, 'the recipients accepted lately are not shared over Redis'),
    })
  }

  /** Whether the secret is one that other nodes use, too. */
  get isAgreed(): boolean {
    return this.#usedSince < Number.POSITIVE_INFINITY
  }

  /** Starts in the background. */
  start(): void {
    void this.#rounds.start()
  }

  /** Shares as much of what is not shared yet as it can within half a second. */
  stop(): Promise<void> {
    const { changed } = this.#options.memory
    return this.#rounds.stop(async () => {
      while (this.isAgreed && this.#isUp() && changed.size > 0) await this.#share(this.#changed())
    })
  }

  #isUp(): boolean {
    const up = this.#options.upSince()
    // A Redis that comes back may be a different one, or empty.
    if (up !== this.#up) this.#sinceAgreed = Number.POSITIVE_INFINITY
    this.#up = up
    return up !== undefined
  }

  async #work(): Promise<void> {
    if (this.#sinceAgreed++ >= AGREE_EVERY) await this.#agree()
    while (!this.#loaded && !this.#rounds.isStopped && this.#isUp()) {
      const sets = this.#following(GROUP)
      this.#loaded = this.#next === 0
      await this.#share(sets)
      await setTimeout(PAUSE_MS, undefined, { ref: false })
    }
    await this.#share([...new Set([...this.#changed(), ...this.#following(1)])])
  }

  /** Learns which secret all nodes use. */
  async #agree(): Promise<void> {
    const { memory, client, prefix, watched, elapsed } = this.#options
    const at = elapsed()
    const own = `${at - this.#usedSince >= IN_USE_MS ? 0 : 1}:${memory.secret}`
    const answer = await watched('known', client.eval(AGREE, 1, `${prefix}known`, own, SECRET_EXPIRY_MS))
    const [used, wasThere] = Array.isArray(answer) ? (answer as unknown[]) : []
    const [, kind, secret] = (typeof used === 'string' && SECRET.exec(used)) || []
    // The error does not show the answer, which may contain a secret.
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
    return [...this.#options.memory.changed].slice(0, GROUP)
  }

  #following(count: number): number[] {
    const { sets } = this.#options.memory
    const first = this.#next
    const length = Math.min(count, sets - first)
    this.#next = (first + length) % sets
    return Array.from({ length }, (_, i) => first + i)
  }

  /** Merges these sets with those in Redis. A set that fails is shared again later. */
  async #share(sets: readonly number[]): Promise<void> {
    const { changed } = this.#options.memory
    const groups = new Map<number, number[]>()
    for (const set of sets) {
      changed.delete(set)
      const group = Math.floor(set / GROUP)
      const others = groups.get(group)
      if (others === undefined) groups.set(group, [set])
      else others.push(set)
    }
    const results = await Promise.allSettled([...groups].map(([group, each]) => this.#shareGroup(group, each)))
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  async #shareGroup(group: number, sets: readonly number[]): Promise<void> {
    const { memory, client, prefix, watched } = this.#options
    const key = `${prefix}known:${fingerprintOf(memory.secret)}:${group}`
    try {
      const answer: unknown = await watched('known', client.hmgetBuffer(key, ...sets.map(String)))
      const isSound = Array.isArray(answer) && answer.length === sets.length
      if (!isSound || !answer.every((each) => each === null || Buffer.isBuffer(each))) throw new Nonsense(answer)
      await Promise.all(sets.map((set, i) => this.#shareOne(key, set, (answer[i] as Buffer | null) ?? NOTHING)))
    } catch (error) {
      for (const set of sets) memory.changed.add(set)
      throw error
    }
  }

  /** @param held the records that Redis holds for the set */
  async #shareOne(key: string, set: number, held: Buffer): Promise<void> {
    const { memory, client, watched } = this.#options
    // A value that is not a set is overwritten.
    if (held.length <= LONGEST && held.length % RECORD === 0) memory.merge(set, held)
    const all = memory.read(set)
    if (all.length === 0 || all.equals(held)) return
    const before = createHash('sha1').update(held).digest('hex')
    const replaced = await watched('known', client.eval(REPLACE, 1, key, set, before, all, EXPIRY_MS))
    if (replaced !== 0 && replaced !== 1) throw new Nonsense(replaced)
    // Another node has written in the meantime.
    if (replaced === 0) memory.changed.add(set)
  }
}
