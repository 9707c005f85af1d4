/**
 * What an address is to all nodes that share a Redis: this process asks the others (state/questions.ts), and answers them. Each tells what it
 * has in its memory, as explain.ts reads it; what they say is put beside what this node says, and what differs is named first.
 */

import type {
  Explanation,
  NetworkExplained,
  NetworkNode,
  NodeExplained,
  NodeSilent,
  NodesAsked,
  NotExplained,
} from '../admin/explain.ts'
import type { NodeState, OfNode } from '../admin/nodes.ts'
import type { Ban } from '../core/bans.ts'
import type { Network } from '../core/ip.ts'
import { hostOf, type Questions, type Replies, WAIT_MS } from '../state/questions.ts'
import { differencesOf, networkDifferencesOf } from './explain-differences.ts'
import {
  isAddress,
  type NetworkPart,
  networkIn,
  networkPartOf,
  type Part,
  partIn,
  partOf,
  textOfPart,
} from './explain-part.ts'
import { partsTogether } from './explain-together.ts'
import { BANS_ASKED, type BansPart, bansPartOf, STATUS_ASKED } from './nodes-part.ts'

type AnyPart = Part | NetworkPart | NodeState | BansPart
type Answered = NodeExplained | NetworkNode | ((NodeState | BansPart) & OfNode)

export interface NodesAnswer {
  readonly redis: NodesAsked['redis']
  /** The others. */
  readonly nodes: readonly Answered[]
  readonly silent: readonly NodeSilent[]
  /** Processes that were not asked. */
  readonly more: number
}

export interface NodesSources {
  /** Undefined: there is no Redis. */
  readonly questions: Pick<Questions, 'ask' | 'onAsked'> | undefined
  /** The name of this node. */
  readonly host: string
  /** Twelve hexadecimal digits that all processes of this node have, and nobody else. */
  readonly crew: string
  /** What an address is to this process. @param ip canonical */
  readonly addressNow: (ip: string) => Parameters<typeof partOf>[0]
  /** The same of a network. */
  readonly networkNow: (network: Network) => NetworkPart
  /** How this process is. */
  readonly stateNow: () => NodeState
  /** Bans in force. */
  readonly bansNow: () => readonly Ban[]
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
}

/** An answer is shown for so long to whoever asks again: a page that is loaded over and over is no question each time. */
const SAME_MS = 1000
/** Answers that are kept for that. */
const MOST_SAME = 16
/** Characters of a name that Redis has. */
const LONGEST_NAME = 100

const SECONDS = WAIT_MS / 1000

/** Answers others from now on. @returns asks them; it never rejects */
export function buildNodes(sources: NodesSources): (asked: string) => Promise<NodesAnswer> {
  const { questions, crew, elapsed } = sources
  if (questions === undefined) return async () => ({ redis: 'none', nodes: [], silent: [], more: 0 })
  const answers = answering(sources)
  questions.onAsked((asked) => {
    const part = answers(asked)
    return part && textOfPart(asked, { crew, part })
  })
  const latest = new Map<string, { until: number; readonly answer: Promise<NodesAnswer> }>()
  return (asked) => {
    const at = elapsed()
    for (const [key, { until }] of latest) if (at > until) latest.delete(key)
    const same = latest.get(asked)
    if (same !== undefined) return same.answer
    const answer = questions.ask(asked).then((replies) => answerOf(asked, replies, sources))
    const [oldest] = latest.keys()
    if (latest.size >= MOST_SAME && oldest !== undefined) latest.delete(oldest)
    const kept = { until: Number.POSITIVE_INFINITY, answer }
    latest.set(asked, kept)
    void answer.then(({ redis }) => {
      // Whoever was told to ask again may do so.
      kept.until = redis === 'asked' ? elapsed() + SAME_MS : elapsed()
    })
    return answer
  }
}

/** What this process says to each question; undefined: nothing. What is about the whole node is looked up once a second. */
function answering(sources: NodesSources): (asked: string) => AnyPart | undefined {
  const { addressNow, networkNow, stateNow, bansNow, elapsed } = sources
  const oncePerSecond = <T>(look: () => T): (() => T) => {
    let seen: { readonly at: number; readonly value: T } | undefined
    return () => {
      if (seen === undefined || elapsed() - seen.at >= SAME_MS) seen = { at: elapsed(), value: look() }
      return seen.value
    }
  }
  const [state, bans] = [oncePerSecond(stateNow), oncePerSecond(() => bansPartOf(bansNow()))]
  return (asked) => {
    if (asked === STATUS_ASKED) return state()
    if (asked === BANS_ASKED) return bans()
    if (isAddress(asked)) return partOf(addressNow(asked))
    const network = networkIn(asked)
    return network && networkPartOf(networkNow(network))
  }
}

const byName = (a: { readonly node: string }, b: typeof a): number => (a.node < b.node ? -1 : 1)
const shortHostOf = (name: string): string => hostOf(name).slice(0, LONGEST_NAME)

