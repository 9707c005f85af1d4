/**
 * Shares over Redis what was put off (returns.ts), so that a message that one node has put off comes back at any other. No reply
 * waits for this. Every second, in the background, a node writes what it has put off and let in since, and reads what all have
 * written.
 *
 * Ten minutes are one string, which only grows: ten octets for each message that was put off, or that was let in when it came
 * back. A node remembers how far it has read. A string takes 1.2 million messages; what would be more is not shared, and each
 * node goes by what it has put off itself. A node that starts reads what the last hour has left, the oldest first.
 *
 * A batch that fails is lost to the others, which is no harm: a message that none but this node has put off is put off again
 * at another one, and then counts there too. If Redis comes back empty, the others know already what was in it.
 *
 * The key has a fingerprint of the secret that the hashes are made with (known-sharing.ts agrees on it): of another one nothing
 * is read.
 */
import { setTimeout } from 'node:timers/promises'
import { within } from '../core/deadline.ts'
import type { RedisUse } from '../telemetry/metrics.ts'
import { Nonsense } from './limiter.ts'
import type { RedisClient } from './redis.ts'
import type { Returns, Told } from './returns.ts'
import { SharingFailures, type SharingFailuresOptions } from './sharing-failures.ts'

/** ARGV: messages, the most octets of a string, expiry in ms. Returns how many octets it has. */
const TELL = `
local length = redis.call('STRLEN', KEYS[1])
if length + #ARGV[1] > tonumber(ARGV[2]) then return length end
length = redis.call('APPEND', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return length
`
const EVERY_MS = 1000
const STOP_MS = 500
/** The octets of a message. */
export const RECORD = 10
export const SLICE_MS = 600_000
/** Strings before the one that is being written. With it, 84 MB at most, whatever comes. */
const EARLIER = 6
/** 2,000 messages a second. */
export const MOST_OF_SLICE = 1_200_000 * RECORD
const EXPIRY_MS = (EARLIER + 1) * SLICE_MS
/** A string that is over is read for so long, because the clock of another node may be late. */
const LATE_MS = 5000
/** What is read at a time: a command takes Redis, and this process, less than a millisecond. */
const CHUNK = 6000 * RECORD
const PAUSE_MS = 5
/** In the word of the set: the message was let in. */
const SPENT = 0x8000_0000

export interface ReturnsSharingOptions extends SharingFailuresOptions {
  readonly returns: Returns
  readonly client: RedisClient
  /** The prefix of all keys. */
  readonly prefix: string
  /** A number that changes each time Redis comes back; undefined while it is away. */
  readonly upSince: () => number | undefined
  /** Counts one command. */
  readonly watched: <T>(use: RedisUse, answer: Promise<T>) => Promise<T>
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

export class ReturnsSharing {
  readonly #options: ReturnsSharingOptions
  /** The string that is being read, and how much of it has been. */
  #slice = 0
  #read = 0
  #fingerprint = ''
  #up: number | undefined
  #timer: NodeJS.Timeout | undefined
  #busy: Promise<void> | undefined
  #isStopped = false
  readonly #failures: SharingFailures

  constructor(options: ReturnsSharingOptions) {
    this.#options = options
    this.#failures = new SharingFailures(options, 'what was put off is not shared over Redis')
    options.returns.share()
  }

  /** Starts in the background. */
  start(): void {
    this.#timer ??= setInterval(() => void this.step(), EVERY_MS).unref()
    void this.step()
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

  /** Tells, and hears all that there is. Called once a second; never rejects. */
  step(): Promise<void> {
    if (!this.#isUp) return Promise.resolve()
    this.#busy ??= this.#work()
      .catch((error: unknown) => this.#failures.tell(error))
      .finally(() => {
        this.#busy = undefined
      })
    return this.#busy
  }

  async #work(): Promise<void> {
    await this.#tell()
    const { returns, now, upSince } = this.#options
    const { fingerprint } = returns
    const up = upSince()
    const first = sliceOf(now()) - EARLIER
    // A Redis that comes back may be empty. What is heard twice changes nothing.
    if (up !== this.#up) this.#begin(this.#slice)
    if (fingerprint !== this.#fingerprint || this.#slice < first) this.#begin(first)
    this.#up = up
    this.#fingerprint = fingerprint
    while (!this.#isStopped && this.#isUp) {
      const isMore = await this.#hear()
      if (isMore) await setTimeout(PAUSE_MS, undefined, { ref: false })
      else if (!this.#isOver) return
      else this.#begin(this.#slice + 1)
    }
  }

  #begin(slice: number): void {
    this.#slice = slice
    this.#read = 0
  }

  /** Whether nobody writes to the string any more. */
  get #isOver(): boolean {
    return this.#options.now() >= (this.#slice + 1) * SLICE_MS + LATE_MS
  }

  async #tell(): Promise<void> {
    const { returns, client, now, watched } = this.#options
    const told = returns.takeUntold()
    if (told.length === 0) return
    const key = this.#keyOf(sliceOf(now()))
    await watched('returns', client.eval(TELL, 1, key, recordsOf(told), MOST_OF_SLICE, EXPIRY_MS))
  }

  /** Reads on. @returns whether there is more */
  async #hear(): Promise<boolean> {
    const { returns, client, watched } = this.#options
    const key = this.#keyOf(this.#slice)
    const answer: unknown = await watched('returns', client.getrangeBuffer(key, this.#read, this.#read + CHUNK - 1))
    if (!Buffer.isBuffer(answer) || answer.length > CHUNK) throw new Nonsense('no messages')
    const whole = answer.length - (answer.length % RECORD)
    this.#read += whole
    for (let at = 0; at < whole; at += RECORD) returns.hear(toldIn(answer, at))
    return whole === CHUNK
  }

  #keyOf(slice: number): string {
    const { prefix, returns } = this.#options
    return `${prefix}returns:${returns.fingerprint}:${slice}`
  }
}

const sliceOf = (now: number): number => Math.floor(now / SLICE_MS)

function recordsOf(told: readonly Told[]): Buffer {
  const records = Buffer.allocUnsafe(told.length * RECORD)
  told.forEach(({ set, word, second, isSpent }, i) => {
    records.writeUInt32LE((set | (isSpent ? SPENT : 0)) >>> 0, i * RECORD)
    records.writeUInt32LE(word, i * RECORD + 4)
    records.writeUInt16LE(second, i * RECORD + 8)
  })
  return records
}

function toldIn(records: Buffer, at: number): Told {
  const set = records.readUInt32LE(at)
  return {
    set: set & ~SPENT,
    word: records.readUInt32LE(at + 4),
    second: records.readUInt16LE(at + 8),
    isSpent: set >= SPENT,
  }
}
