/** What a line of our log says of a session (docs/log.md), as far as it can be replayed. */
import { isIP } from 'node:net'
import { type Client, STANDINGS, type Standing } from '../../core/client.ts'
import { canonical, familyOf, netOf, sourceOf } from '../../core/ip.ts'

export interface SessionSeen {
  /** In ms since the epoch: when it began, and when it was over. */
  readonly begun: number
  readonly ended: number
  readonly client: Client
  /** How many sessions the line stands for; of the others only the number is known. */
  readonly sample: number
  /** Messages, and those of them that a mail server took. */
  readonly messages: number
  readonly accepted: number
  readonly recipients: number
  /** Recipients that the line names: their domains, and how they were answered. */
  readonly named: readonly { readonly domain: string; readonly isTaken: boolean; readonly isUnknown: boolean }[]
  /** Our own refusal in the log. */
  readonly reason: string | undefined
}

/** Sessions without a line of their own, told at the end of the program. */
export interface Uncounted {
  readonly ended: number
  readonly sample: number
}

/** `other`: a line about the program itself. */
export type LineSeen = SessionSeen | Uncounted | 'other' | 'bad'

export const isSession = (seen: SessionSeen | Uncounted): seen is SessionSeen => 'client' in seen

/** A line says what it likes; nothing that follows from it may take for ever. */
const MOST_SAMPLE = 1_000_000
const MOST_COUNT = 100_000
const LONGEST_MS = 7 * 86_400_000
const MOST_NAMED = 20

type Json = Readonly<Record<string, unknown>>
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

const whole = (value: unknown, most: number, usual: number): number | undefined => {
  if (value === undefined) return usual
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= most ? value : undefined
}

export function sessionIn(line: string): LineSeen {
  let json: unknown
  try {
    json = JSON.parse(line)
  } catch {
    return 'bad'
  }
  if (!isObject(json) || typeof json.msg !== 'string') return 'bad'
  if (json.msg === 'sessions not logged one by one') return uncounted(json)
  return json.msg === 'session' ? session(json) : 'other'
}

function uncounted({ ts, sample }: Json): LineSeen {
  const ended = Date.parse(String(ts))
  const count = whole(sample, MOST_COUNT * MOST_COUNT, 0)
  return Number.isNaN(ended) || count === undefined ? 'bad' : { ended, sample: count }
}

function session(json: Json): LineSeen {
  const { ip, standing, ts, ms, reason } = json
  const ended = Date.parse(String(ts))
  const total = whole(isObject(ms) ? Math.round(Number(ms.total)) : undefined, LONGEST_MS, 0)
  const sample = whole(json.sample, MOST_SAMPLE, 1)
  const messages = whole(json.messageCount, MOST_COUNT, 0)
  const recipients = whole(json.rcptCount, MOST_COUNT, 0)
  if (typeof ip !== 'string' || isIP(ip) === 0 || Number.isNaN(ended)) return 'bad'
  if (!STANDINGS.some((each) => each === standing)) return 'bad'
  if (total === undefined || sample === undefined || messages === undefined || recipients === undefined) return 'bad'
  return {
    ...{ begun: ended - total, ended, sample: Math.max(1, sample), messages, recipients },
    client: clientOf(ip, standing as Standing, json.relay === true),
    accepted: acceptedOf(json.messages, messages),
    named: namedIn(json.rcpts),
    reason: typeof reason === 'string' ? reason : undefined,
  }
}

/** What its address makes of it is worked out anew, as at the gate. */
export function clientOf(address: string, standing: Standing, isRelay: boolean): Client {
  const ip = canonical(address)
  return {
    ...{ id: '', ip, port: 0, family: familyOf(ip), source: sourceOf(ip), net: netOf(ip), standing, isRelay },
    local: { ip: '0.0.0.0', port: 25 },
  }
}

/** A line names the first twenty messages. Of the others as large a share is taken to have been accepted. */
function acceptedOf(told: unknown, count: number): number {
  if (!Array.isArray(told) || told.length === 0) return 0
  const accepted = told.filter((each) => isObject(each) && each.result === 'accepted').length
  return Math.round((accepted / told.length) * Math.max(count, told.length))
}

function namedIn(rcpts: unknown): SessionSeen['named'] {
  if (!Array.isArray(rcpts)) return []
  return rcpts.slice(0, MOST_NAMED).flatMap((each) => {
    if (!isObject(each) || typeof each.to !== 'string' || typeof each.code !== 'number') return []
    const { to, code } = each
    const domain = to.slice(to.lastIndexOf('@') + 1).toLowerCase()
    return [{ domain, isTaken: code < 300, isUnknown: code === 550 || code === 551 || code === 553 }]
  })
}
