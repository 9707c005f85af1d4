/**
 * Shares what nodes note over Redis, in strings that only grow. Every second, in the background, a node appends what it has noted
 * since, and reads what all have written; no reply waits for this. A string is for one slice of time, and is forgotten when it is
 * as old as what is in it may be. A node remembers how far it has read; one that starts reads the strings that are left, the oldest
 * first. A string that is full takes no more, and a batch that fails is lost to the others.
 *
 * The key has a fingerprint of the secret that the hashes are made with (known-sharing.ts agrees on it): of another one nothing
 * is read.
 */
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { RedisUse } from '../telemetry/metrics.ts'
import { Nonsense } from './limiter.ts'
import { Rounds } from './rounds.ts'
import type { SharingOptions } from './sharing.ts'
import { SharingFailures } from './sharing-failures.ts'

/** ARGV: records, the most octets of a string, expiry in ms. Returns how many octets it has; -1: they have no room. */
const TELL = `
local length = redis.call('STRLEN', KEYS[1])
if length + #ARGV[1] > tonumber(ARGV[2]) then return -1 end
length = redis.call('APPEND', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return length
`
const EVERY_MS = 1000
/** The rest of the slice is told to nobody. */
export const FULL = 'there is no room for more at this time'
/** A string that is over is read for so long, because the clock of another node may be late. */
const LATE_MS = 5000
/** How many records are read at a time: a command takes Redis less than a millisecond. */
const CHUNK = 6000
/** How many of them are heard before others have their turn: those of offenders, the dearest, take 2.5 ms. */
export const AT_ONCE = 500
const PAUSE_MS = 5

/** What a node notes, and hears of others. */
export interface Noted<T> {
  /** From now on what is noted is kept for other nodes, until it is taken. */
  share(): void
  takeUntold(): readonly T[]
  hear(told: T): void
  /** What hashes under the same secret have in common. */
  readonly fingerprint: string
}

/** How it is written. */
export interface Strings<T> {
  /** In the keys, and what commands are counted for. */
  readonly use: RedisUse & string
  /** What is missing while it fails, for the log. */
  readonly failure: string
  /** The octets of a record. */
  readonly record: number
  readonly sliceMs: number
  /** Strings before the one that is being written. */
  readonly earlier: number
  /** The most octets of a string. */
  readonly mostOfSlice: number
  write(told: T, records: Buffer, at: number): void
  read(records: Buffer, at: number): T
}

/** Of a test or a limit that may be switched off: then nothing is told, and nothing is heard. */
export interface SwitchedSharing extends SharingOptions {
  readonly isInUse?: () => boolean
}

export class SharedStrings<T> {
  readonly #options: SwitchedSharing
  readonly #noted: Noted<T>
  readonly #strings: Strings<T>
  /** The string that is being read, and how much of it has been. */
  #slice = 0
  #read = 0
  #fingerprint = ''
  #up: number | undefined
  readonly #failures: SharingFailures
  readonly #rounds: Rounds

  constructor(options: SwitchedSharing, noted: Noted<T>, strings: Strings<T>) {
    this.#options = options
    this.#noted = noted
    this.#strings = strings
    this.#failures = new SharingFailures(options, strings.failure)
    this.#rounds = new Rounds({
      everyMs: EVERY_MS,
      isDue: () => this.#isUp && options.isInUse?.() !== false,
      work: () => this.#work(),
      failures: this.#failures,
    })
    noted.share()
  }

  /** Starts in the background. */
  start(): void {
    void this.#rounds.start()
  }

  /** Tells what it can within half a second. */
  stop(): Promise<void> {
    return this.#rounds.stop(async () => {
      if (this.#isUp) await this.#tell()
    })
  }

  /** Tells, and hears all that there is. Called once a second; never rejects. */
  step(): Promise<void> {
    return this.#rounds.step()
  }

  get #isUp(): boolean {
    return this.#options.upSince() !== undefined
  }

  async #work(): Promise<void> {
    await this.#tell()
    const { fingerprint } = this.#noted
    const up = this.#options.upSince()
    const first = this.#present - this.#strings.earlier
    // A Redis that comes back may be empty. What is heard twice changes nothing.
    if (up !== this.#up) this.#begin(this.#slice)
    // A clock that was ahead has been set.
    const isAhead = this.#slice > this.#present
    if (fingerprint !== this.#fingerprint || this.#slice < first || isAhead) this.#begin(first)
    this.#up = up
    this.#fingerprint = fingerprint
    while (!this.#rounds.isStopped && this.#isUp) {
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
    return this.#options.now() >= (this.#slice + 1) * this.#strings.sliceMs + LATE_MS
  }

  get #present(): number {
    return Math.floor(this.#options.now() / this.#strings.sliceMs)
  }

  async #tell(): Promise<void> {
    await this.write(this.#noted.takeUntold())
  }

  /** Appends these to the string of this time. Rejects if Redis fails. @returns false if they have no room */
  protected async write(told: readonly T[]): Promise<boolean> {
    const { client, watched } = this.#options
    const { use, record, mostOfSlice, earlier, sliceMs } = this.#strings
    if (told.length === 0) return true
    const records = Buffer.allocUnsafe(told.length * record)
    told.forEach((each, i) => void this.#strings.write(each, records, i * record))
    const key = this.#keyOf(this.#present)
    const length = await watched(use, client.eval(TELL, 1, key, records, mostOfSlice, (earlier + 1) * sliceMs))
    if (length === -1) this.#failures.tell(new Error(FULL))
    // Redis has lost what it had, without a connection that was lost.
    else if (typeof length === 'number' && length - records.length < this.#read && this.#slice === this.#present)
      this.#begin(this.#slice)
    return length !== -1
  }

  /** Reads on, as far as a string may go. @returns whether there is more */
  async #hear(): Promise<boolean> {
    const { client, watched } = this.#options
    const { use, record, mostOfSlice } = this.#strings
    if (this.#read >= mostOfSlice) return false
    const most = CHUNK * record
    const key = this.#keyOf(this.#slice)
    const answer: unknown = await watched(use, client.getrangeBuffer(key, this.#read, this.#read + most - 1))
    if (!Buffer.isBuffer(answer) || answer.length > most) throw new Nonsense('no records')
    const whole = answer.length - (answer.length % record)
    this.#read += whole
    for (let at = 0; at < whole; at += record) {
      if (at > 0 && at % (AT_ONCE * record) === 0) await setImmediate()
      this.#noted.hear(this.#strings.read(answer, at))
    }
    return whole === most
  }

  #keyOf(slice: number): string {
    return `${this.#options.prefix}${this.#strings.use}:${this.#noted.fingerprint}:${slice}`
  }
}
