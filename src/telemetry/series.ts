/**
 * Plain counters behind prom-client. Its own `inc()` hashes the labels at every call, which takes about half a
 * microsecond: too much on the path of a refused connection. So each series is a cell with a number, which is looked up
 * once and then only added to; prom-client publishes the cells at each scrape. Label sets are closed: every valid
 * series exists from the start, at 0, and looking up one that was not declared throws.
 */
import * as prom from 'prom-client'

export interface Cell {
  value: number
}

type Row = readonly string[]

class Cells<T> {
  readonly #cells = new Map<string, { row: Row; cell: T }>()
  readonly #name: string
  readonly #make: () => T

  constructor(name: string, rows: Iterable<Row>, make: () => T) {
    this.#name = name
    this.#make = make
    for (const row of rows) this.set(row, make())
  }

  set(row: Row, cell: T): void {
    this.#cells.set(row.join('\n'), { row, cell })
  }

  clear(): void {
    this.#cells.clear()
  }

  /** From now on these are all the series there are. Those that were there go on counting. */
  keep(rows: readonly Row[]): void {
    const kept = new Set(rows.map((row) => row.join('\n')))
    for (const key of this.#cells.keys()) if (!kept.has(key)) this.#cells.delete(key)
    for (const row of rows) if (!this.#cells.has(row.join('\n'))) this.set(row, this.#make())
  }

  /** The series with these label values, in the order of the labels. Throws if that series is not declared. */
  of(row: Row): T {
    const found = this.#cells.get(row.join('\n'))
    if (found === undefined) throw new Error(`${this.#name} has no series {${row.join(', ')}}`)
    return found.cell
  }

  [Symbol.iterator](): Iterator<{ row: Row; cell: T }> {
    return this.#cells.values()
  }
}

const labelsOf = (names: Row, row: Row): Record<string, string> =>
  Object.fromEntries(names.map((name, i) => [name, row[i] as string]))

/** All combinations of the values in closed label sets. */
export function combinations(...sets: readonly Row[]): Row[] {
  let rows: Row[] = [[]]
  for (const set of sets) rows = rows.flatMap((row) => set.map((value) => [...row, value]))
  return rows
}

export interface Declaration {
  readonly name: string
  readonly help: string
  readonly labels?: Row
  /** Every valid series. The default is the one without labels. */
  readonly rows?: Iterable<Row>
  /** What the gauges of several workers are together; 'sum' by default. Counters and histograms are always summed. */
  readonly together?: Together
}

/** each: every worker keeps a series of its own, with a label `worker`. */
export type Together = 'sum' | 'max' | 'min' | 'each'

/** A family of counters or gauges. `before` is called at each scrape, to bring gauges up to date. */
export class Family {
  readonly #cells: Cells<Cell>

  constructor(
    registry: prom.Registry,
    kind: 'counter' | 'gauge',
    declared: Declaration,
    before?: (all: Family) => void,
  ) {
    const { name, help, labels = [], rows = [[]], together = 'sum' } = declared
    this.#cells = new Cells(name, rows, () => ({ value: 0 }))
    const publish = (add: (labels: Record<string, string>, value: number) => void): void => {
      before?.(this)
      for (const { row, cell } of this.#cells) add(labelsOf(labels, row), cell.value)
    }
    const common = { name, help, labelNames: [...labels], registers: [registry] }
    if (kind === 'counter') {
      new prom.Counter({
        ...common,
        collect() {
          this.reset()
          publish((set, value) => this.inc(set, value))
        },
      })
    } else {
      new prom.Gauge({
        ...common,
        aggregator: together as prom.Aggregator,
        collect() {
          this.reset()
          publish((set, value) => this.set(set, value))
        },
      })
    }
  }

  of(...row: Row): Cell {
    return this.#cells.of(row)
  }

  /** From now on these are all the series there are: for labels that the operator may change while the program runs. */
  replace(values: Iterable<readonly [row: Row, value: number]>): void {
    this.#cells.clear()
    for (const [row, value] of values) this.#cells.set(row, { value })
  }

  /** From now on these are all the series there are. Those that were there go on counting; new ones begin at 0. */
  keep(rows: readonly Row[]): void {
    this.#cells.keep(rows)
  }

  inc(...row: Row): void {
    this.#cells.of(row).value++
  }

  /** The sum over all series, or over those whose label values fit. */
  sum(fits?: (row: Row) => boolean): number {
    let sum = 0
    for (const { row, cell } of this.#cells) if (fits?.(row) !== false) sum += cell.value
    return sum
  }
}

/** One series of a histogram: counts per bucket (not cumulative), sum, and number of observations. */
export class Distribution {
  readonly #bounds: readonly number[]
  readonly counts: Float64Array
  sum = 0
  count = 0

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.counts = new Float64Array(bounds.length)
  }

  observe(value: number): void {
    this.sum += value
    this.count++
    const bounds = this.#bounds
    for (let i = 0; i < bounds.length; i++) {
      if (value <= (bounds[i] as number)) {
        this.counts[i] = (this.counts[i] as number) + 1
        return
      }
    }
  }
}

/**
 * A family of histograms, in the base unit that its name ends in (seconds, bytes). prom-client prints what get()
 * returns.
 */
export class Histograms {
  readonly #cells: Cells<Distribution>

  constructor(registry: prom.Registry, bounds: readonly number[], declared: Declaration) {
    const { name, help, labels = [], rows = [[]] } = declared
    this.#cells = new Cells(name, rows, () => new Distribution(bounds))
    const get = async () => ({
      name,
      help,
      type: 'histogram',
      aggregator: 'sum',
      values: this.#values(name, labels, bounds),
    })
    registry.registerMetric({ name, help, get, reset: () => undefined } as unknown as prom.Histogram)
  }

  of(...row: Row): Distribution {
    return this.#cells.of(row)
  }

  /** See Family.keep. */
  keep(rows: readonly Row[]): void {
    this.#cells.keep(rows)
  }

  #values(name: string, labels: Row, bounds: readonly number[]) {
    const values: { metricName: string; labels: Record<string, string | number>; value: number }[] = []
    for (const { row, cell } of this.#cells) {
      const set = labelsOf(labels, row)
      let below = 0
      bounds.forEach((le, i) => {
        below += cell.counts[i] as number
        values.push({ metricName: `${name}_bucket`, labels: { ...set, le }, value: below })
      })
      values.push({ metricName: `${name}_bucket`, labels: { ...set, le: '+Inf' }, value: cell.count })
      values.push({ metricName: `${name}_sum`, labels: set, value: cell.sum })
      values.push({ metricName: `${name}_count`, labels: set, value: cell.count })
    }
    return values
  }
}
