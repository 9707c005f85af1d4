/**
 * One address of a mail server, shared by the whole pool: where it is, what state it is in, what it offers, and how busy it is.
 */
import { DotTimes } from '../../overload/dot-times.ts'
import type { StrangersPart } from '../../overload/strangers-part.ts'
import type { ConnectResult } from '../../telemetry/metrics.ts'
import { type Extensions, UpstreamRefusal } from '../smtp/dial.ts'
import { UpstreamError } from '../smtp/upstream-error.ts'
import type { Breaker } from './breaker.ts'
import type { UpstreamSeries } from './series.ts'
import type { ServerLoad } from './server-load.ts'

/**
 * unknown: it has not been asked yet, or has not answered yet. slow: it answers, but later than it should, or does not answer now
 * but still may; it is used only if no other server has room. down: it is not used. draining: it is not among the settings any
 * more; what it has goes on to its end.
 */
export type ServerHealth = 'unknown' | 'up' | 'slow' | 'down' | 'draining'
/** drained: whatever its health, the operator has taken it out for a while (drained.ts); what it has goes on to its end. */
export type ServerState = ServerHealth | 'drained'

/** The state of something we depend on, since when, and why. Times are in milliseconds since the epoch. */
export interface Condition {
  readonly state: string
  readonly since: number
  /** The last failure, in words; undefined while all is well. */
  readonly error: string | undefined
  /** Where it is out because it takes no XCLIENT from us: that, in words, without what to do about it. */
  readonly xclient?: string | undefined
  readonly lastSuccess: number | undefined
}

/** A server that was out for so long may have lost its caches, or have been restarted: it begins slowly, as after an outage. */
const AWAY_MS = 300_000

export interface ServerOptions {
  /** As the operator wrote it: the metric label. */
  readonly label: string
  /** What to connect to; `name` is as the operator wrote it. */
  readonly host: string
  readonly port: number
  readonly name: string
  /** Shared by all servers with this label. */
  readonly series: UpstreamSeries
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** What it can make use of. */
  readonly load: ServerLoad
  /** What of it strangers may hold. */
  readonly strangers: StrangersPart
  readonly breaker: Breaker
}

export class Server implements ServerOptions {
  readonly label: string
  readonly host: string
  readonly port: number
  readonly name: string
  readonly series: UpstreamSeries
  readonly now: () => number
  readonly load: ServerLoad
  readonly strangers: StrangersPart
  readonly breaker: Breaker
  extensions: Extensions = new Map()
  /** Connections that are open, being opened, or idle. */
  connections = 0
  /** Clients that wait for this server and may still go to another; each is called when the server's state is no longer `up`. */
  readonly attempts = new Set<() => void>()
  /** How long it takes to accept messages. */
  readonly dots = new DotTimes()
  #health: ServerHealth = 'unknown'
  #since: number
  #drainedSince: number | undefined
  #error: string | undefined
  #xclient: string | undefined
  #lastSuccess: number | undefined

  constructor({ label, host, port, name, series, now, load, strangers, breaker }: ServerOptions) {
    this.label = label
    this.host = host
    this.port = port
    this.name = name
    this.series = series
    this.now = now
    this.load = load
    this.strangers = strangers
    this.breaker = breaker
    this.#since = now()
  }

  /** Whether it may be given mail. */
  get up(): boolean {
    return !this.isDrained && this.isWell
  }

  /** Whether it might be given mail, if the operator did not say otherwise. */
  get isWell(): boolean {
    return this.#health === 'up' || this.#health === 'slow'
  }

  get state(): ServerState {
    return this.isDrained && this.#health !== 'draining' ? 'drained' : this.#health
  }

  /** What checks and clients have found. */
  get health(): ServerHealth {
    return this.#health
  }

  /** Whether the operator has taken it out for a while. */
  get isDrained(): boolean {
    return this.#drainedSince !== undefined
  }

  /** Whether it gets nothing new, and what it has goes on to its end. */
  get isLeaving(): boolean {
    return this.isDrained || this.#health === 'draining'
  }

  /** The most connections that there may be to it now. */
  get limit(): number {
    return this.breaker.isInForce ? 1 : this.load.max
  }

  get condition(): Condition {
    const why = { error: this.#error, xclient: this.#xclient }
    const own = { state: this.#health, since: this.#since, ...why, lastSuccess: this.#lastSuccess }
    if (this.#drainedSince !== undefined && this.state === 'drained')
      return { ...own, state: 'drained', since: this.#drainedSince, error: this.#whyDrained(), xclient: undefined }
    // Clients may wait for it yet, as it may only be slow; the operator is told what it is now.
    if (this.#health === 'unknown' && this.#error !== undefined) return { ...own, state: 'down' }
    return this.up && this.breaker.fault !== undefined ? { ...own, ...this.breaker.fault, state: 'slow' } : own
  }

  /** The server answered as it should. */
  answered(): void {
    this.#lastSuccess = this.now()
  }

  /** It is as if it had just been added, but for its connections. */
  forget(): this {
    this.extensions = new Map()
    this.#lastSuccess = undefined
    this.become('unknown', undefined)
    return this
  }

  /** The operator takes it out, or has it back. */
  drain(isDrained: boolean): void {
    if (isDrained === this.isDrained) return
    if (!isDrained && this.now() - (this.#drainedSince ?? 0) >= AWAY_MS) this.load.restart()
    this.#drainedSince = isDrained ? this.now() : undefined
  }

  /** @param error why it is not well, in words; if it is well, its last failure @param xclient as a condition has it */
  become(health: ServerHealth, error: string | undefined, xclient?: string): void {
    this.#error = error
    this.#xclient = xclient
    if (health === this.#health) return
    if (this.#health === 'down' && (health === 'up' || health === 'slow')) this.load.restart()
    this.#health = health
    this.#since = this.now()
    if (health !== 'up') for (const move of [...this.attempts]) move()
  }

  #whyDrained(): string {
    const why = 'the operator has drained it: it gets no new mail until spillway undrain'
    return this.isWell ? why : `${why}. It is ${this.#health}${this.#error === undefined ? '' : `: ${this.#error}`}`
  }
}

/** Where it is, for the log. */
export const placeOf = ({ label, host, port }: Server): { upstream: string; address: string } => ({
  upstream: label,
  address: `${host}:${port}`,
})

/** Why connecting failed, as a label of the metrics. */
export function connectResult(error: unknown): ConnectResult {
  if (error instanceof UpstreamRefusal) return 'refused'
  return error instanceof UpstreamError && error.fault === 'timeout' ? 'timeout' : 'failed'
}
