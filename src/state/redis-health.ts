/**
 * What this node knows about Redis: whether it answers at the moment, how many nodes share it, and what the operator
 * is told. Every Redis command is counted here. No decision about a client depends on it.
 */
import { setTimeout } from 'node:timers/promises'
import { Late, within } from '../core/deadline.ts'
import type { Rates } from '../core/limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics, RedisUse } from '../telemetry/metrics.ts'
import { Agreement, type Differences, settingsText } from './agreement.ts'
import { Nodes } from './nodes.ts'
import { type RedisLink, redisMessageOf } from './redis.ts'

/** The condition of Redis for the operator. Times are in ms since the epoch. */
export interface RedisCondition {
  /** up: limits are counted in Redis. away: this node enforces its share of each limit. */
  readonly state: 'up' | 'away'
  /** When the state began. */
  readonly since: number
  /** The last error in words, even if all has been well since. */
  readonly error?: string
  /** When a command was last answered. */
  readonly lastSuccess?: number
}

export interface RedisHealthOptions {
  readonly link: RedisLink
  /** The prefix of all keys. */
  readonly prefix: string
  readonly timeoutMs: number
  /** The name of this node, which no other node has. */
  readonly node: string
  readonly rates: Rates
  /** As they are set now. By default `rates`. */
  readonly ratesNow?: () => Rates
  /** Of all settings, as they are now; absent: it is not told to other nodes. */
  readonly hashNow?: (() => string) | undefined
  readonly metrics: Metrics
  readonly log: Log
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  /** How many nodes there are at least, until Redis has said; 1 by default. */
  readonly expected?: number
  /** Whether there is something that Redis was told and has not acknowledged: then only that it does shows that it is well. */
  readonly isBehind: () => boolean
  /** Called when Redis answers again, or the connection has been made again. */
  readonly back: () => void
}

/** How long a starting node waits for the first answer of Redis. */
const START_MS = 1000
/** Until the connection stands. */
const CONNECTING_MS = 10
/** Redis counts as away after so many pipelines in a row without an answer, or at once when the connection is lost. */
const FAILURES = 3
/** How often it is looked whether Redis answers again. */
const LOOK_MS = 250
const LONGEST_ERROR = 200

export class RedisHealth {
  readonly #options: RedisHealthOptions
  readonly #nodes: Nodes
  readonly #agreement: Agreement
  #up = false
  #since: number
  /** Pipelines in a row without an answer. */
  #failures = 0
  /** Announcements in a row that have failed although there was a connection. */
  #unseen = 0
  #looking: NodeJS.Timeout | undefined
  #isLooking = false
  #stopped = false
  #error: string | undefined
  #lastSuccess: number | undefined

