/**
 * One address of a mail server behind us, as everybody in here knows it: where it is, how it is, what it offers, how busy it is.
 */
import type { ConnectResult } from '../../telemetry/metrics.ts'
import { type Extensions, UpstreamRefusal } from '../smtp/dial.ts'
import { UpstreamError } from '../smtp/upstream-error.ts'
import type { UpstreamSeries } from './series.ts'

/**
 * unknown: it was not asked yet, or has not answered yet. slow: it answers, but later than it should, or does not answer at
 * present and may yet; it is used where no other has room. down: it is not used.
 */
export type ServerState = 'unknown' | 'up' | 'slow' | 'down'

/** How something we depend on is, since when, and why. Times in milliseconds since the epoch. */
export interface Condition {
  readonly state: string
  readonly since: number
  /** Of the last failure, in words; undefined while all is well. */
  readonly error: string | undefined
  readonly lastSuccess: number | undefined
}

export interface ServerOptions {
  /** As the operator wrote it: the metric label. */
  readonly label: string
  /** For dialling; `name` as the operator wrote it. */
  readonly host: string
  readonly port: number
  readonly name: string
  /** Shared by all servers with this label. */
  readonly series: UpstreamSeries
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

export class Server implements ServerOptions {
  readonly label: string
  readonly host: string
  readonly port: number
  readonly name: string
  readonly series: UpstreamSeries
  readonly now: () => number
  extensions: Extensions = new Map()
  /** Connections open, being opened, or kept. */
  connections = 0
  /** Clients that wait for it and may still go to another server; told when it is no longer well. */
  readonly attempts = new Set<() => void>()
  #state: ServerState = 'unknown'
  #since: number
  #error: string | undefined
  #lastSuccess: number | undefined

  constructor({ label, host, port, name, series, now }: ServerOptions) {
    this.label = label
    this.host = host
    this.port = port
    this.name = name
    this.series = series
    this.now = now
    this.#since = now()
  }

  /** Whether it may be given mail. */
  get up(): boolean {
    return this.#state === 'up' || this.#state === 'slow'
  }

  get state(): ServerState {
    return this.#state
  }

  get condition(): Condition {
    return { state: this.#state, since: this.#since, error: this.#error, lastSuccess: this.#lastSuccess }
  }

  /** It answered as it should. */
  answered(): void {
    this.#lastSuccess = this.now()
  }

  /** @param error why it is not well, in words; or what was last wrong with one that is */
  become(state: ServerState, error: string | undefined): void {
    this.#error = error
    if (state === this.#state) return
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

/** What came of connecting, as the metrics have it. */
export function connectResult(error: unknown): ConnectResult {
  if (error instanceof UpstreamRefusal) return 'refused'
  return error instanceof UpstreamError && error.fault === 'timeout' ? 'timeout' : 'failed'
}
