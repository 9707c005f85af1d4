/** What is kept of a session when it is over, so that it can be explained afterwards: in memory for a while, in Redis for seven days. */
import type { Standing } from './client.ts'
import type { CheckName, ReasonName } from './reasons.ts'
import type { Stage } from './stages.ts'
import { DAY_MS } from './time.ts'

/**
 * Kinds that never push each other out.
 *
 *     known      turned away: clients that are trusted or known, and relays
 *     seen       turned away: clients that are seen
 *     plausible  turned away: new clients that got as far as MAIL, and did nothing that proves a bot or breaks the protocol
 *     sampled    turned away: all others, and what is beyond a network's share of the three above
 *     served     nothing was turned away, and mail was accepted, or a check in observe mode would have turned it away
 */
export const KEPT_KINDS = ['known', 'seen', 'plausible', 'sampled', 'served'] as const
export type KeptKind = (typeof KEPT_KINDS)[number]

/** For so long in Redis. */
export const KEPT_DAYS = 7
export const KEPT_MS = KEPT_DAYS * DAY_MS

/** Text of clients and mail servers in it is escaped and clipped. */
export interface KeptSession {
  /** Of the session: the first 11 characters of the id that its client has heard. They tell the second, too. */
  readonly id: string
  /** The name of the node that had it (SPILLWAY_HOSTNAME). */
  readonly host: string
  readonly ip: string
  readonly standing: Standing
  /** Of our last refusal; otherwise as far as it got. */
  readonly stage: Stage
  /** Our last refusal; undefined: a mail server has refused, or nobody. */
  readonly refusal: KeptRefusal | undefined
  /** How many sessions it stands for: itself, and those of its kind that were not kept since the one before. */
  readonly sample: number
  readonly helo: string | undefined
  /** With its local part only if the log shows local parts. */
  readonly from: string | undefined
  /** What the log has beside it, if it has a key. */
  readonly fromHmac: string | undefined
  /** The first ones, as `from`. */
  readonly rcpts: readonly KeptRecipient[]
  readonly rcptCount: number
  /** What became of the first messages, with what the mail server said at last. */
  readonly messages: readonly KeptMessage[]
  /** The last refusal of a mail server. */
  readonly refusedBy: { readonly upstream: string; readonly reply: string } | undefined
  /** Checks in observe mode that would have turned something away. */
  readonly observe: readonly (CheckName | ReasonName)[]
}

export interface KeptRefusal {
  readonly reason: ReasonName
  readonly code: number
  readonly facts: Readonly<Record<string, string | number>>
}

export interface KeptRecipient {
  readonly to: string
  readonly toHmac?: string
  readonly code: number
}

export interface KeptMessage {
  readonly result: string
  readonly reply: string
}

/** Whether we, or a mail server, have turned something away in it. */
export const isRefused = ({ refusal, refusedBy }: Pick<KeptSession, 'refusal' | 'refusedBy'>): boolean =>
  refusal !== undefined || refusedBy !== undefined

/** Whether a mail server has accepted a message in it. */
export const hasBrought = ({ messages }: Pick<KeptSession, 'messages'>): boolean =>
  messages.some(({ result }) => result === 'accepted')

/** An address by which sessions are found: the way it is written, in capitals or not, makes no difference. */
export const senderOf = (address: string): string => address.toLowerCase()

/** The latest first: an id begins with the second. @param lists may have a session more than once */
export function latestOf<T extends Pick<KeptSession, 'id'>>(lists: readonly (readonly T[])[], most: number): T[] {
  const byId = new Map<string, T>()
  for (const session of lists.flat()) if (!byId.has(session.id)) byId.set(session.id, session)
  return [...byId.values()].sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, most)
}