  constructor(options: RedisHealthOptions) {
    this.#options = options
    const { link, prefix, node, rates, ratesNow = () => rates, log, now, elapsed, metrics } = options
    this.#since = now()
    const hash = () => options.hashNow?.()
    const agreement = new Agreement({ rates: ratesNow, elapsed, hash, log })
    this.#agreement = agreement
    this.#nodes = new Nodes({
      client: link.client,
      prefix,
      node,
      expected: options.expected,
      settings: () => settingsText(ratesNow(), hash()),
      elapsed,
      announced: (started, failure) => this.#announced(started, failure),
      others: (nodes) => agreement.heard(nodes),
    })
    link.onLost(() => this.#become(false, 'the connection is lost'))
    link.onReady(() => options.back())
    link.onTrouble((reason) => this.#blame(reason))
    metrics.redisFallback.of().value = 1
  }

  /** Whether Redis answers at the moment. */
  get up(): boolean {
    return this.#up
  }

  /** The number of nodes last seen alive, including this one. */
  get nodes(): number {
    return this.#nodes.count
  }

  /** What other nodes have set differently, as far as is known. */
  differences(): Differences {
    return this.#agreement.report()
  }

  /** A pipeline with amounts is over. @param failure undefined if any of them was acknowledged */
  told(failure: string | undefined): void {
    if (failure === undefined) {
      this.#failures = 0
      // Else it was lost in the middle of the answers.
      if (this.#options.link.connected()) this.#become(true)
    } else if (++this.#failures >= FAILURES) this.#become(false, failure)
  }

  /** Counts one command. @param started by `elapsed` @param failure undefined if it was answered */
  outcome(use: RedisUse, started: number, failure: unknown): void {
    const { metrics, now, elapsed, link } = this.#options
    metrics.redisCommands.inc(use, failure === undefined ? 'ok' : isLate(failure) ? 'timeout' : 'failed')
    if (failure === undefined) {
      this.#lastSuccess = now()
      metrics.redisCommandDuration.of(use).observe((elapsed() - started) / 1000)
    }
    // Without a connection every command fails in the same way, and the link knows why there is none.
    else if (link.connected()) this.#blame(redisMessageOf(failure))
  }

  condition(): RedisCondition {
    return {
      state: this.up ? 'up' : 'away',
      since: this.#since,
      ...(this.#error !== undefined && { error: this.#error }),
      ...(this.#lastSuccess !== undefined && { lastSuccess: this.#lastSuccess }),
    }
  }

  /** Resolves when Redis has answered, or after a moment without an answer. The node starts either way. */
  async start(): Promise<void> {
    const { log, elapsed, timeoutMs } = this.#options
    const until = elapsed() + START_MS
    while (!this.up && elapsed() < until) {
      await this.#look(timeoutMs)
      if (!this.up) await setTimeout(CONNECTING_MS)
    }
    if (!this.up) log.warn({}, 'Redis does not answer yet: this node goes on with its own count of each limit')
    this.#watch()
    this.#nodes.start()
  }

  /** Leaves the set of nodes. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#looking)
    await within(this.#nodes.stop(), this.#options.timeoutMs).catch(() => undefined)
  }

  /** Only counts the outcome of a command. */
  watched<T>(use: RedisUse, answer: Promise<T>): Promise<T> {
    const started = this.#options.elapsed()
    answer.then(
      () => this.outcome(use, started, undefined),
      (error: unknown) => this.outcome(use, started, error),
    )
    return answer
  }

  #announced(started: number, failure: unknown): void {
    const { elapsed, timeoutMs, isBehind, link, log } = this.#options
    this.outcome('nodes', started, failure)
    if (failure === undefined) {
      this.#unseen = 0
      // It writes, so a server that can only be read from does not count as back.
      if (elapsed() - started <= timeoutMs && !isBehind()) this.#become(true)
    } else if (link.connected() && ++this.#unseen === FAILURES) {
      const err = redisMessageOf(failure)
      log.warn(
        { err, nodes: this.nodes },
        'this node cannot announce itself in Redis: the others do not count it, nor it them',
      )
    }
  }

  #become(up: boolean, reason = ''): void {
    if (up === this.#up || this.#stopped) return
    const { metrics, log, now, back } = this.#options
    const nodes = this.nodes
    this.#up = up
    this.#since = now()
    this.#failures = 0
    metrics.redisUp.of().value = up ? 1 : 0
    metrics.redisFallback.of().value = up ? 0 : 1
    this.#watch()
    if (up) {
      log.info({ nodes }, 'Redis answers: limits are counted for all nodes together')
      back()
    } else {
      this.#blame(reason)
      log.warn({ err: reason, nodes }, 'Redis does not answer: this node goes on with its share of each limit')
    }
  }

  /** While Redis is away, announces this node more often than it otherwise would, until it is answered. */
  #watch(): void {
    clearInterval(this.#looking)
    if (this.#up || this.#stopped) return
    this.#looking = setInterval(() => void this.#look(this.#options.timeoutMs), LOOK_MS).unref()
  }

  async #look(ms: number): Promise<void> {
    if (!this.#options.link.connected() || this.#isLooking) return
    this.#isLooking = true
    await within(this.#nodes.announce(), ms).catch(() => undefined)
    this.#isLooking = false
  }

  #blame(reason: string): void {
    this.#error = reason.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, LONGEST_ERROR)
  }
}

const isLate = (error: unknown): boolean =>
  error instanceof Late || (error instanceof Error && error.message === 'Command timed out')
