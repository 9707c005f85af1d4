/** How all nodes are that share a Redis, and in whom they have banned they differ (admin/nodes.ts): what they say, put beside what this one says. */
import type { NodeSilent } from '../admin/explain.ts'
import { type NodeBans, type NodeState, type NodesParts, nodeStateOf, type OfNode } from '../admin/nodes.ts'
import type { Status } from '../admin/status.ts'
import { askedOf, missingOf, type NodesAnswer } from './explain-nodes.ts'
import { BANS_ASKED, type BansPart, STATUS_ASKED, type ToldBan } from './nodes-part.ts'

export interface NodesReportSources {
  readonly status: () => Status | Promise<Status>
  readonly bans: () => BansPart | Promise<BansPart>
  /** Asks the other nodes. */
  readonly others: (asked: string) => Promise<NodesAnswer>
  readonly host: () => string
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** Within this time nodes tell each other of a ban, or of its end, and their clocks agree. */
const TOLD_MS = 5000
/** Networks that a sentence names. */
const MOST_NAMED = 5

export function buildNodesParts({ status, bans, others, host, now }: NodesReportSources): NodesParts {
  const own = (): OfNode => ({ node: host(), answered: true, here: true })
  return {
    async status() {
      const [state, answer] = await Promise.all([status(), others(STATUS_ASKED)])
      const told = answer.nodes.filter((each): each is NodeState & OfNode => 'severity' in each)
      return {
        nodes: [{ ...own(), ...nodeStateOf(state, now()) }, ...told, ...answer.silent],
        nodesAsked: askedOf(answer),
      }
    },
    async bans() {
      const [here, answer] = await Promise.all([bans(), others(BANS_ASKED)])
      const told = answer.nodes
        .filter((each): each is BansPart & OfNode => 'latest' in each)
        .map((each) => differing(here, each, now()))
      return {
        nodes: [{ ...own(), total: here.total, missing: [], more: [] }, ...told, ...answer.silent],
        nodesAsked: askedOf(answer),
        differences: [
          ...missingOf(answer),
          ...told.flatMap((each) => sentencesOf(each, host())),
          ...silentWords(answer),
        ],
      }
    },
  }
}

const silentWords = ({ silent }: { readonly silent: readonly NodeSilent[] }): string[] =>
  silent.map(({ node, note }) => `${node}: ${note}.`)

const differing = (here: BansPart, { latest, total, ...of }: BansPart & OfNode, now: number): NodeBans => {
  const there = { latest, total }
  return { ...of, total, missing: lacking(there, here, now), more: lacking(here, there, now) }
}

/** Networks in the one that the other lacks, as far as it can be told: of the latest alone it is known that they are not there. */
function lacking(one: BansPart, other: BansPart, now: number): string[] {
  const keyOf = ({ network, by }: ToldBan): string => `${by} ${network}`
  const has = new Set(one.latest.map(keyOf))
  const isAll = one.total <= one.latest.length
  const from = isAll ? 0 : Math.min(...one.latest.map(({ since }) => since))
  return other.latest
    .filter((ban) => ban.since > from && ban.since < now - TOLD_MS && ban.until > now + TOLD_MS && !has.has(keyOf(ban)))
    .map(({ network }) => network)
}

function sentencesOf({ node, missing, more }: NodeBans, host: string): string[] {
  const named = (networks: readonly string[]): string => {
    const rest = networks.length - MOST_NAMED
    return `${networks.slice(0, MOST_NAMED).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`
  }
  return [
    ...(missing.length === 0 ? [] : [`Not banned at ${node}, and banned at ${host}: ${named(missing)}.`]),
    ...(more.length === 0 ? [] : [`Banned at ${node}, and not banned at ${host}: ${named(more)}.`]),
  ]
}
