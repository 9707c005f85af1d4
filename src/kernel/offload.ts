/**
 * Keeps the kernel's table as kernel-sets.ts wants it: in the background, in batches, once a second. No reply waits for it. If it
 * does not work, clients are refused over SMTP as before; it is told once, and tried again.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { within } from '../core/deadline.ts'
import { messageOf } from '../core/errors.ts'
import { type Hearing, KERNEL_REASONS, type KernelReason, type Sentence } from '../core/kernel.ts'
import type { Log } from '../telemetry/log.ts'
import type { Cell } from '../telemetry/series.ts'
import { Hearings } from './hearings.ts'
import { KernelSets } from './kernel-sets.ts'
import type { Nft } from './nft.ts'
import { changing, creation, type Listening, type Listing, listingOf, tableName } from './ruleset.ts'

const TURN_MS = 1000
/** Commands of one batch; nft takes some 20 ms for them. */
const MOST_CHANGES = 5000
/** Packets are counted so often, and at most for this share of the time: with full sets nft takes half a second to read them. */
const COUNT_MS = 2000
const COUNT_SHARE = 1 / 50
/** Whether sources still deserve it is asked so often, and whenever the operator has changed something. */
const REVIEW_MS = 60_000
/** Sources that are asked about in one turn of the event loop: some milliseconds. */
const REVIEWED_AT_ONCE = 2000
const RETRY_MS = 30_000
const STOP_MS = 3000

export interface KernelOffloadOptions {
  readonly nft: Nft
  /** Why a source is turned away, as of now; undefined: it is not, or part of it is not. */
  readonly sentenceOf: (source: string) => Sentence | undefined
  /** Whether the operator has changed something since this was asked last. */
  readonly isChanged: () => boolean
  readonly dropped: Readonly<Record<KernelReason, Cell>>
  readonly log: Log
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly sets?: KernelSets
}

/** The condition of the kernel's table. */
export interface KernelReport {
  /** starting: not made yet; replaced: another process has made it anew, and keeps it until it ends. */
  readonly state: 'starting' | 'up' | 'failing' | 'replaced'
  /** Milliseconds since the epoch. */
  readonly since: number
  readonly error?: string
  /** Sources that the kernel should know. */
  readonly held: number
}

