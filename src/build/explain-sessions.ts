/** The last sessions for an explanation: those in the memory of this process, and those that all nodes keep in Redis. */
import { type LookedIn, type SessionReport, type Sessions, SHOWN, sessionsOf } from '../admin/sessions.ts'
import { readId, refusalId } from '../core/id.ts'
import { compile, type Network, sourceOf } from '../core/ip.ts'
import {
  hasBrought,
  isRefused,
  KEPT_DAYS,
  KEPT_MS,
  type KeptSession,
  latestOf,
  senderOf,
} from '../core/kept-session.ts'
import { reasonOf } from '../core/reasons.ts'
import type { RecentSessions } from '../front/recent-sessions.ts'
import type { KeptSessions, Sought } from '../state/kept-sessions.ts'
import { timeOf } from './explain-words.ts'

export interface SessionSources {
  readonly recent: Pick<RecentSessions, 'find'>
  /** Undefined: there is no Redis. */
  readonly kept: Pick<KeptSessions, 'find' | 'isUp'> | undefined
  readonly policy: { readonly settings: { readonly explainSessions: number | undefined } }
  readonly now: () => number
}

/** Of what is looked for: in Redis refused and served ones come together. */
const MOST_FOUND = 3 * SHOWN

const NOTES: Readonly<Record<LookedIn['redis'], string>> = {
  asked: `Sessions of all nodes in the last ${KEPT_DAYS} days: of trusted, known and seen clients and of plausible strangers as a whole, of others a sample.`,
  away: 'Redis does not answer: only sessions that this node has in memory are shown. Those of other nodes are there again when Redis is.',
  off: 'SPILLWAY_EXPLAIN_SESSIONS is none: only sessions that this node has in memory are shown.',
  none: 'There is no Redis (SPILLWAY_REDIS_URL): only sessions that this node has in memory are shown.',
}

/** @param wasAway Redis has not answered a moment ago, and is not asked again */
export async function sessionsFor(sought: Sought, sources: SessionSources, wasAway = false): Promise<Sessions> {
  const { recent, kept, policy } = sources
  const here = recent.find(fitting(sought), SHOWN)
  const answer = async (): Promise<{ readonly redis: LookedIn['redis']; readonly there: readonly KeptSession[] }> => {
    if (kept === undefined) return { redis: 'none', there: [] }
    if (policy.settings.explainSessions === undefined) return { redis: 'off', there: [] }
    if (wasAway || !kept.isUp) return { redis: 'away', there: [] }
    try {
      return { redis: 'asked', there: await kept.find(sought, MOST_FOUND) }
    } catch {
      // Its health is watched elsewhere, and the log has it.
      return { redis: 'away', there: [] }
    }
  }
  const { redis, there } = await answer()
  const all = latestOf([here, there], 2 * MOST_FOUND)
  const [refused, served] = [all.filter(isRefused), all.filter((each) => !isRefused(each))]
  const told = (of: readonly KeptSession[]) => of.slice(0, SHOWN).map(reportOf)
  return sessionsOf(told(refused), told(served), { redis, note: NOTES[redis] })
}

function fitting(sought: Sought): Parameters<RecentSessions['find']>[0] {
  if ('id' in sought) return ({ id }) => id === sought.id
  if ('source' in sought) {
    const source = sourceOf(sought.source)
    return ({ ip }) => sourceOf(ip) === source
  }
  if ('network' in sought) {
    const isIn = compile([sought.network])
    return ({ ip }) => isIn(ip)
  }
  return (_, sender) => sender === sought.sender
}

export const ofSource = (source: string): Sought => ({ source })
export const ofNetwork = (network: Network): Sought => ({ network })
export const ofSender = (address: string): Sought => ({ sender: senderOf(address) })

function reportOf(session: KeptSession): SessionReport {
  const { id, host, ip, standing, stage, refusal, sample, rcpts, rcptCount, messages, refusedBy, observe } = session
  const { helo, from, fromHmac } = session
  return {
    ...{ id: refusalId(id, refusal?.reason), at: readId(id)?.at.toISOString() ?? '', host, ip, standing, stage },
    ...(refusal !== undefined && { reason: refusal.reason, code: refusal.code }),
    ...(refusal !== undefined && Object.keys(refusal.facts).length > 0 && { facts: refusal.facts }),
    ...(helo !== undefined && { helo }),
    ...(from !== undefined && { from }),
    ...(fromHmac !== undefined && { fromHmac }),
    ...(rcptCount > 0 && { rcpts, rcptCount }),
    ...(messages.length > 0 && { messages }),
    ...(refusedBy !== undefined && { refusedBy }),
    ...(observe.length > 0 && { observe }),
    ...(sample > 1 && { sample }),
  }
}

/** What became of a session, as the rest of a sentence. */
export function becameOf({ stage, reason, code, refusedBy, messages, observe = [] }: SessionReport): string {
  const said = messages?.find(({ result }) => result === 'accepted')?.reply
  const also = said === undefined ? '' : `; before or after that, mail was accepted ("${said}")`
  if (reason !== undefined)
    return `was turned away at stage ${stage} with ${code}, because ${reasonOf(reason).operator}; the reason is ${reason}${also}`
  if (refusedBy !== undefined) return `was turned away by ${refusedBy.upstream}, which said "${refusedBy.reply}"${also}`
  if (said !== undefined) return `brought mail that was accepted ("${said}")`
  return `was let in, though checks in observe mode would have turned it away: ${observe.join(', ')}`
}

/** Why there is no record of a session. @param at when it began, by its id */
export function whyNoRecord(at: Date, { redis }: LookedIn, now: number): string {
  if (at.getTime() < now - KEPT_MS) return `it is older than ${KEPT_DAYS} days, for which records are kept`
  if (at.getTime() > now + 3_600_000) return 'its time is yet to come: the id is wrong, or the clock of a node is'
  switch (redis) {
    case 'none':
      return 'without Redis (SPILLWAY_REDIS_URL) each node has only its own last sessions, in memory, and forgets them when it is restarted'
    case 'off':
      return 'Redis keeps none (SPILLWAY_EXPLAIN_SESSIONS is none), and this node does not have it in memory'
    case 'away':
      return 'Redis does not answer, and this node does not have it in memory; ask again when Redis is back'
    case 'asked':
      return 'it is not over yet, or nothing was turned away in it, or it was left out: of strangers that are turned away early, and of networks that come more often than others, a sample is kept, and the oldest make room. Or Redis has forgotten it: it was emptied, or restarted without its data'
  }
}

/** Of a sender. */
export function senderSaid(sender: string, { refused, served }: Sessions): string {
  const [last] = latestOf([refused, served], 1)
  if (last === undefined) return `There is no record of a session with the sender ${sender}.`
  const brought = served.filter((each) => hasBrought({ messages: each.messages ?? [] })).length
  const many = (count: number) => (count === SHOWN ? `${SHOWN} or more` : String(count))
  return `${sender}: of its last sessions, ${many(refused.length)} had something turned away, and ${many(brought)} brought mail with nothing turned away. The last one, from ${last.ip} to ${last.host} at ${timeOf(Date.parse(last.at))}, ${becameOf(last)}.`
}
