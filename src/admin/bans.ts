/**
 * /api/v1/bans: who is banned (GET), a ban by the operator (POST), and its end (DELETE /api/v1/bans/{address or network}). In the same way
 * /api/v1/allow is about what the operator allows for a while.
 */
import { duration } from '../config/kinds.ts'
import {
  type Ban,
  type BanMistake,
  type BanRequest,
  LONGEST_BAN_MS,
  LONGEST_REASON,
  SHORTEST_BAN_MS,
} from '../core/bans.ts'
import type { Clock } from '../core/clock.ts'
import { objectIn } from './body.ts'
import { Rendering } from './rendering.ts'
import type { Request } from './request.ts'
import { json, type Response, text } from './response.ts'

type Now<T> = T | Promise<T>

interface List {
  /** Those in force, the latest first, at most so many. */
  readonly latest: (limit: number) => Now<{ readonly total: number; readonly bans: readonly Ban[] }>
  readonly add: (asked: BanRequest) => Now<Ban | BanMistake>
  /** @returns what was lifted */
  readonly remove: (network: string) => Now<Ban | BanMistake>
}
export interface BansParts {
  readonly bans: List & { readonly allowed: List }
}

/** As the API tells it; times are in ISO 8601. */
export interface BanReport {
  readonly network: string
  readonly by: Ban['by']
  readonly reason: string
  readonly since: string
  readonly until: string
  readonly before: number
}
/** The latest first, at most `limit`. */
export interface BansReport {
  readonly total: number
  readonly bans: readonly BanReport[]
}
export interface AllowedReport {
  readonly total: number
  readonly allowed: readonly BanReport[]
}

const EXAMPLE = '{"network": "192.0.2.0/24", "time": "1h", "reason": "harvest"}'
const TIME = duration({ min: SHORTEST_BAN_MS, max: LONGEST_BAN_MS })
const SHOWN = 1000
const MOST_SHOWN = 100_000

export const reportOf = ({ network, by, reason, since, until, before }: Ban): BanReport => ({
  ...{ network, by, reason, since: iso(since), until: iso(until), before },
})
const iso = (at: number): string => new Date(at).toISOString()

/** Whether these are the operator's words: printable, and not too long. */
export const isReason = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= LONGEST_REASON && !/\p{C}/u.test(value)
export const REASON = `up to ${LONGEST_REASON} characters, without control characters`

interface Rendered {
  readonly total: number
  /** How many there could have been. */
  readonly limit: number
  /** Each as JSON. */
  readonly rows: readonly string[]
}

/**
 * Answers for GET. A list may have 100,000 entries, and whoever may ask could ask over and over: so it is put in order and written once
 * for all who ask at the same time, as many entries as the one who wants most.
 * @param list its key in the answer is `name`
 */
export function listing(
  list: Pick<List, 'latest'>,
  name: 'bans' | 'allowed',
  clock: Pick<Clock, 'elapsed'>,
): (request: Pick<Request, 'query'>) => Promise<Response> {
  let most = SHOWN
  const rendering = new Rendering<Rendered>(async () => {
    const limit = most
    most = SHOWN
    const { total, bans } = await list.latest(limit)
    return {
      total,
      limit,
      rows: bans.map((ban) => `\n    ${JSON.stringify(reportOf(ban), null, 2).replaceAll('\n', '\n    ')}`),
    }
  }, clock)
  return async ({ query }) => {
    const asked = query.get('limit') ?? String(SHOWN)
    if (!/^[1-9]\d{0,5}$/.test(asked) || Number(asked) > MOST_SHOWN)
      return text(400, `limit: a whole number from 1 to ${MOST_SHOWN}`)
    const limit = Number(asked)
    most = Math.max(most, limit)
    const { total, limit: had, rows } = await rendering.get()
    // While very many ask, the latest rendering may be one for whoever wanted less.
    if (had < limit && had < total) return text(503, 'busy: ask again in a moment')
    const shown = rows.length === 0 ? '[]' : `[${rows.slice(0, limit).join()}\n  ]`
    return { ...json(200, {}), body: `{\n  "total": ${total},\n  "${name}": ${shown}\n}\n` }
  }
}

export async function added(request: Request, list: List): Promise<Response> {
  const read = objectIn(request, EXAMPLE)
  if ('code' in read) return read
  const { network, time, reason } = read.fields
  const unknown = Object.keys(read.fields).find((name) => !['network', 'time', 'reason'].includes(name))
  if (unknown !== undefined) return text(400, `the body has network, time and reason, such as ${EXAMPLE}`)
  if (typeof network !== 'string') return text(400, `network: an address or a CIDR network, such as ${EXAMPLE}`)
  if (reason !== undefined && !isReason(reason)) return text(400, `reason: ${REASON}`)
  const parsed = time === undefined ? undefined : TIME.parse(String(time))
  if (parsed !== undefined && 'hint' in parsed) return text(400, `time: ${TIME.what}; ${parsed.hint}`)
  const made = await list.add({
    network,
    ...(parsed !== undefined && { forMs: parsed.value }),
    ...(reason !== undefined && { reason }),
  })
  return 'mistake' in made ? text(400, `network: ${made.mistake}`) : json(200, reportOf(made))
}

/** @param network what follows in the path */
export async function removed(network: string, list: List): Promise<Response> {
  let read: string
  try {
    read = decodeURIComponent(network)
  } catch {
    return text(400, 'the network in the path is not written as a URL has it')
  }
  const lifted = await list.remove(read)
  if ('mistake' in lifted) return text(lifted.isAbsent ? 404 : 400, lifted.mistake)
  return json(200, reportOf(lifted))
}
