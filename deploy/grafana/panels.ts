/**
 * The kinds of panel the dashboard is made of, so that all of them look and behave alike. The SDK leaves out what Grafana
 * needs to show a panel as meant: the letter of each query, the legend and the tooltip. They are set here, once.
 */
import {
  BigValueColorMode,
  BigValueGraphMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common'
import {
  FieldColorBuilder,
  FieldColorModeId,
  MappingType,
  ThresholdsConfigBuilder,
  ThresholdsMode,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TextBuilder, TextMode } from '@grafana/grafana-foundation-sdk/text'
import { PanelBuilder as SeriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'

export type Panel = StatBuilder | TextBuilder | SeriesBuilder

/** An expression of PromQL, and the name of each series it yields: text that may contain `{{label}}`. */
export type Query = readonly [expr: string, legend: string]

/** Grafana's names of units. `perSecond` is a bare number: the title says what is counted. */
export const UNITS = { count: 'short', perSecond: 'cps', ratio: 'percentunit', seconds: 's', bytes: 'bytes' } as const
type Unit = keyof typeof UNITS

export const DATASOURCE = { type: 'prometheus', uid: `\${datasource}` }

interface Common {
  readonly title: string
  /** What it means and what to do about it: shown behind the (i) of the panel. */
  readonly about: string
  readonly unit?: Unit
  /** Width of 24. */
  readonly width: number
  readonly queries: readonly Query[]
}

const targets = (queries: readonly Query[]): DataqueryBuilder[] =>
  queries.map(([expr, legend], i) =>
    new DataqueryBuilder()
      .refId(String.fromCharCode('A'.charCodeAt(0) + i))
      .expr(expr)
      .legendFormat(legend)
      .datasource(DATASOURCE)
      .range(),
  )

export interface SeriesOptions extends Common {
  readonly height?: number
  /** Shares of a whole: areas on top of each other. */
  readonly stacked?: boolean
  /** Many series: a table on the right, the largest first. */
  readonly many?: boolean
}

/** Lines over time. */
export function series({ title, about, unit = 'count', width, height = 8, queries, ...look }: SeriesOptions): Panel {
  const legend = new VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(look.many ? LegendDisplayMode.Table : LegendDisplayMode.List)
    .placement(look.many ? LegendPlacement.Right : LegendPlacement.Bottom)
    .calcs(look.many ? ['lastNotNull', 'max'] : [])
  if (look.many) legend.sortBy('Last *').sortDesc(true)
  return new SeriesBuilder()
    .title(title)
    .description(about)
    .datasource(DATASOURCE)
    .unit(UNITS[unit])
    .min(0)
    .span(width)
    .height(height)
    .lineWidth(1)
    .fillOpacity(look.stacked ? 40 : 10)
    .stacking(new StackingConfigBuilder().mode(look.stacked ? StackingMode.Normal : StackingMode.None).group('A'))
    .legend(legend)
    .tooltip(
      new VizTooltipOptionsBuilder()
        .mode(TooltipDisplayMode.Multi)
        .sort(SortOrder.Descending)
        .hideZeros(look.many === true),
    )
    .targets(targets(queries))
}

export type Colour = 'green' | 'yellow' | 'orange' | 'red' | 'blue'

export interface StatOptions extends Common {
  /** The colour from each value up; the first is for everything below. Without it, no value is good or bad. */
  readonly colours?: readonly [Colour, ...(readonly [from: number, Colour][])]
  /** Words for numbers. */
  readonly words?: Readonly<Record<number, readonly [text: string, colour: Colour]>>
}

/** One figure, as it is now. */
export function stat({ title, about, unit = 'count', width, queries, colours = ['blue'], words }: StatOptions): Panel {
  const [base, ...steps] = colours
  const panel = new StatBuilder()
    .title(title)
    .description(about)
    .datasource(DATASOURCE)
    .unit(UNITS[unit])
    .span(width)
    .height(4)
    .noValue('–')
    .colorMode(BigValueColorMode.Background)
    .graphMode(words === undefined ? BigValueGraphMode.Area : BigValueGraphMode.None)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
    .thresholds(
      new ThresholdsConfigBuilder()
        .mode(ThresholdsMode.Absolute)
        .steps([{ value: null, color: base }, ...steps.map(([value, color]) => ({ value, color }))]),
    )
    .targets(targets(queries))
  if (words === undefined) return panel
  const options = Object.fromEntries(
    Object.entries(words).map(([value, [text, color]], index) => [value, { text, color, index }]),
  )
  return panel.mappings([{ type: MappingType.ValueToText, options }])
}

/** Markdown. */
export function text(title: string, width: number, height: number, content: string): Panel {
  return new TextBuilder().title(title).span(width).height(height).mode(TextMode.Markdown).content(content)
}
