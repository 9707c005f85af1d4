/** What an address is to several processes of one node, as one answer: a client may come to any of them. */
import type { AddressExplained, LimitReport } from '../admin/explain.ts'
import type { NodeState } from '../admin/nodes.ts'
import type { NetworkPart, Part } from './explain-part.ts'
import { type BansPart, bansTogether, statesTogether } from './nodes-part.ts'

/** Worst first: what a client may hear at one of them is what somebody asks about. */
const worstOf = <T extends Pick<AddressExplained, 'now'>>(all: readonly [T, ...T[]]): T =>
  all.find(({ now }) => now.connect.reason !== undefined) ??
  all.find(({ now }) => now.rcpt.reason !== undefined) ??
  all.reduce((worst, each) => (each.now.rcpt.share < worst.now.rcpt.share ? each : worst))

/** Each worker keeps its share of a limit: the row of the one that has used most of its. */
const fullestOf = (
  rows: readonly LimitReport[],
  all: readonly Pick<AddressExplained, 'limits'>[],
): readonly LimitReport[] =>
  rows.map((row) =>
    all
      .flatMap(({ limits }) => limits.filter(({ limit }) => limit === row.limit))
      .reduce((most, each) => (each.used / each.max > most.used / most.max ? each : most), row),
  )

type AnyPart = Part | NetworkPart | NodeState | BansPart
type Some<T> = readonly [T, ...T[]]

/** @param all of one node, of one kind. What several processes of a node know of a network they know together. */
export function partsTogether(all: Some<AnyPart>): AnyPart {
  const [first] = all
  if ('severity' in first) return statesTogether(all as Some<NodeState>)
  if ('latest' in first) return bansTogether(all as Some<BansPart>)
  return 'now' in first ? addressesTogether(all as Some<Part>) : first
}

/** @param all of one node. What they have beyond a part is that of the worst. */
export function addressesTogether<T extends Part>(all: readonly [T, ...T[]]): T {
  const worst = worstOf(all)
  const points = all.reduce((most, each) => (each.points.now > most.now ? each.points : most), worst.points)
  const passed = all.some(({ greetingTest }) => greetingTest.passed)
  return {
    ...{ ...worst, points, limits: fullestOf(worst.limits, all) },
    greetingTest: { ...worst.greetingTest, passed },
  }
}
