/** Pieces of PromQL that many panels share: the chosen nodes, rates over Grafana's own interval, quantiles. */

/** The chosen nodes, as matchers. */
const CHOSEN = 'job=~"$job", instance=~"$instance"'

/** A series of the chosen nodes. `labels`: more matchers, as PromQL has them. */
export const of = (metric: string, labels = ''): string => `${metric}{${CHOSEN}${labels === '' ? '' : `, ${labels}`}}`

/** Per second, of a counter. */
export const rate = (metric: string, labels = ''): string => `rate(${of(metric, labels)}[$__rate_interval])`

/** Per second, added up over nodes and over all labels but these. */
export const total = (metric: string, by = '', labels = ''): string =>
  `sum${by === '' ? '' : ` by (${by})`} (${rate(metric, labels)})`

/** How many in all of the time that the dashboard shows, added up like `total`; the most first. */
export const during = (metric: string, by: string, labels = ''): string =>
  `sort_desc(sum by (${by}) (increase(${of(metric, labels)}[$__range])))`

/** A quantile of a histogram, over all nodes. No series where nothing was observed. */
export const quantile = (q: number, metric: string, by = '', labels = ''): string =>
  `histogram_quantile(${q}, ${total(`${metric}_bucket`, by === '' ? 'le' : `le, ${by}`, labels)}) >= 0`

const P = [0.5, 0.95, 0.99] as const
/** p50, p95 and p99, with these words before the p in the legend. */
export const quantiles = (metric: string, by: string, legend = '', labels = ''): [expr: string, legend: string][] =>
  P.map((q) => [quantile(q, metric, by, labels), `${legend} p${q * 100}`.trim()])

/** 0 where there is no series at all. */
export const orZero = (expr: string): string => `(${expr}) or vector(0)`

/** The part of a whole; no series where the whole is nothing. */
export const share = (part: string, whole: string): string => `(${part}) / ((${whole}) > 0)`
