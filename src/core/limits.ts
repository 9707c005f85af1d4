/**
 * Every limit that counts over time, declared once. Its row here, its reason of the same name (reasons.ts) and its setting
 * (config/settings.ts) are all there is to a limit: what is charged, the checks that compare, the rules between settings, the
 * metrics and what nodes tell each other are derived from these. Open connections are not among them: they are held, not
 * counted.
 */
import type { Client } from './client.ts'
import type { ReasonName } from './reasons.ts'

/** Whom a limit counts together, narrow before wide: one source, its /24 or /48, or all clients. */
export const GROUPINGS = ['source', 'net', 'everybody'] as const
export type Grouping = (typeof GROUPINGS)[number]

export interface LimitRow {
  /**
   * What is counted, and so when it is charged: a connection at the gate, a message with its first recipient, each recipient
   * before the upstream is asked, or each recipient that the upstream has called unknown. Any number of limits may count
   * connections or messages; recipients and unknown recipients have one each.
   */
  readonly counts: 'connections' | 'messages' | 'recipients' | 'unknown'
  readonly per: Grouping
  /** Where the operator sets it, as a rate. */
  readonly setting: `SPILLWAY_LIMIT_${string}`
  /** Keys the table in memory has room for: those of a busy window many times over. */
  readonly capacity: number
}

/** Of those that count the same, narrow before wide: that is the order in which they are charged and compared. */
export const LIMITS = {
  ip_connections: {
    counts: 'connections',
    per: 'source',
    setting: 'SPILLWAY_LIMIT_IP_CONNECTIONS',
    capacity: 1 << 20,
  },
  net_connections: {
    counts: 'connections',
    per: 'net',
    setting: 'SPILLWAY_LIMIT_NET_CONNECTIONS',
    capacity: 1 << 17,
  },
  global_connections: {
    counts: 'connections',
    per: 'everybody',
    setting: 'SPILLWAY_LIMIT_GLOBAL_CONNECTIONS',
    capacity: 8,
  },
  ip_messages: {
    counts: 'messages',
    per: 'source',
    setting: 'SPILLWAY_LIMIT_IP_MESSAGES',
    capacity: 1 << 18,
  },
  global_messages: {
    counts: 'messages',
    per: 'everybody',
    setting: 'SPILLWAY_LIMIT_GLOBAL_MESSAGES',
    capacity: 8,
  },
  ip_recipients: {
    counts: 'recipients',
    per: 'source',
    setting: 'SPILLWAY_LIMIT_IP_RECIPIENTS',
    capacity: 1 << 18,
  },
  unknown_recipients: {
    counts: 'unknown',
    per: 'source',
    setting: 'SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS',
    capacity: 1 << 18,
  },
} as const satisfies Partial<Record<ReasonName, LimitRow>>

export type LimitName = keyof typeof LIMITS
export const LIMIT_NAMES = Object.keys(LIMITS) as LimitName[]

type With<R extends Partial<LimitRow>> = {
  [L in LimitName]: (typeof LIMITS)[L] extends R ? L : never
}[LimitName]

/** Limits that count this, narrow before wide. */
export const limitsThatCount = <C extends LimitRow['counts']>(counts: C): With<{ counts: C }>[] =>
  LIMIT_NAMES.filter((name) => LIMITS[name].counts === counts) as With<{ counts: C }>[]

/** The limits whose one key all clients share. */
export type GlobalLimit = With<{ per: 'everybody' }>
export const GLOBAL_LIMITS = LIMIT_NAMES.filter((name) => LIMITS[name].per === 'everybody') as GlobalLimit[]

/** At most `max` within `windowMs` milliseconds. */
export interface Rate {
  readonly max: number
  readonly windowMs: number
}

/** What the operator has set. Undefined: that limit is off. */
export type Rates = Readonly<Record<LimitName, Rate | undefined>>

export const ALL_OFF = Object.fromEntries(LIMIT_NAMES.map((name) => [name, undefined])) as Rates

/**
 * How many of what a limit counts this client may have within the limit's window at this moment: a whole number, 0 and up.
 * It is asked at every charge and every comparison, and never kept, so that it may differ from client to client and from one
 * moment to the next; the window is that of the setting. `at` is in ms since the epoch.
 */
export type Maximum = (limit: LimitName, client: Client, at: number) => number

/** The same for every client, at all times: what the operator has set. */
export const asSet =
  (rates: Rates): Maximum =>
  (limit) =>
    rates[limit]?.max ?? 0
