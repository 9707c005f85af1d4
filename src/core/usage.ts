/** What came of charging a client to its limits. */
import type { LimitName, Rate } from './limits.ts'

/** `used` includes the attempt that is being judged: it is over the limit when `used > max`. */
export interface Use extends Rate {
  readonly used: number
  /** It was let in, and counted not by this node alone. */
  readonly shared?: true
}

/** Absent: that limit is off, or was not charged because a narrower one had refused already. */
export type Usage = Readonly<Partial<Record<LimitName, Use>>>
