/**
 * GET /api/v1/nodes: how each node is that shares a Redis with the one that is asked; GET /api/v1/nodes/bans: where they differ in whom they
 * have banned. Without Redis it is the one that is asked, alone. A node that does not answer is named.
 */
import type { Level } from '../core/overload.ts'
import type { NodeSilent, NodesAsked } from './explain.ts'
import { verdictOf as conditionOf, SEVERITIES, type Severity } from './nagios.ts'
import type { Status } from './status.ts'
import { verdictOf } from './verdict.ts'

/** How a node is, as it says itself. */
export interface NodeState {
  /** As `spillway status` there says it. */
  readonly severity: Severity
  readonly summary: string
  /** What to do. */
  readonly advice?: string
  readonly version: string
  /** In ISO 8601. */
  readonly upSince: string
  readonly ready: boolean
  /** Since when the operator has drained it, in ISO 8601; absent: it is not drained. */
  readonly drainedSince?: string
  /** Absent while no worker has told its own. */
  readonly level?: Level
  /** Connections, sessions that were told to come back, and messages that a mail server accepted; absent as `level` is, and in the first seconds. */
  readonly lastMinute?: { readonly connections: number; readonly shed: number; readonly messages: number }
}

/** What a row of any answer of a node begins with. */
export interface OfNode {
  readonly node: string
  readonly answered: true
  /** Whether it is the one that was asked. */
  readonly here: boolean
}

export interface NodesReport {
  /** The one that was asked first, and those last that have not answered. */
  readonly nodes: readonly ((NodeState & OfNode) | NodeSilent)[]
  readonly nodesAsked: NodesAsked
}

/** In whom a node differs from the one that was asked, of the latest bans of both. */
export interface NodeBans extends OfNode {
  /** Bans in force. */
  readonly total: number
  /** Networks that are banned at the node that was asked, and not there. */
  readonly missing: readonly string[]
  /** Networks that are banned there, and not at the node that was asked. */
  readonly more: readonly string[]
}

export interface NodesBansReport {
  readonly nodes: readonly (NodeBans | NodeSilent)[]
  readonly nodesAsked: NodesAsked
  /** In sentences. */
  readonly differences: readonly string[]
}

export interface NodesParts {
  readonly status: () => Promise<NodesReport>
  readonly bans: () => Promise<NodesBansReport>
}

/** @param now in ms since the epoch */
export function nodeStateOf(status: Status, now: number): NodeState {
  const { version, uptimeSeconds, ready, drainedSince, overload, traffic } = status
  const { severity, summary, advice } = conditionOf({ ...status, verdict: verdictOf(status, now) }, now)
  const [connections, shed, messages] = (['connections', 'shed', 'messages'] as const).map((series) =>
    traffic?.minutes[series].at(-1),
  )
  return {
    ...{ severity, summary, ...(advice !== undefined && { advice }), version },
    upSince: new Date(now - uptimeSeconds * 1000).toISOString(),
    ready,
    ...(drainedSince !== undefined && { drainedSince }),
    ...(overload !== undefined && { level: overload.level }),
    ...(connections !== undefined &&
      shed !== undefined &&
      messages !== undefined && { lastMinute: { connections, shed, messages } }),
  }
}

/** The worse of two. */
export const worse = (a: Severity, b: Severity): Severity => (SEVERITIES.indexOf(a) >= SEVERITIES.indexOf(b) ? a : b)
