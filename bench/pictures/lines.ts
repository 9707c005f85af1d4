// A panel of lines over time, with its legend below, or as a table on its right.

import type { Span } from './answers.ts'
import { colourOf } from './colours.ts'
import { formatted, ticks } from './format.ts'
import type { Drawn, Panel } from './model.ts'
import { type Box, clipped, round, words } from './svg.ts'

interface Line extends Drawn {
  readonly colour: string
  readonly last: number
  readonly most: number
  /** Of a stack, what is below it at each time. */
  readonly base: ReadonlyMap<number, number>
}

/** The room of a line of a legend. */
const ROW = 17
const AXIS = 52
const FOOT = 18
const DIM = '#8e8e99'

export function lines(panel: Panel, answer: readonly Drawn[], box: Box, span: Span): string[] {
  const isStacked = panel.fieldConfig?.defaults.custom?.stacking?.mode === 'normal'
  const isTable = panel.options?.legend?.displayMode === 'table'
  const drawn = linesOf(panel, answer, isStacked)
  const legend = isTable ? tableLegend(panel, drawn, box) : listLegend(drawn, box)
  const room = {
    x: box.x + AXIS,
    y: box.y + 4,
    width: box.width - AXIS - legend.width,
    height: box.height - FOOT - legend.height - 4,
  }
  const most = Math.max(
    ...drawn.flatMap(({ values, base }) => values.map(([time, value]) => value + (base.get(time) ?? 0))),
  )
  const unit = panel.fieldConfig?.defaults.unit
  const marks = ticks(most > 0 ? most : 1, unit)
  const top = marks.at(-1) as number
  const x = (time: number) => round(room.x + ((time - span.startS) / (span.endS - span.startS)) * room.width)
  const y = (value: number) => round(room.y + room.height * (1 - Math.max(0, value) / top))
  return [
    ...marks.flatMap((mark) => [
      `<path d="M${room.x} ${y(mark)}h${round(room.width)}" stroke="#2a2c33"/>`,
      words(formatted(mark, unit), { x: room.x - 6, y: Number(y(mark)) + 4, size: 11, colour: DIM, anchor: 'end' }),
    ]),
    ...times(span).map(([time, name]) =>
      words(name, { x: Number(x(time)), y: room.y + room.height + 15, size: 11, colour: DIM, anchor: 'middle' }),
    ),
    ...drawn.toReversed().flatMap((line) => pathOf(line, { x, y, isStacked, gapS: gapOf(span) })),
    ...legend.parts,
  ]
}

/** A time without a point for longer than this is a gap. */
const gapOf = ({ startS, endS, points }: Span): number => (2.5 * (endS - startS)) / points

function linesOf(panel: Panel, answer: readonly Drawn[], isStacked: boolean): Line[] {
  const below = new Map<number, number>()
  return answer.map((series, index) => {
    const base = new Map<number, number>()
    if (isStacked) {
      for (const [time, value] of series.values) {
        base.set(time, below.get(time) ?? 0)
        below.set(time, (below.get(time) ?? 0) + value)
      }
    }
    const numbers = series.values.map(([, value]) => value)
    return {
      ...series,
      colour: colourOf(panel, series.name, index),
      last: numbers.at(-1) as number,
      most: Math.max(...numbers),
      base,
    }
  })
}

interface Scale {
  readonly x: (time: number) => string
  readonly y: (value: number) => string
  readonly isStacked: boolean
  readonly gapS: number
}

function pathOf({ values, base, colour, most }: Line, { x, y, isStacked, gapS }: Scale): string[] {
  // One that was nothing all the time would only hide the axis.
  if (isStacked && most === 0) return []
  const pieces: (readonly [number, number])[][] = []
  for (const [i, point] of values.entries()) {
    const before = values[i - 1]
    if (before === undefined || point[0] - before[0] > gapS) pieces.push([])
    pieces.at(-1)?.push(point)
  }
  return pieces.map((piece) => {
    const over = piece.map(([time, value]) => `${x(time)} ${y(value + (base.get(time) ?? 0))}`)
    const under = piece.toReversed().map(([time]) => `${x(time)} ${y(base.get(time) ?? 0)}`)
    const area = isStacked ? `<path d="M${[...over, ...under].join('L')}Z" fill="${colour}" fill-opacity="0.4"/>` : ''
    return `${area}<path d="M${over.join('L')}" fill="none" stroke="${colour}" stroke-width="1.4"/>`
  })
}

/** Every half minute since the beginning. */
function times({ startS, endS }: Span): (readonly [time: number, name: string])[] {
  const count = Math.floor((endS - startS) / 30)
  return Array.from({ length: count }, (_, i) => {
    const s = (i + 1) * 30
    return [startS + s, `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`] as const
  })
}

interface Legend {
  readonly parts: readonly string[]
  /** What it takes of the panel. */
  readonly width: number
  readonly height: number
}

const mark = (colour: string, x: number, y: number): string =>
  `<rect x="${round(x)}" y="${round(y - 6)}" width="12" height="4" rx="2" fill="${colour}"/>`

/** Side by side, and no more than two lines of them. */
function listLegend(drawn: readonly Line[], box: Box): Legend {
  const rows: { readonly line: Line; readonly x: number; readonly row: number }[] = []
  let [x, row] = [0, 0]
  for (const line of drawn) {
    const width = 22 + line.name.length * 6.6
    if (x > 0 && x + width > box.width) [x, row] = [0, row + 1]
    if (row > 1) break
    rows.push({ line, x, row })
    x += width
  }
  const height = ((rows.at(-1)?.row ?? 0) + 1) * ROW
  const top = box.y + box.height - height + 13
  const parts = rows.flatMap(({ line, x: at, row: of }) => [
    mark(line.colour, box.x + at, top + of * ROW),
    words(line.name, { x: box.x + at + 16, y: top + of * ROW, size: 11 }),
  ])
  return { parts, width: 0, height }
}

/** The largest first, as many as there is room for. */
function tableLegend(panel: Panel, drawn: readonly Line[], box: Box): Legend {
  const width = Math.min(340, box.width * 0.45)
  const unit = panel.fieldConfig?.defaults.unit
  const sorted = drawn.toSorted((a, b) => b.last - a.last || b.most - a.most)
  const shown = sorted.slice(0, Math.floor(box.height / ROW) - 1)
  const [left, right] = [box.x + box.width - width + 14, box.x + box.width]
  const head = [
    words('Last', { x: right - 74, y: box.y + 12, size: 11, colour: DIM, anchor: 'end' }),
    words('Max', { x: right, y: box.y + 12, size: 11, colour: DIM, anchor: 'end' }),
  ]
  const parts = shown.flatMap(({ name, colour, last, most }, i) => {
    const y = box.y + 12 + (i + 1) * ROW
    return [
      mark(colour, left, y),
      words(clipped(name, width - 150, 11), { x: left + 18, y, size: 11 }),
      words(formatted(last, unit), { x: right - 74, y, size: 11, anchor: 'end' }),
      words(formatted(most, unit), { x: right, y, size: 11, anchor: 'end' }),
    ]
  })
  return { parts: [...head, ...parts], width, height: 0 }
}
