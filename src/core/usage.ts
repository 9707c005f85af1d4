/** What is counted against a limit, and what came of counting it. */

/** At most `max` within `windowMs` milliseconds. */
export interface Rate {
  readonly max: number
  readonly windowMs: number
}

/** The limits that count over time. Open connections are not among them: they are held, not counted. */
export const LIMIT_NAMES = [
  'ip_connections',
  'net_connections',
  'global_connections',
  'ip_messages',
  'global_messages',
  'ip_recipients',
  'unknown_recipients',
] as const
export type LimitName = (typeof LIMIT_NAMES)[number]

/** `used` includes the attempt that is being judged: it is over the limit when `used > max`. */
export interface Use extends Rate {
  readonly used: number
}

/** Absent: that limit is off, or was not charged because a narrower one had refused already. */
export type Usage = Readonly<Partial<Record<LimitName, Use>>>