export class KernelOffload {
  readonly #options: KernelOffloadOptions
  readonly #hearings = new Hearings()
  readonly #sets: KernelSets
  #state: Omit<KernelReport, 'held'>
  #listening: readonly Listening[] = []
  #table = ''
  /** That of the table; 0: none is made yet. */
  #handle = 0
  #counted: Listing['packets'] = { banned: 0, denied: 0 }
  #due = { retry: 0, count: 0, review: 0 }
  #timer: NodeJS.Timeout | undefined
  #turning: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(options: KernelOffloadOptions) {
    this.#options = options
    this.#sets = options.sets ?? new KernelSets()
    this.#state = { state: 'starting', since: options.now() }
  }

  /** Makes the table, in the background, and keeps it from then on. @param listening where clients connect */
  start(listening: readonly Listening[]): void {
    if (this.#table !== '') return
    this.#listening = listening
    this.#table = tableName(listening)
    this.#turnAround()
  }

  /** A source has heard that it is refused. */
  heard(hearing: Hearing): void {
    const { sentenceOf, now } = this.#options
    const { source } = hearing
    const at = now()
    if (this.#isStopped || this.#sets.has(source, at) || !this.#hearings.note(hearing, at)) return
    const sentence = sentenceOf(source)
    if (sentence !== undefined) this.#sets.hold(source, sentence, at)
  }

  report(): KernelReport {
    return { ...this.#state, held: this.#sets.size }
  }

  /** Removes the table. Resolves when it is gone, or after three seconds. */
  async stop(): Promise<void> {
    if (this.#isStopped) return
    this.#isStopped = true
    clearTimeout(this.#timer)
    await within(
      this.#turning.then(() => this.#remove()),
      STOP_MS,
      () => undefined,
    )
  }

  #turnAround(): void {
    this.#turning = this.#turn().catch((error: unknown) => this.#failed(error))
    void this.#turning.then(() => {
      if (this.#isStopped) return
      this.#timer = setTimeout(() => this.#turnAround(), TURN_MS).unref()
    })
  }

  async #turn(): Promise<void> {
    const { nft, now } = this.#options
    if (this.#state.state === 'replaced') {
      if (now() >= this.#due.count && !(await this.#isThere())) await this.#make()
      return
    }
    if (this.#state.state !== 'up') {
      if (now() >= this.#due.retry) await this.#make()
      return
    }
    await this.#review()
    const script = changing(this.#table, this.#sets.take(MOST_CHANGES, now()), now())
    if (script !== '') await nft.run(script)
    if (now() >= this.#due.count) await this.#count()
  }

  async #make(): Promise<void> {
    const { nft, now } = this.#options
    // What the one before has counted since it was read last.
    if (this.#handle > 0) await this.#count().catch(() => undefined)
    this.#due.review = 0
    await this.#review()
    await nft.run(creation(this.#table, this.#listening, this.#sets.all(now()), now()))
    const { handle, packets } = listingOf(await nft.list(this.#table))
    this.#handle = handle
    this.#counted = { banned: 0, denied: 0 }
    this.#add(packets)
    this.#become('up')
  }

  /** Lets those go that are not turned away any more, or not for as long. */
  async #review(): Promise<void> {
    const { sentenceOf, isChanged, now } = this.#options
    if (!isChanged() && now() < this.#due.review) return
    this.#due.review = now() + REVIEW_MS
    this.#sets.forget(now())
    let asked = 0
    for (const [source, { reason, until }] of [...this.#sets.sources()]) {
      const sentence = sentenceOf(source)
      if (sentence?.reason !== reason || sentence.until < until) this.#sets.release(source)
      if (++asked % REVIEWED_AT_ONCE === 0) await turn()
    }
  }

  /** Whether the one that has made the table anew still keeps it. */
  async #isThere(): Promise<boolean> {
    try {
      await this.#list()
      return true
    } catch (error) {
      return !/no such file/i.test(messageOf(error))
    }
  }

  async #list(): Promise<string> {
    const begun = performance.now()
    try {
      return await this.#options.nft.list(this.#table)
    } finally {
      const took = performance.now() - begun
      this.#due.count = this.#options.now() + Math.max(COUNT_MS, took / COUNT_SHARE)
    }
  }

  async #count(): Promise<void> {
    const { handle, packets } = listingOf(await this.#list())
    if (handle === this.#handle) this.#add(packets)
    else if (this.#state.state === 'up') this.#become('replaced')
  }

  #add(packets: Listing['packets']): void {
    for (const reason of KERNEL_REASONS)
      this.#options.dropped[reason].value += Math.max(0, packets[reason] - this.#counted[reason])
    this.#counted = packets
  }

  /** Another process may have made the table anew: that one is left alone. */
  async #remove(): Promise<void> {
    if (this.#handle === 0) return
    await this.#options.nft.run(`delete table inet handle ${this.#handle}\n`).catch((error: unknown) => {
      this.#options.log.debug({ err: messageOf(error) }, "the kernel's table was gone already")
    })
  }

  #failed(error: unknown): void {
    const { log, now } = this.#options
    const { state } = this.#state
    const err = messageOf(error)
    // Whoever loads the machine's rules anew removes ours with them: that is put right at once.
    this.#due.retry = state === 'up' ? 0 : now() + RETRY_MS
    this.#become('failing', err)
    if (state === 'failing') return
    log.warn(
      { table: this.#table, err },
      'clients cannot be handed to the kernel: they are refused over SMTP meanwhile, and it is tried again',
    )
  }

  #become(state: KernelReport['state'], error?: string): void {
    const { log, now } = this.#options
    const before = this.#state
    const since = before.state === state ? before.since : now()
    this.#state = { state, since, ...(error !== undefined && { error }) }
    if (state === 'up') log.info({ table: this.#table }, "the kernel's table is made")
    if (state === 'replaced')
      log.warn(
        { table: this.#table, setting: 'SPILLWAY_LISTEN' },
        "another process that listens on the same addresses has made the kernel's table anew, and keeps it. If it does not take this " +
          "one's place, give each addresses of its own: until it ends, clients of this one are refused over SMTP alone",
      )
  }
}
