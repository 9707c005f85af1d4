// How exactly a limit holds that nodes share: between two healthy nodes, as the clients and Prometheus see it; and
// among three nodes, of which one is killed and one loses Redis.

import type { Prometheus } from '../../test/services/prometheus.ts'
import { judged } from '../measure.ts'
import type { Load, Spillway } from '../processes.ts'
import { MANY, type Row } from './rows.ts'
import { count, freshWindow, letIn, MINUTE, mostIn } from './windows.ts'

/** Nodes that share one limit. */
export const SHARED = { limit: 200, tries: 2_000, perSecond: 250 }
/** Ten nodes: the rate at which all of them together are tried. */
export const TEN_PER_SECOND = 2_000

interface Held {
  readonly row: Row
  readonly admitted: number
  readonly refused: number
  readonly lost: number
}

/** @param shares how many of the tries each node gets, in proportion */
export async function holds(
  load: Load,
  nodes: readonly Spillway[],
  { name, shares, perSecond, atMost }: { name: string; shares: readonly number[]; perSecond: number; atMost: number },
): Promise<Held> {
  const { limit, tries } = SHARED
  await freshWindow(MINUTE, (tries / perSecond) * 1000 + 5_000)
  const ports = nodes.flatMap(({ port }, i) => Array.from({ length: shares[i] as number }, () => port))
  const { visits, lost } = await load.order({ kind: 'arrivals', ports, sources: MANY, count: tries, perSecond })
  const admitted = letIn(visits).length
  const each = nodes.map(({ port }) => letIn(visits.filter((visit) => visit.port === port)).length)
  const row: Row = [
    `${name}, one limit of ${limit}/1m, ${tries} tries, ${perSecond} a second: let in`,
    `${admitted}: off by ${judged((100 * Math.abs(admitted - limit)) / limit, { atMost }, 1, ' %')}`,
    `by node ${each.join(', ')}; ${lost} lost`,
  ]
  return { row, admitted, refused: count(visits, '421'), lost }
}

/** Two nodes that share one limit, in three proportions, and ten. What the first two do is compared with what Prometheus sees. */
export async function pair(
  load: Load,
  first: readonly Spillway[],
  prometheus: Prometheus,
  begin: (group: string, count: number) => Promise<readonly Spillway[]>,
): Promise<Row[]> {
  const { perSecond, tries } = SHARED
  const two = { perSecond, atMost: 2 }
  const even = await holds(load, first, { name: 'two nodes, 1:1', shares: [1, 1], ...two })
  const { admitted, refused, lost } = even
  const seen = await agreed(prometheus, {
    connections: ['sum(spillway_connections_total{job="pair"})', tries],
    'let in': ['sum(spillway_sessions_total{job="pair",outcome="none"})', admitted],
    'refused by the global limit': ['sum(spillway_refusals_total{job="pair",reason="global_connections"})', refused],
    'refused for other reasons': [
      'sum(spillway_refusals_total{job="pair",reason!="global_connections"})',
      tries - admitted - refused - lost,
    ],
    'nodes with Redis': ['sum(spillway_redis_up{job="pair"})', first.length],
    'nodes without': ['sum(spillway_redis_fallback_active{job="pair"})', 0],
  })
  const rows = [even.row]
  const others = [
    { name: 'two nodes, 9:1', shares: [9, 1], ...two },
    { name: 'two nodes, all at one', shares: [1, 0], ...two },
    { name: 'ten nodes', shares: Array.from({ length: 10 }, () => 1), perSecond: TEN_PER_SECOND, atMost: 5 },
  ]
  for (const [i, each] of others.entries()) {
    const nodes = await begin(`shared${i}`, each.shares.length)
    rows.push((await holds(load, nodes, each)).row)
    await Promise.all(nodes.map((node) => node.stop()))
  }
  rows.splice(1, 0, ['the first, seen by Prometheus', seen.differing === 0 ? 'equal' : '**not equal**', seen.details])
  return rows
}

/** Queries Prometheus for figures, and waits a few scrapes for those that changed a moment ago. */
async function agreed(
  prometheus: Prometheus,
  figures: Readonly<Record<string, readonly [expr: string, expected: number]>>,
): Promise<{ readonly differing: number; readonly details: string }> {
  for (let attempt = 1; ; attempt++) {
    await prometheus.waitForScrapes(Date.now(), 20_000).catch(() => undefined)
    const seen = await Promise.all(
      Object.entries(figures).map(async ([name, [expr, expected]]) => {
        const [series] = await prometheus.query(expr)
        return { name, expected, value: series?.values[0]?.[1] ?? Number.NaN }
      }),
    )
    const differing = seen.filter(({ value, expected }) => value !== expected).length
    if (differing > 0 && attempt < 5) continue
    const details = seen.map(({ name, value, expected }) =>
      value === expected ? `${name} ${value}` : `${name} **${value}, not ${expected}**`,
    )
    return { differing, details: details.join(', ') }
  }
}

/** Three nodes, of which one is killed and one loses Redis. */
export const TRIO = { limit: 200, windowMs: 15_000, perSecond: 60, windows: 4 }

/**
 * The worst case: the two other nodes have used up the limit when the faults happen, so that the node that is cut off
 * still has all of its share.
 */
export async function trio(
  load: Load,
  nodes: readonly [Spillway, Spillway, Spillway],
  cut: () => Promise<void>,
): Promise<Row> {
  const { limit, windowMs, perSecond, windows } = TRIO
  const [whole, killed, alone] = nodes
  const fresh = 6_000
  const end = await freshWindow(windowMs, windowMs - 200)
  const arrive = (ports: readonly number[], ms: number) =>
    load.order({
      kind: 'arrivals',
      ports,
      sources: MANY,
      count: Math.floor((ms * perSecond) / 1000),
      perSecond,
    })
  const before = await arrive([whole.port, killed.port], fresh)
  await Promise.all([killed.kill(), cut()])
  const after = await arrive([whole.port, alone.port], end - Date.now() + (windows - 1) * windowMs)
  const visits = [...before.visits, ...after.visits]
  const { aligned, any } = mostIn(visits, windowMs)
  const share = letIn(after.visits.filter(({ port }) => port === alone.port)).length
  return [
    `three nodes, one limit of ${limit}/${windowMs / 1000}s, one killed, one cut off from Redis: most let in in a window`,
    `${aligned}: ${judged(aligned / limit, { atMost: 1.34 })}`,
    `in any ${windowMs / 1000} s ${any}; ${visits.length} tries in ${windows} windows, the node cut off let in ${share}; ${before.lost + after.lost} lost`,
  ]
}
