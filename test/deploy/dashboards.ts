/** The dashboards as they are given to Grafana, read for tests. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const FOLDER = fileURLToPath(new URL('../../deploy/grafana/dashboards', import.meta.url))

export interface Target {
  readonly refId?: string
  readonly expr: string
  readonly legendFormat?: string
  readonly datasource?: { readonly uid?: string }
  readonly instant?: boolean
}

export interface Override {
  readonly matcher: { readonly id: string; readonly options: string }
  readonly properties: readonly { readonly id: string; readonly value: { readonly fixedColor?: string } }[]
}

export interface Panel {
  readonly id: number
  readonly type: string
  readonly title?: string
  readonly description?: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly datasource?: { readonly uid?: string }
  readonly fieldConfig?: {
    readonly defaults: {
      readonly unit?: string
      readonly color?: { readonly mode: string; readonly fixedColor?: string }
      readonly thresholds?: { readonly steps: readonly { readonly color: string }[] }
    }
    readonly overrides?: readonly Override[]
  }
  readonly options?: { readonly legend?: { readonly showLegend?: boolean }; readonly content?: string }
  readonly targets?: readonly Target[]
}

export interface Variable {
  readonly name: string
  readonly type: string
  readonly label?: string
  readonly query?: unknown
  readonly datasource?: { readonly uid?: string }
  readonly multi?: boolean
  readonly allValue?: string
  readonly refresh?: number
}

export interface Dashboard {
  readonly uid: string
  readonly title: string
  readonly tags: readonly string[]
  readonly editable: boolean
  readonly graphTooltip: number
  readonly links: readonly Record<string, unknown>[]
  readonly templating: { readonly list: readonly Variable[] }
  /** Rows too. */
  readonly panels: readonly Panel[]
}

/** By the name of its file, without .json. */
export const dashboards: ReadonlyMap<string, Dashboard> = new Map(
  readdirSync(FOLDER)
    .sort()
    .map((file) => [file.replace(/\.json$/, ''), JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as Dashboard]),
)

export const panels: readonly Panel[] = [...dashboards.values()].flatMap((dashboard) => dashboard.panels)

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
  if (found.length === 0) throw new Error(`no dashboard has a panel ${title}`)
  return found
}

/** As Grafana would send it: the variables filled in, every node chosen. @param rangeS the time shown */
export const filledIn = (expr: string, rateInterval: string, rangeS = 60): string =>
  expr
    .replaceAll(/\$(job|instance)\b/g, '.+')
    .replaceAll('$__rate_interval', rateInterval)
    .replaceAll('$__range', `${Math.max(1, Math.ceil(rangeS))}s`)
