/** The result of charging a client's limits. */
import type { LimitName, Rate } from './limits.ts'

/** `used` includes the attempt that is being judged. The attempt is over the limit if `used > max`. */
export interface Use extends Rate {
  readonly used: number
}

/** What a client, or its network, asked for recently. */
export interface RecentRecipients {
  /** Mailboxes that the cluster does not know. */
  readonly unknown: Use
  /** All mailboxes. */
  readonly asked: number
  /** Of the client alone, at this process: unknown mailboxes that it named with a sender, and all that it named. 0 where its own limit is off. */
  readonly guessed: number
  readonly named: number
}

/** A limit is absent if it is off, or if it was not charged because a narrower one had refused already. */
export type Usage = Readonly<Partial<Record<LimitName, Use>>>

export const NO_USAGE: Usage = {}

/** A usage while it is put together. */
export type MutableUsage = { -readonly [L in LimitName]?: Use }
