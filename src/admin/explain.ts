/**
 * GET /api/v1/explain?q=…: what an address, a network, a sender or an id is to this node, what it would hear now, what would change that,
 * and the last sessions, of all nodes where there is a Redis, and what it is to each of these. It counts nothing, and asks neither the DNS
 * nor a mail server.
 */
import type { Standing } from '../core/client.ts'
import type { LimitName } from '../core/limits.ts'
import type { ReasonName } from '../core/reasons.ts'
import type { BanReport } from './bans.ts'
import type { Request } from './request.ts'
import { json, type Response, text } from './response.ts'
import type { Sessions } from './sessions.ts'

/** What comes first in each: sentences for a person. */
interface Said {
  /** What happens now. */
  readonly verdict: string
  /** Where nodes differ in what they say of the address, and which have not said anything; absent: nobody but this process was asked. */
  readonly differences?: readonly string[]
  /** What would change it. */
  readonly change: readonly string[]
}

/** What is remembered of an address, a network or a domain. Weights and times are as of now; times in ISO 8601, to the hour. */
export interface PastReport {
  /** Good messages since the first; of a network and a domain: addresses with good mail, each once a day. */
  readonly good: number
  /** What the latest ones weigh. */
  readonly recentGood: number
  readonly recentBad: number
  readonly firstGood?: string
  readonly lastGood?: string
  readonly lastBad?: string
}

/** One limit. */
export interface LimitReport {
  readonly limit: LimitName | 'ip_concurrency'
  readonly setting: string
  /** Whose count it is: the address's (an IPv6 /64), its network's, or that of all clients. */
  readonly per: 'source' | 'net' | 'everybody'
  readonly used: number
  readonly max: number
  readonly windowSeconds?: number
  /** When all that was used so far counts no more; absent where nothing was. */
  readonly resetsAt?: string
}

/** On which lists of the operator it is. */
export interface ListsReport {
  readonly allow: boolean
  readonly deny: boolean
  readonly relays: boolean
  readonly balancer: boolean
}

/** What it would hear at a stage; `observed`: reasons for which it would be turned away by checks that are only observed. */
export interface StageReport {
  readonly reason?: ReasonName
  readonly reply?: string
  readonly observed: readonly ReasonName[]
}

export interface AddressExplained extends Said, Sessions {
  readonly kind: 'address'
  readonly address: string
  /** The key of limits per client. */
  readonly source: string
  readonly net: string
  readonly standing: {
    readonly is: Standing
    /** The evidence that decides. */
    readonly by: string
    readonly because: string
    readonly own: PastReport
    readonly net: PastReport
    readonly domain?: PastReport & { readonly name: string; readonly nets: number }
  }
  readonly lists: ListsReport
  /** At run time. */
  readonly allowed?: BanReport
  readonly ban?: BanReport
  /** Towards a ban that comes by itself, as of now; `banAt`: it is banned with so many (SPILLWAY_BAN_AFTER), absent: it never is. */
  readonly points: { readonly now: number; readonly banAt?: number }
  readonly now: {
    readonly overloadLevel: number
    readonly connect: StageReport
    /** `share`: of the messages of its standing that the level lets in, 0 to 1. */
    readonly rcpt: StageReport & { readonly share: number }
  }
  readonly limits: readonly LimitReport[]
  /** What is known already. */
  readonly dns: {
    /** The forward-confirmed name; null: it has none. Absent: nobody has asked lately. */
    readonly name?: string | null
    readonly domain?: string
    readonly lists?: { readonly score: number; readonly threshold: number; readonly zones: readonly string[] }
  }
  /** Whether it has waited for a greeting that was held back, within a day. */
  readonly greetingTest: { readonly passed: boolean; readonly delayMs: number }
  /** What it is to each node, that which was asked first; absent: nobody but this process was asked. */
  readonly nodes?: readonly (NodeExplained | NodeSilent)[]
  readonly nodesAsked?: NodesAsked
}

/** What an address is to one node. Of several workers the one that turns it away, and of each limit the fullest share. */
export interface NodeExplained
  extends Pick<
    AddressExplained,
    'verdict' | 'lists' | 'allowed' | 'ban' | 'points' | 'now' | 'limits' | 'dns' | 'greetingTest'
  > {
  readonly node: string
  readonly answered: true
  /** Whether it is the one that was asked. */
  readonly here: boolean
  readonly standing: Pick<AddressExplained['standing'], 'is' | 'by' | 'because' | 'own'>
}

/** A node, or a process of it, that has not answered, or not with what can be read. */
export interface NodeSilent {
  readonly node: string
  readonly answered: false
  readonly here: false
  readonly note: string
}

/** asked: through Redis; away: Redis does not answer; busy: there were too many questions; none: there is no Redis. */
export interface NodesAsked {
  readonly redis: 'asked' | 'away' | 'busy' | 'none'
  readonly note: string
}

export interface NetworkExplained extends Said, Sessions {
  readonly kind: 'network'
  readonly network: string
  /** Whether it has an address in common with what is on them. */
  readonly lists: ListsReport
  readonly allowed?: BanReport
  readonly overloadLevel: number
  /** What bans its first address. */
  readonly ban?: BanReport
  /** Bans in force in it or around it, at most 20. */
  readonly bans: readonly BanReport[]
  /** Of its first /24 or /48. */
  readonly net: PastReport
  /** What it is to each node; as AddressExplained has it. */
  readonly nodes?: readonly (NetworkNode | NodeSilent)[]
  readonly nodesAsked?: NodesAsked
}

/** What a network is to one node. */
export interface NetworkNode extends Pick<NetworkExplained, 'overloadLevel' | 'lists' | 'allowed' | 'ban' | 'net'> {
  readonly node: string
  readonly answered: true
  readonly here: boolean
}

export interface IdExplained extends Said, Sessions {
  readonly kind: 'id'
  readonly id: string
  readonly at: string
  /** Of the node or worker that gave it. */
  readonly node: number
  /** The name of that node; absent where there is no record of the session. */
  readonly host?: string
  readonly reason?: ReasonName
  /** Its address, as of now; absent where there is no record of the session. */
  readonly address?: AddressExplained
}

/** The address of a sender (RFC 5321 section 2.3.11). */
export interface SenderExplained extends Said, Sessions {
  readonly kind: 'sender'
  readonly sender: string
  /** What its last session came from, as of now; absent where there is no record of one. */
  readonly address?: AddressExplained
}

export type Explanation = AddressExplained | NetworkExplained | SenderExplained | IdExplained

/** It is none of these. */
export interface NotExplained {
  readonly mistake: string
}

/** @param asked as somebody wrote it */
export type Explain = (asked: string) => Explanation | NotExplained | Promise<Explanation | NotExplained>

/** Longer than anything that can be asked for: a path has 256 octets (RFC 5321 section 4.5.3.1.3). */
export const LONGEST = 300

export async function explained({ query }: Request, explain: Explain): Promise<Response> {
  const asked = (query.get('q') ?? '').trim()
  if (asked === '' || asked.length > LONGEST)
    return text(400, 'q: an address, a network, a sender or an id, such as /api/v1/explain?q=192.0.2.1')
  const answer = await explain(asked)
  if (!('mistake' in answer)) return json(200, answer)
  const plus = asked.includes(' ') ? '. In a URL + is written %2B' : ''
  return text(400, `q: ${answer.mistake}${plus}`)
}
