/**
 * Every limit that counts over time, declared once. A limit consists of its row here, its reason of the same name
 * (reasons.ts) and its setting (config/settings.ts). What is charged, the checks that compare, the rules between
 * settings, the metrics, and what nodes announce to each other all derive from these. The limit on open connections is
 * not among them: connections are held, not counted over time.
 */
import type { Client } from './client.ts'
import type { ReasonName } from './reasons.ts'
import { recordOf } from './record.ts'

/** Which clients a limit counts together, narrow before wide: one source, its /24 or /48, or all clients. */
export const GROUPINGS = ['source', 'net', 'everybody'] as const
export type Grouping = (typeof GROUPINGS)[number]

export interface LimitRow {
  /**
   * What is counted, and so when it is charged: a connection at the gate, a message with its first recipient, each
   * recipient before a mail server is asked, or each recipient that a mail server called unknown. Any number of limits
   * may count connections, messages or unknown recipients; recipients have one limit.
   */
  readonly counts: 'connections' | 'messages' | 'recipients' | 'unknown'
  readonly per: Grouping
  /** The setting that holds the limit, as a rate. */
  readonly setting: `SPILLWAY_LIMIT_${string}`
  /** How many keys the table in memory has room for: many times those of a busy window. */
  readonly capacity: number
}

/** Limits that count the same thing are listed narrow before wide: they are charged and compared in this order. */
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
  net_unknown_recipients: {
    counts: 'unknown',
    per: 'net',
    setting: 'SPILLWAY_LIMIT_NET_UNKNOWN_RECIPIENTS',
    capacity: 1 << 17,
  },
} as const satisfies Partial<Record<ReasonName, LimitRow>>

export type LimitName = keyof typeof LIMITS
export const LIMIT_NAMES = Object.keys(LIMITS) as LimitName[]

type With<R extends Partial<LimitRow>> = {
  [L in LimitName]: (typeof LIMITS)[L] extends R ? L : never
}[LimitName]

/** The limits that count `counts`, narrow before wide. */
export const limitsThatCount = <C extends LimitRow['counts']>(counts: C): With<{ counts: C }>[] =>
  LIMIT_NAMES.filter((name) => LIMITS[name].counts === counts) as With<{ counts: C }>[]

/** The only limit on recipients. */
export const RECIPIENT_LIMIT = limitsThatCount('recipients')[0] as With<{ counts: 'recipients' }>
/** The limits on recipients that the mail servers call unknown, narrow before wide. */
export type UnknownLimit = With<{ counts: 'unknown' }>
export const UNKNOWN_LIMITS = limitsThatCount('unknown')

/** The limits that have one key, shared by all clients. */
export type GlobalLimit = With<{ per: 'everybody' }>
export const GLOBAL_LIMITS = LIMIT_NAMES.filter((name) => LIMITS[name].per === 'everybody') as GlobalLimit[]
/** The global limits that a message is charged to. */
export const GLOBAL_MESSAGE_LIMITS = GLOBAL_LIMITS.filter((name) => LIMITS[name].counts === 'messages')

/** At most `max` within `windowMs` milliseconds. */
export interface Rate {
  readonly max: number
  readonly windowMs: number
}

/** The rates that the operator set; undefined where a limit is off. */
export type Rates = Readonly<Record<LimitName, Rate | undefined>>

export const ALL_OFF: Rates = recordOf(LIMIT_NAMES, () => undefined)

/**
 * The maximum of a limit for this client at this moment, within the window of the setting: a whole number, 0 or more.
 * It is looked up at every charge and every comparison and never kept, so that it may differ between clients and from
 * one moment to the next. `at` is in ms since the epoch.
 */
export type Maximum = (limit: LimitName, client: Client, at: number) => number

/** The maximum that the operator has set, the same for every client. @param rates as they are set now */
export const asSet =
  (rates: () => Rates): Maximum =>
  (limit) =>
    rates()[limit]?.max ?? 0
