/** What the operator asks about: an address, as this process and as all nodes see it, and the nodes themselves. */
import { randomBytes } from 'node:crypto'
import { type NodesParts, nodeStateOf } from '../admin/nodes.ts'
import type { Status } from '../admin/status.ts'
import { addressNow, buildExplain, type ExplainSources } from './explain.ts'
import { networkNow } from './explain-network.ts'
import { buildNodes, type Explain, explainEverywhere, type NodesAnswer, type NodesSources } from './explain-nodes.ts'
import { buildNodesParts } from './nodes.ts'
import { bansPartOf } from './nodes-part.ts'

export interface Explaining {
  /** As this process sees it. */
  readonly here: Explain
  /** As all nodes see it. */
  readonly everywhere: Explain
  /** Asks the others about an address, or how they are. */
  readonly others: (asked: string) => Promise<NodesAnswer>
  /** How all nodes are, and in whom they have banned they differ. */
  readonly nodes: NodesParts
}
/** @param worker undefined: the node is this process alone */
export function buildExplaining(
  parts: ExplainSources & {
    readonly questions: NodesSources['questions']
    readonly clock: { readonly elapsed: () => number }
    readonly settings: { readonly hostname: string }
    readonly status: () => Status
  },
  worker: { readonly crew: string } | undefined,
): Explaining {
  const { questions, clock, settings, bans, status, now } = parts
  const { hostname: host } = settings
  const here = buildExplain(parts)
  const others = buildNodes({
    ...{ questions, host, crew: worker?.crew ?? randomBytes(6).toString('hex'), elapsed: clock.elapsed },
    addressNow: (ip) => addressNow(ip, parts),
    networkNow: (network) => networkNow(network, parts),
    stateNow: () => nodeStateOf(status(), now()),
    bansNow: () => bans.list(),
  })
  const nodes = buildNodesParts({ status, bans: () => bansPartOf(bans.list()), others, host: () => host, now })
  return { here, others, nodes, everywhere: explainEverywhere(here, others, () => host) }
}
