/**
 * The kinds of panel the dashboards are made of, so that all of them look and behave alike. The SDK leaves out what Grafana
 * needs to show a panel as meant: the letter of each query, the legend and the tooltip. They are set here, once.
 */
import { PanelBuilder as BarsBuilder } from '@grafana/grafana-foundation-sdk/bargauge'
import {
  BarGaugeDisplayMode,
  BarGaugeNamePlacement,
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
  VizOrientation,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common'
import {
  type DynamicConfigValue,
  FieldColorBuilder,
  FieldColorModeId,
  MappingType,
  ThresholdsConfigBuilder,
  ThresholdsMode,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table'
import { PanelBuilder as TextBuilder, TextMode } from '@grafana/grafana-foundation-sdk/text'
import { PanelBuilder as SeriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'
import type { Colour, Colours } from './colours.ts'

export type Panel = StatBuilder | TextBuilder | SeriesBuilder | BarsBuilder | TableBuilder

/** A row of a dashboard, and what is in it, from left to right. */
export interface Row {
  readonly title: string
  readonly panels: readonly Panel[]
}

/** An expression of PromQL, and the name of each series it yields: text that may contain `{{label}}`. */
export type Query = readonly [expr: string, legend: string]

/** Grafana's names of units. `perSecond` is a bare number: the title says what is counted. */
export const UNITS = {
  count: 'short',
  perSecond: 'cps',
  ratio: 'percentunit',
  seconds: 's',
  bytes: 'bytes',
  none: 'none',
} as const
type Unit = keyof typeof UNITS

export const DATASOURCE = { type: 'prometheus', uid: `\${datasource}` }

interface Common {
  readonly title: string
  /** What it means: shown behind the (i) of the panel. */
  readonly about: string
  /** What to do about it; shown below that. */
  readonly todo: string
  readonly unit?: Unit
  /** Width of 24. */
  readonly width: number
  readonly queries: readonly Query[]
}

const description = ({ about, todo }: Common): string => `${about}\n\n**What to do:** ${todo}`

function target([expr, legend]: Query, i: number): DataqueryBuilder {
  return new DataqueryBuilder()
    .refId(String.fromCharCode('A'.charCodeAt(0) + i))
    .expr(expr)
    .legendFormat(legend)
    .datasource(DATASOURCE)
}
const overTime = (queries: readonly Query[]): DataqueryBuilder[] => queries.map((each, i) => target(each, i).range())
const asOfNow = (queries: readonly Query[]): DataqueryBuilder[] => queries.map((each, i) => target(each, i).instant())

const fixed = (fixedColor: string): DynamicConfigValue[] => [{ id: 'color', value: { mode: 'fixed', fixedColor } }]
/** Lines whose name has this word, as one of its words. */
const named = (word: string): string => `/(^| )${word}($| )/`
const BLUES = new FieldColorBuilder().mode(FieldColorModeId.Shades).fixedColor('blue')

export interface SeriesOptions extends Common {
  readonly height?: number
  /** Shares of a whole: areas on top of each other. */
  readonly stacked?: boolean
  /** Many series: a table on the right, the largest first. */
  readonly many?: boolean
  /** Of the lines; without it they are shades of blue. */
  readonly colours?: Colours
}

/** Lines over time. */
export function series(options: SeriesOptions): Panel {
  const { title, unit = 'count', width, height = 8, queries, stacked, many, colours = {} } = options
  const legend = new VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(many ? LegendDisplayMode.Table : LegendDisplayMode.List)
    .placement(many ? LegendPlacement.Right : LegendPlacement.Bottom)
    .calcs(many ? ['lastNotNull', 'max'] : [])
  if (many) legend.sortBy('Last *').sortDesc(true)
  const panel = new SeriesBuilder()
    .title(title)
    .description(description(options))
    .datasource(DATASOURCE)
    .unit(UNITS[unit])
    .min(0)
    .span(width)
    .height(height)
    .lineWidth(1)
    .fillOpacity(stacked ? 40 : 10)
    .stacking(new StackingConfigBuilder().mode(stacked ? StackingMode.Normal : StackingMode.None).group('A'))
    .colorScheme(BLUES)
    .legend(legend)
    .tooltip(
      new VizTooltipOptionsBuilder()
        .mode(TooltipDisplayMode.Multi)
        .sort(SortOrder.Descending)
        .hideZeros(many === true),
    )
    .targets(overTime(queries))
  for (const [word, colour] of Object.entries(colours)) panel.overrideByRegexp(named(word), fixed(colour))
  return panel
}

/** The colour from each value up; the first is for everything below. `red` says: honest mail is harmed. */
export type Steps = readonly [Colour | 'red', ...(readonly [from: number, Colour | 'red'])[]]

const thresholds = ([base, ...steps]: Steps): ThresholdsConfigBuilder =>
  new ThresholdsConfigBuilder()
    .mode(ThresholdsMode.Absolute)
    .steps([{ value: null, color: base }, ...steps.map(([value, color]) => ({ value, color }))])

export interface StatOptions extends Common {
  /** Without it, no value is good or bad. */
  readonly colours?: Steps
  /** Words for numbers. */
  readonly words?: Readonly<Record<number, readonly [text: string, colour: Colour | 'red']>>
}

/** One figure, as it is now. */
export function stat(options: StatOptions): Panel {
  const { title, unit = 'count', width, queries, colours = ['blue'], words } = options
  const panel = new StatBuilder()
    .title(title)
    .description(description(options))
    .datasource(DATASOURCE)
    .unit(UNITS[unit])
    .span(width)
    .height(4)
    .noValue('–')
    .colorMode(BigValueColorMode.Background)
    .graphMode(words === undefined ? BigValueGraphMode.Area : BigValueGraphMode.None)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
    .thresholds(thresholds(colours))
    .targets(overTime(queries))
  if (words === undefined) return panel
  const told = Object.fromEntries(
    Object.entries(words).map(([value, [text, color]], index) => [value, { text, color, index }]),
  )
  return panel.mappings([{ type: MappingType.ValueToText, options: told }])
}

export interface BarsOptions extends Common {
  readonly height?: number
}

/** One bar for each series, as of the end of the time shown. */
export function bars(options: BarsOptions): Panel {
  const { title, unit = 'count', width, height = 10, queries } = options
  return new BarsBuilder()
    .title(title)
    .description(description(options))
    .datasource(DATASOURCE)
    .unit(UNITS[unit])
    .decimals(0)
    .min(0)
    .span(width)
    .height(height)
    .orientation(VizOrientation.Horizontal)
    .displayMode(BarGaugeDisplayMode.Basic)
    .namePlacement(BarGaugeNamePlacement.Left)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Fixed).fixedColor('blue'))
    .targets(asOfNow(queries))
}

export interface TableOptions extends Common {
  readonly height?: number
  /** The labels that are its columns, in this order, with their heads. */
  readonly columns: Readonly<Record<string, string>>
}

/** One line for each series as it is now: its labels. */
export function table(options: TableOptions): Panel {
  const { title, unit = 'none', width, height = 6, queries, columns } = options
  const names = Object.keys(columns)
  return new TableBuilder()
    .title(title)
    .description(description(options))
    .datasource(DATASOURCE)
    .unit(UNITS[unit])
    .span(width)
    .height(height)
    .targets(asOfNow(queries).map((each) => each.format(PromQueryFormat.Table)))
    .withTransformation({ id: 'filterFieldsByName', options: { include: { names } } })
    .withTransformation({
      id: 'organize',
      options: { indexByName: Object.fromEntries(names.map((name, i) => [name, i])), renameByName: columns },
    })
}

/** Markdown. */
export function text(title: string, width: number, height: number, content: string): Panel {
  return new TextBuilder().title(title).span(width).height(height).mode(TextMode.Markdown).content(content)
}
