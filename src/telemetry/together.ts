/**
 * One page of metrics out of those of several processes. Counters and histograms are summed, also those of workers that
 * have died: what was counted stays counted. For gauges `together` in their declaration says how.
 */
import * as prom from 'prom-client'

/** All metrics of one process at one moment, as getMetricsAsJSON() gives them. */
export type Snapshot = readonly prom.MetricObjectWithValues<prom.MetricValue<string>>[]

export const snapshotOf = (registry: prom.Registry): Promise<Snapshot> =>
  registry.getMetricsAsJSON() as unknown as Promise<Snapshot>

/** What stays true of a process that is gone or does not answer: its counters, not its gauges. */
export const countedOf = (snapshot: Snapshot): Snapshot =>
  snapshot.filter(({ type }) => ['counter', 'histogram'].includes(String(type)))

/** prom-client does not know `each`. With a label of their own, the series of one process are those of no other. */
const labelled = (worker: string, snapshot: Snapshot): Snapshot =>
  snapshot.map((metric) => {
    if (String(metric.aggregator) !== 'each') return metric
    const values = metric.values.map((value) => ({ ...value, labels: { ...value.labels, worker } }))
    return { ...metric, aggregator: 'first', values }
  })

const sum = (snapshots: readonly Snapshot[]): prom.Registry =>
  prom.AggregatorRegistry.aggregate(snapshots as unknown as object[]) as unknown as prom.Registry

const ACCEPTED = 'spillway_connections_total'
const ENDED = 'spillway_sessions_total'

const total = (snapshot: Snapshot, name: string): number =>
  snapshot.find((metric) => metric.name === name)?.values.reduce((all, { value }) => all + value, 0) ?? 0

/** Sessions that a worker took with it when it died count as aborted, so that connections and sessions still agree. */
function withEnded(snapshot: Snapshot): Snapshot {
  const lost = total(snapshot, ACCEPTED) - total(snapshot, ENDED)
  return snapshot.map((metric) => {
    if (metric.name !== ENDED) return metric
    const values = metric.values.map((each) => {
      const isWhere = each.labels.outcome === 'aborted' && each.labels.standing === 'new'
      return isWhere ? { ...each, value: each.value + lost } : each
    })
    return { ...metric, values }
  })
}

/** What workers had counted before they died. */
export class Retired {
  #counted: readonly Snapshot[] = []
  #folding: Promise<void> = Promise.resolve()

  /** It counts at once, so that no scrape misses it or sees it twice. */
  add(last: Snapshot): void {
    this.#counted = [...this.#counted, countedOf(withEnded(last))]
    this.#folding = this.#folding.then(() => this.#fold())
  }

  get snapshots(): readonly Snapshot[] {
    return this.#counted
  }

  /** However many workers die, the memory is that of a few. */
  async #fold(): Promise<void> {
    const parts = this.#counted
    const folded = await snapshotOf(sum(parts))
    this.#counted = [folded, ...this.#counted.slice(parts.length)]
  }
}

export interface Page {
  readonly parent: Snapshot
  /** By the number of the worker. */
  readonly workers: ReadonlyMap<string, Snapshot>
  readonly retired: readonly Snapshot[]
}

/** @returns the metrics of the node, in the text format of Prometheus */
export function together({ parent, workers, retired }: Page): Promise<string> {
  const own = new Set(parent.map(({ name }) => name).filter((name) => name.startsWith('spillway_')))
  const rest = [...[...workers].map(([worker, snapshot]) => labelled(worker, snapshot)), ...retired]
  // What the parent counts, it counts for all.
  const others = rest.map((snapshot) => snapshot.filter(({ name }) => !own.has(name)))
  return sum([labelled('parent', parent), ...others]).metrics()
}
