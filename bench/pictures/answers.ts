// What Prometheus says to each panel of a dashboard, asked as Grafana asks: every node chosen.

import type { Prometheus, Series } from '../../test/services/prometheus.ts'
import type { Dashboard, Drawn, Target } from './model.ts'

/** The time that the dashboard shows. */
export interface Span {
  readonly startS: number
  readonly endS: number
  readonly points: number
  readonly rateInterval: string
  /** What stands in a picture in place of the value of a label: of nodes and mail servers, whose ports say nothing to anybody. */
  readonly names: ReadonlyMap<string, string>
}

/** By the number of the panel. Rejects with what Prometheus says is wrong with an expression. */
export async function answersOf(
  { panels }: Dashboard,
  prometheus: Prometheus,
  span: Span,
): Promise<ReadonlyMap<number, readonly Drawn[]>> {
  const answers = new Map<number, Drawn[]>()
  for (const { id, targets } of panels) {
    if (targets === undefined) continue
    const drawn: Drawn[] = []
    for (const target of targets) drawn.push(...(await ask(target, prometheus, span)))
    answers.set(id, drawn)
  }
  return answers
}

async function ask({ expr, legendFormat, instant }: Target, prometheus: Prometheus, span: Span): Promise<Drawn[]> {
  const { startS, endS, points, rateInterval, names } = span
  const filledIn = expr
    .replaceAll(/\$(job|instance)\b/g, '.+')
    .replaceAll('$__rate_interval', rateInterval)
    .replaceAll('$__range', `${Math.ceil(endS - startS)}s`)
  const step = (endS - startS) / points
  const found = instant
    ? await prometheus.query(filledIn, endS)
    : await prometheus.queryRange(filledIn, startS, endS, step)
  return found
    .map(({ labels: given, values }) => {
      const labels = Object.fromEntries(Object.entries(given).map(([key, value]) => [key, names.get(value) ?? value]))
      return {
        name: nameOf(labels, legendFormat),
        labels,
        values: values.filter(([, value]) => Number.isFinite(value)),
      }
    })
    .filter(({ values }) => values.length > 0)
}

/** As in the legend. */
const nameOf = (labels: Series['labels'], format: string): string =>
  format
    .replaceAll(/\{\{(\w+)\}\}/g, (_, label: string) => labels[label] ?? '')
    .replaceAll(/ +/g, ' ')
    .trim()
