/** Pieces of PromQL that many panels share: the chosen nodes, rates over Grafana's own interval, quantiles. */

/** A series of the chosen nodes. `labels`: more matchers, as PromQL has them. */
export const of = (metric: string, labels = ''): string =>
  `${metric}{instance=~"$instance"${labels === '' ? '' : `, ${labels}`}}`

/** Per second, of a counter. */
export const rate = (metric: string, labels = ''): string => `rate(${of(metric, labels)}[$__rate_interval])`

/** Per second, added up over nodes and over all labels but these. */
export const total = (metric: string, by = '', labels = ''): string =>
  `sum${by === '' ? '' : ` by (${by})`} (${rate(metric, labels)})`

/** A quantile of a histogram, over all nodes. No series where nothing was observed. */
export const quantile = (q: number, metric: string, by = '', labels = ''): string =>
  `histogram_quantile(${q}, ${total(`${metric}_bucket`, by === '' ? 'le' : `le, ${by}`, labels)}) >= 0`

/** 0 where there is no series at all. */
export const orZero = (expr: string): string => `(${expr}) or vector(0)`
