/**
 * What is reported of the mail servers' queues. A mail server that accepts quickly and delivers slowly looks well from
 * here, while the queue behind its dot grows; whoever sees the queue says how full it is. Reports come by
 * POST /api/v1/pressure or from SPILLWAY_UPSTREAM_PRESSURE_URL; of each mail server the latest one counts.
 *
 * A report counts for a minute. A reporter that has died then neither holds the level up nor hides what the other
 * signals show.
 */
import type { Clock } from '../core/clock.ts'
import { isPressure, PRESSURE, type PressureReport, REPORT_MS } from '../core/overload.ts'
import type { Log } from '../telemetry/log.ts'

export class ReportedPressure {
  readonly #latest = new Map<string, { readonly value: number; readonly at: number }>()
  readonly #clock: Pick<Clock, 'elapsed'>
  readonly #log: Log

  constructor(clock: Pick<Clock, 'elapsed'>, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  /** @param report of a mail server in SPILLWAY_UPSTREAMS: there are no more than those */
  take({ upstream, value }: PressureReport): void {
    if (!this.#latest.has(upstream)) this.#log.info({ upstream, pressure: value }, 'pressure is reported')
    this.#latest.set(upstream, { value, at: this.#clock.elapsed() })
  }

  /** @returns what counts now, by mail server */
  read(): ReadonlyMap<string, number> {
    const now = this.#clock.elapsed()
    const counts = new Map<string, number>()
    for (const [upstream, { value, at }] of this.#latest) {
      if (now - at < REPORT_MS) counts.set(upstream, value)
      else this.#expire(upstream)
    }
    return counts
  }

  #expire(upstream: string): void {
    this.#latest.delete(upstream)
    this.#log.warn({ upstream }, `no pressure was reported for ${REPORT_MS / 1000} s: the last report no longer counts`)
  }
}

/**
 * What an answer says: a number for all mail servers, or an object with numbers by mail server. Names that are not in use
 * are passed over, so that one answer serves several clusters.
 * @throws Error with words for the operator
 */
export function reportsIn(answer: string, upstreams: readonly string[]): PressureReport[] {
  const read = jsonOf(answer)
  if (typeof read === 'number') return upstreams.map((upstream) => ({ upstream, value: checked(read) }))
  if (typeof read !== 'object' || read === null) throw new Error(EXPECTED)
  const named = upstreams.filter((upstream) => Object.hasOwn(read, upstream))
  if (named.length === 0) throw new Error(`it names none of ${upstreams.join(', ')}`)
  return named.map((upstream) => ({ upstream, value: checked((read as Record<string, unknown>)[upstream], upstream) }))
}

const EXPECTED = 'it is neither a number nor a JSON object with a number for each mail server'

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(EXPECTED)
  }
}

function checked(value: unknown, upstream?: string): number {
  if (isPressure(value)) return value
  throw new Error(`${upstream === undefined ? 'the number' : `that of ${upstream}`} is not ${PRESSURE}`)
}
