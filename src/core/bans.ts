/**
 * Bans: an address or a network that is refused for a while, because it has proved itself a bot, or because the operator says so.
 * What the operator allows for a while has the same form. The rules are in state/bans.ts and state/offences.ts.
 */
import { isBounceSender } from './mailbox.ts'
import type { Refusal } from './policy.ts'
import type { ReasonName } from './reasons.ts'
import { DAY_MS } from './time.ts'

/** A ban, the operator's word that there is to be none, or what the operator allows. All times are in milliseconds since the epoch. */
export interface Ban {
  /** Canonical CIDR: `192.0.2.1/32`, `2001:db8:1:2::/64`, `198.51.100.0/24`. */
  readonly network: string
  /**
   * pardon: nothing is banned there by itself, nor by a wider ban of the operator's. allow: as if SPILLWAY_ALLOW had it; it wins over
   * every ban, and ends by an entry that is over at once.
   */
  readonly kind: 'ban' | 'pardon' | 'allow'
  readonly by: BannedBy
  /** What gave the last points, or `network` for a whole network; the operator's own words. */
  readonly reason: string
  readonly since: number
  /** It is over at this moment. */
  readonly until: number
  /** How often it was banned by itself before, as far as that is remembered. */
  readonly before: number
}
export type BannedBy = 'automatic' | 'operator'

/** What an operator asks for. */
export interface BanRequest {
  /** An address or a CIDR network, as it was written. */
  readonly network: string
  /** For how long, in milliseconds; by default DEFAULT_BAN_MS. */
  readonly forMs?: number
  readonly reason?: string
}
/** Why it cannot be done, in words, and what to do instead. */
export interface BanMistake {
  readonly mistake: string
  /** There is no such ban. */
  readonly isAbsent?: true
}

export interface OffenceRow {
  readonly points: number
  /** Whether this refusal proves anything, by its facts; absent: it does. */
  readonly proves?: (facts: Refusal['facts']) => boolean
  /** Of bounces it proves nothing. */
  readonly sparesBounces?: true
}

/** Of 20 unknown recipients and more. Old lists of honest senders have far fewer among those that exist. */
const HARVEST_SHARE = 0.5
/** Of a client whose network guesses. Who mistypes a name or two has done nothing. */
const LEAST_GUESSES = 3
/**
 * Whether a client has named so many recipients that do not exist, and no more that do. Those of bounces are among the named and not
 * among the guessed, so that a server that bounces gets no points with its next message either.
 */
const isGuesser = (guessed: number, named: number, least: number): boolean =>
  guessed >= least && guessed >= HARVEST_SHARE * named

/**
 * What proves a bot, by the reason of the refusal, and how many points it is worth: all that no honest mail server does. A
 * refusal counts once a session. Load is no reason: who is refused because there is too much has done nothing.
 */
export const OFFENCES = {
  /** It speaks HTTP, TLS or SSH to us. */
  tongue: { points: 5 },
  /**
   * Twenty commands between two messages that are wrong in themselves. Servers that only RSET, that we refuse, or that pipeline
   * many recipients behind a refused MAIL, end so too, and prove nothing.
   */
  junk: { points: 5, proves: ({ spentOn }) => spentOn === 'mistake' },
  line_too_long: { points: 2 },
  pregreet: { points: 5 },
  pipelining: { points: 3 },
  /** It greets us with our own name. Any other name may be a careless administrator's. */
  helo: { points: 5, proves: ({ why }) => why === 'ours' },
  /**
   * It guesses addresses, and half of all that it names do not exist. Bounces, automatic replies and verifications of senders
   * (RFC 5321 section 4.5.5) go to whoever others have named, so that anybody could have an honest server banned.
   */
  unknown_recipients: {
    points: 5,
    sparesBounces: true,
    proves: ({ used, asked, guessed, named }) =>
      Number(used) >= HARVEST_SHARE * Number(asked) && isGuesser(Number(guessed), Number(named), 1),
  },
  /** Its network guesses, and it has part in that: a neighbour of guessers has done nothing. */
  net_unknown_recipients: {
    points: 3,
    sparesBounces: true,
    proves: ({ guessed, named }) => isGuesser(Number(guessed), Number(named), LEAST_GUESSES),
  },
} as const satisfies Partial<Record<ReasonName, OffenceRow>>

export type Offence = keyof typeof OFFENCES
export const OFFENCE_NAMES = Object.keys(OFFENCES) as Offence[]
/** Whether a refusal with these facts proves a bot. @param from the sender of the message, if there is one; '': the null sender */
export function proves(offence: Offence, facts: Refusal['facts'], from?: string): boolean {
  const { proves: proven, sparesBounces }: OffenceRow = OFFENCES[offence]
  if (sparesBounces && from !== undefined && isBounceSender(from)) return false
  return proven?.(facts) ?? true
}
export const isOffence = (reason: ReasonName): reason is Offence => Object.hasOwn(OFFENCES, reason)

/** Why something is banned, as a metric tells it. */
export const BAN_REASONS = [...OFFENCE_NAMES, 'network', 'operator'] as const
export type BanReason = (typeof BAN_REASONS)[number]

/** The longest ban that comes by itself. */
export const LONGEST_AUTOMATIC_MS = DAY_MS
export const DEFAULT_BAN_MS = DAY_MS
export const LONGEST_BAN_MS = 365 * DAY_MS
export const SHORTEST_BAN_MS = 1000
/** How long nothing is banned by itself where the operator has lifted a ban. */
export const PARDON_MS = DAY_MS
/** Characters of the operator's words. */
export const LONGEST_REASON = 200
/** No wider networks are banned: prefix lengths. */
export const WIDEST_BITS = { 4: 8, 6: 16 } as const
/** Longer prefixes of IPv6 are not told apart anywhere in Spillway: a host has a whole /64. */
export const NARROWEST_BITS = { 4: 32, 6: 64 } as const
