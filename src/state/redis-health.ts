/**
 * What this node knows about Redis: whether it is asked at the moment, how many nodes share it, and what the operator
 * is told. Every Redis command is counted here. The commands that charge something decide whether Redis is asked at all
 * (breaker.ts).
 */

import { Late, within } from '../core/deadline.ts'
import { messageOf } from '../core/errors.ts'
import type { Rates } from '../core/limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics, RedisUse } from '../telemetry/metrics.ts'
import { Agreement, settingsText } from './agreement.ts'
import { Breaker } from './breaker.ts'
import { createSharedCounter } from './limiter.ts'
import { Nodes } from './nodes.ts'
import type { RedisLink } from './redis.ts'

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
  readonly metrics: Metrics
  readonly log: Log
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  /** Called when Redis is asked again. */
  readonly back: () => void
}

/** How long a starting node waits for the first answer of Redis. */
const START_MS = 1000
const LONGEST_ERROR = 200

export class RedisHealth {
  readonly #options: RedisHealthOptions
  readonly #breaker: Breaker
  readonly #nodes: Nodes
  #since: number
  #error: string | undefined
  #lastSuccess: number | undefined

  constructor(options: RedisHealthOptions) {
    this.#options = options
    const { link, prefix, timeoutMs, node, rates, log, now, elapsed, metrics } = options
    this.#since = now()
    const agreement = new Agreement({ rates, elapsed, log })
    this.#nodes = new Nodes({
      client: link.client,
      prefix,
      node,
      settings: settingsText(rates),
      elapsed,
      announced: (started, failure) => {
        this.result('nodes', failure)
        if (failure === undefined) this.took('nodes', started)
      },
      others: (nodes) => agreement.heard(nodes),
    })
    // Sixteen keys, so that a cluster that has lost a part is not always probed in the same part.
    const probed = createSharedCounter({ client: link.client, prefix, name: 'probe', windowMs: 1000 })
    let probes = 0
    this.#breaker = new Breaker({
      timeoutMs,
      elapsed,
      probe: () =>
        link.connected()
          ? this.watched('probe', probed.add(String(probes++ % 16), 1))
          : Promise.reject(new Error('no connection')),
      changed: (closed, reason) => this.#changed(closed, reason),
    })
    link.onLost(() => this.#breaker.open('the connection is lost'))
    link.onTrouble((reason) => this.#blame(reason))
    metrics.redisFallback.of().value = 1
  }

  /** Whether Redis is asked at the moment. */
  get up(): boolean {
    return this.#breaker.closed
  }

  /** The number of nodes last seen alive, including this one. */
  get nodes(): number {
    return this.#nodes.count
  }

  /** The part of a maximum that this node may let in by itself. */
  share(max: number): number {
    return max < 1 ? max : Math.max(1, Math.floor(max / this.#nodes.count))
  }

  /** Counts a command that charges something. Its outcome decides whether Redis is still asked. */
  counted<T>(use: RedisUse, answer: Promise<T>): Promise<T> {
    answer.then(
      () => this.#breaker.succeeded(),
      (error: unknown) => this.#breaker.failed(messageOf(error)),
    )
    return this.watched(use, answer)
  }

  /**
   * The outcome of a charge for a client, which takes several commands. @param failure undefined if any was answered
   */
  asked(failure: string | undefined): void {
    if (failure === undefined) this.#breaker.succeeded()
    else this.#breaker.failed(failure)
  }

  /** Counts one command. */
  result(use: RedisUse, failure: unknown): void {
    this.#options.metrics.redisCommands.inc(use, failure === undefined ? 'ok' : isLate(failure) ? 'timeout' : 'failed')
    if (failure === undefined) this.#lastSuccess = this.#options.now()
    // Without a connection every command fails in the same way, and the link knows why there is none.
    else if (this.#options.link.connected()) this.#blame(messageOf(failure))
  }

  /** @param started by `elapsed` */
  took(use: RedisUse, started: number): void {
    this.#options.metrics.redisCommandDuration.of(use).observe((this.#options.elapsed() - started) / 1000)
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
    const { log, timeoutMs } = this.#options
    await this.#breaker.start(START_MS)
    if (!this.up) log.warn({}, 'Redis does not answer yet: this node goes on with its own count of each limit')
    else await within(this.#nodes.announce(), timeoutMs).catch(() => undefined)
    this.#nodes.start()
  }

  /** Leaves the set of nodes. */
  async stop(): Promise<void> {
    this.#breaker.stop()
    await within(this.#nodes.stop(), this.#options.timeoutMs).catch(() => undefined)
  }

  /** Only counts the outcome of a command. */
  watched<T>(use: RedisUse, answer: Promise<T>): Promise<T> {
    const started = this.#options.elapsed()
    answer.then(
      () => {
        this.took(use, started)
        this.result(use, undefined)
      },
      (error: unknown) => this.result(use, error),
    )
    return answer
  }

  #changed(closed: boolean, reason: string): void {
    const { metrics, log, now, back } = this.#options
    const nodes = this.nodes
    this.#since = now()
    metrics.redisUp.of().value = closed ? 1 : 0
    metrics.redisFallback.of().value = closed ? 0 : 1
    if (closed) {
      log.info({ nodes }, 'Redis answers: limits are counted for all nodes together')
      void this.#nodes.announce()
      back()
    } else {
      this.#blame(reason)
      log.warn({ err: reason, nodes }, 'Redis does not answer: this node goes on with its share of each limit')
    }
  }

  #blame(reason: string): void {
    this.#error = reason.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, LONGEST_ERROR)
  }
}

const isLate = (error: unknown): boolean =>
  error instanceof Late || (error instanceof Error && error.message === 'Command timed out')
