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
export type ServerState = 'unknown' | 'up' | 'slow' | 'down' | 'draining'

/** The state of something we depend on, since when, and why. Times are in milliseconds since the epoch. */
export interface Condition {
  readonly state: string
  readonly since: number
  /** The last failure, in words; undefined while all is well. */
  readonly error: string | undefined
  readonly lastSuccess: number | undefined
}

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
  #state: ServerState = 'unknown'
  #since: number
  #error: string | undefined
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
    return this.#state === 'up' || this.#state === 'slow'
  }

  get state(): ServerState {
    return this.#state
  }

  /** The most connections that there may be to it now. */
  get limit(): number {
    return this.breaker.isInForce ? 1 : this.load.max
  }

  get condition(): Condition {
    const own = { state: this.#state, since: this.#since, error: this.#error, lastSuccess: this.#lastSuccess }
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

  /** @param error why it is not well, in words; if it is well, its last failure */
  become(state: ServerState, error: string | undefined): void {
    this.#error = error
    if (state === this.#state) return
    if (this.#state === 'down' && (state === 'up' || state === 'slow')) this.load.restart()
    this.#state = state
    this.#since = this.now()
    if (state !== 'up') for (const move of [...this.attempts]) move()
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