function answerOf(asked: string, { state, answers, silent, gone, more }: Replies, own: NodesSources): NodesAnswer {
  const told = answers.map(({ name, text }) => ({ host: shortHostOf(name), told: partIn(asked, text) }))
  const groups = new Map<string, { host: string; crew: string; parts: [AnyPart, ...AnyPart[]] }>()
  for (const { host, told: of } of told) {
    // Other processes of this node are asked by their parent.
    if (of === undefined || of.crew === own.crew) continue
    const key = `${host} ${of.crew}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { host, crew: of.crew, parts: [of.part] })
    else group.parts.push(of.part)
  }
  const hosts = [...groups.values()].map(({ host }) => host)
  const isNameOfSeveral = (host: string): boolean => [own.host, ...hosts].filter((each) => each === host).length > 1
  const nodes = [...groups.values()]
    .map(({ host, crew, parts }): Answered => {
      const node = isNameOfSeveral(host) ? `${host} (${crew.slice(0, 4)})` : host
      return { node, answered: true, here: false, ...partsTogether(parts) }
    })
    .sort(byName)
  const known = [own.host, ...told.map(({ host }) => host)]
  const unread = told.flatMap(({ host, told: of }) => (of === undefined ? [host] : []))
  const late = silent.map(shortHostOf)
  return {
    ...{ redis: state, nodes, more },
    silent: [
      ...silentOf(late, [own.host, ...hosts], `did not answer within ${SECONDS} s: what it would say is not known`),
      ...silentOf(unread, [own.host, ...hosts], UNREAD),
      ...goneOf(gone, [...known, ...late]),
    ].sort(byName),
  }
}

const UNREAD =
  'gave an answer that is none: it has another version of Spillway, or somebody else writes to this Redis; what it would say is not known'

/** One row for each name. @param known names of nodes of which some process has answered */
function silentOf(hosts: readonly string[], known: readonly string[], what: string): NodeSilent[] {
  return [...new Set(hosts)].map((node) => {
    const many = hosts.filter((each) => each === node).length
    const who = many > 1 ? `${many} of its processes` : known.includes(node) ? 'one of its processes' : 'it'
    return { node, answered: false, here: false, note: `${who} ${what}` }
  })
}

/** Of a name that others have, or that has come back, nobody is missed. @param known all names that are there */
function goneOf(gone: Replies['gone'], known: readonly string[]): NodeSilent[] {
  const ago = new Map<string, number>()
  for (const { name, agoMs } of gone) {
    const host = shortHostOf(name)
    if (!known.includes(host)) ago.set(host, Math.min(agoMs, ago.get(host) ?? agoMs))
  }
  return [...ago].map(([node, agoMs]) => {
    const note = `it was last heard of ${Math.round(agoMs / 1000)} s ago, and did not answer: it hangs, is cut off from Redis, or has ended without a word`
    return { node, answered: false, here: false, note }
  })
}

/** Puts what other nodes say beside what this one says. @param host the name of this node */
export function withNodes(explained: Explanation, host: string, answer: NodesAnswer): Explanation {
  if (explained.kind === 'network') return networkWithNodes(explained, host, answer)
  if (explained.kind !== 'address') {
    if (explained.address === undefined) return explained
    const { kind, verdict, ...rest } = explained
    const address = withNodes(explained.address, host, answer) as typeof explained.address
    return { kind, verdict, differences: address.differences, ...rest, address } as Explanation
  }
  const { kind, verdict, ...rest } = explained
  const here: NodeExplained = { node: host, answered: true, here: true, ...partOf(explained) }
  const answered = [here, ...answer.nodes.filter((each) => 'now' in each)]
  const nodesAsked = askedOf(answer)
  const differences = [...missingOf(answer), ...differencesOf(answered, answer.silent)]
  return { kind, verdict, differences, ...rest, nodes: [...answered, ...answer.silent], nodesAsked }
}

function networkWithNodes(explained: NetworkExplained, node: string, answer: NodesAnswer): NetworkExplained {
  const { kind, verdict, ...rest } = explained
  const here: NetworkNode = { node, answered: true, here: true, ...networkPartOf(explained) }
  const answered = [here, ...answer.nodes.filter((each) => 'overloadLevel' in each)]
  const differences = [...missingOf(answer), ...networkDifferencesOf(answered, answer.silent)]
  return { kind, verdict, differences, ...rest, nodes: [...answered, ...answer.silent], nodesAsked: askedOf(answer) }
}

/** That others were not asked comes first. */
export const missingOf = (answer: NodesAnswer): string[] =>
  answer.redis === 'away' || answer.redis === 'busy' || answer.more > 0 ? [askedOf(answer).note] : []

export function askedOf({ redis, more }: NodesAnswer): NodesAsked {
  const rest = more > 0 ? ` ${more} more processes were not asked.` : ''
  const notes: Readonly<Record<NodesAsked['redis'], string>> = {
    asked: `All nodes that share this Redis were asked.${rest}`,
    away: 'Redis does not answer: what other nodes would say is not known. Ask them one by one, or ask again when Redis is back.',
    busy: 'Too much was asked at once: what other nodes would say is not known. Ask again in a moment.',
    none: 'There is no Redis (SPILLWAY_REDIS_URL): this is what the node says that was asked. Other nodes are to be asked one by one.',
  }
  return { redis, note: notes[redis] }
}

export type Explain = (asked: string) => Promise<Explanation | NotExplained>

/** What other nodes are asked about. */
function aboutOf(explained: Explanation): string | undefined {
  if (explained.kind === 'network') return explained.network
  return explained.kind === 'address' ? explained.address : explained.address?.address
}

/** Explains an address as all nodes see it. @param explain as this process sees it @param others asks the others about an address */
export const explainEverywhere =
  (explain: Explain, others: (ip: string) => Promise<NodesAnswer>, host: () => string): Explain =>
  async (asked) => {
    const explained = await explain(asked)
    if ('mistake' in explained) return explained
    const about = aboutOf(explained)
    return about === undefined ? explained : withNodes(explained, host(), await others(about))
  }
