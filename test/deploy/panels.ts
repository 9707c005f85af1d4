/** The dashboard as it is given to Grafana, read for tests. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const DASHBOARD = fileURLToPath(new URL('../../deploy/grafana/spillway.json', import.meta.url))

export interface Target {
  readonly refId?: string
  readonly expr: string
  readonly legendFormat?: string
  readonly datasource?: { readonly uid?: string }
}

export interface Panel {
  readonly id: number
  readonly type: string
  readonly title?: string
  readonly description?: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } }
  readonly options?: { readonly legend?: { readonly showLegend?: boolean }; readonly content?: string }
  readonly targets?: readonly Target[]
}

/** Rows too. */
export const panels: readonly Panel[] = (JSON.parse(readFileSync(DASHBOARD, 'utf8')) as { panels: Panel[] }).panels

export interface PanelQuery extends Target {
  /** Title of the panel. */
  readonly title: string
}

export const queries: readonly PanelQuery[] = panels.flatMap(({ title = '', targets = [] }) =>
  targets.map((target) => ({ ...target, title })),
)

/** The queries of a panel. Throws where there is no panel of that title. */
export function queriesOf(title: string): readonly PanelQuery[] {
  const found = queries.filter((query) => query.title === title)
  if (found.length === 0) throw new Error(`the dashboard has no panel ${title}`)
  return found
}

/** As Grafana would send it: the variables filled in, every node chosen. */
export const filledIn = (expr: string, rateInterval: string): string =>
  expr.replaceAll('$instance', '.+').replaceAll('$__rate_interval', rateInterval)
