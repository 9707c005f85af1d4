/**
 * What the operator says at run time (core/orders.ts): POST /api/v1/drain, /api/v1/undrain and /api/v1/level. Whoever serves the admin
 * port holds the orders, and hands them on as a whole: to the parts of its own process, or to its workers.
 */
import { duration } from '../config/kinds.ts'
import { DEFAULT_PIN_MS, LONGEST_PIN_MS, NO_ORDERS, type Orders, SHORTEST_PIN_MS } from '../core/orders.ts'
import { LEVELS, type OverloadMode } from '../core/overload.ts'
import type { Log } from '../telemetry/log.ts'
import { objectIn } from './body.ts'
import type { Request } from './request.ts'
import { json, type Response, text } from './response.ts'
import type { Status } from './status.ts'

export interface OrdersOptions {
  /** The mail servers in force, as the operator wrote them. */
  readonly upstreams: () => readonly string[]
  /** SPILLWAY_OVERLOAD. */
  readonly overload: () => OverloadMode
  readonly obey: (orders: Orders) => void
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly log: Log
}

/** What is drained. */
export interface DrainReport {
  /** In ISO 8601; absent: the node is not drained. */
  readonly since?: string
  readonly upstreams: readonly string[]
}

export interface LevelReport {
  /** What holds now. */
  readonly mode: OverloadMode
  /** In ISO 8601; absent: it is what SPILLWAY_OVERLOAD says. */
  readonly until?: string
}

const iso = (at: number): string => new Date(at).toISOString()

export class StandingOrders {
  readonly #options: OrdersOptions
  #orders: Orders = NO_ORDERS

  constructor(options: OrdersOptions) {
    this.#options = options
  }

  /** The mail servers in force. */
  get upstreams(): readonly string[] {
    return this.#options.upstreams()
  }

  get value(): Orders {
    return this.#orders
  }

  get drained(): DrainReport {
    const { drainedSince, drained } = this.#orders
    const upstreams = this.upstreams.filter((label) => drained.includes(label))
    return { ...(drainedSince !== undefined && { since: iso(drainedSince) }), upstreams }
  }

  /** @param upstream one of those in force; undefined: this node */
  drain(upstream: string | undefined): void {
    const { now, log } = this.#options
    const { drainedSince, drained } = this.#orders
    if (upstream === undefined) {
      if (drainedSince !== undefined) return
      this.#give({ drainedSince: now() })
      log.info({}, 'drained by the operator: /readyz says 503, and whoever still comes is served')
    } else if (!drained.includes(upstream)) {
      this.#give({ drained: [...drained, upstream] })
      log.info(
        { upstream },
        'upstream drained by the operator: it gets no new mail, and what it has goes on to its end',
      )
      if (this.drained.upstreams.length === this.upstreams.length)
        log.warn({}, 'all upstreams are drained: every recipient hears 451 until one is undrained')
    }
  }

  /** @param upstream undefined: this node */
  undrain(upstream: string | undefined): void {
    const { log } = this.#options
    const { drainedSince, drained } = this.#orders
    if (upstream === undefined) {
      if (drainedSince === undefined) return
      this.#give({ drainedSince: undefined })
      log.info({}, 'no longer drained')
    } else if (drained.includes(upstream)) {
      this.#give({ drained: drained.filter((each) => each !== upstream) })
      log.info({ upstream }, 'upstream no longer drained: it gets mail while it is well')
    }
  }

  /** @param mode what SPILLWAY_OVERLOAD says ends what was pinned before */
  pin(mode: OverloadMode, forMs: number): LevelReport {
    const { overload, now, log } = this.#options
    if (mode === overload()) {
      this.#give({ pin: undefined })
      log.info({ mode }, 'the operator has ended what was pinned: the overload level goes by SPILLWAY_OVERLOAD')
      return { mode }
    }
    const until = now() + forMs
    this.#give({ pin: { mode, until } })
    log.warn(
      { mode, seconds: Math.round(forMs / 1000), until: iso(until) },
      'the operator has pinned the overload level',
    )
    return { mode, until: iso(until) }
  }

  #give(change: Partial<Orders>): void {
    this.#orders = { ...this.#orders, ...change }
    this.#options.obey(this.#orders)
  }
}

export interface OrdersParts {
  readonly orders: Pick<StandingOrders, 'upstreams' | 'drained' | 'drain' | 'undrain' | 'pin'>
  readonly status: () => Status | Promise<Status>
}

/** The fields of a body that may be left out. */
const fieldsOf = (request: Request, example: string) =>
  request.length === 0 ? { fields: {} as Readonly<Record<string, unknown>> } : objectIn(request, example)

function isLastUp(upstreams: Status['upstreams'], upstream: string, drainedOnes: readonly string[]): boolean {
  const up = upstreams.filter((each) => each.up && !drainedOnes.includes(each.upstream))
  return up.length > 0 && up.every((each) => each.upstream === upstream)
}

/** @param way what is done to the mail server in the body, or to the node if there is none */
export async function drained(
  request: Request,
  way: 'drain' | 'undrain',
  { orders, status }: OrdersParts,
): Promise<Response> {
  const all = orders.upstreams
  const read = fieldsOf(request, JSON.stringify({ upstream: all[0] }))
  if ('code' in read) return read
  const { upstream, force = false, ...others } = read.fields
  if (Object.keys(others).length > 0 || (way === 'undrain' && 'force' in read.fields))
    return text(400, 'the body has upstream, or nothing: then it is about this node')
  if (typeof force !== 'boolean') return text(400, 'force: true or false')
  if (upstream !== undefined && (typeof upstream !== 'string' || !all.includes(upstream)))
    return text(400, `upstream: one of ${all.join(', ')}, as SPILLWAY_UPSTREAMS has it`)
  if (way === 'drain' && upstream !== undefined && !force) {
    const { upstreams } = await status()
    // Of two that are drained at once the second one sees the first.
    if (isLastUp(upstreams, upstream, orders.drained.upstreams))
      return text(
        409,
        `${upstream} is the only mail server that is up: without it every recipient hears 451 until one is back. If you mean it: spillway drain ${upstream} --force, or "force": true`,
      )
  }
  orders[way](upstream)
  return json(200, orders.drained)
}

const EXAMPLE = '{"level": 2, "time": "30m"}'
const MODES: readonly OverloadMode[] = ['auto', 'off', ...LEVELS]
const TIME = duration({ min: SHORTEST_PIN_MS, max: LONGEST_PIN_MS })

export function levelPinned(request: Request, { orders }: OrdersParts): Response {
  const read = objectIn(request, EXAMPLE)
  if ('code' in read) return read
  const { level, time, ...others } = read.fields
  if (Object.keys(others).length > 0) return text(400, `the body has level and time, such as ${EXAMPLE}`)
  const mode = MODES.find((each) => String(each) === String(level))
  if (mode === undefined) return text(400, `level: ${MODES.join(', ')}`)
  const parsed = time === undefined ? { value: DEFAULT_PIN_MS } : TIME.parse(String(time))
  if ('hint' in parsed) return text(400, `time: ${TIME.what}; ${parsed.hint}`)
  return json(200, orders.pin(mode, parsed.value))
}
