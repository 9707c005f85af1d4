// A dashboard as SVG: its head, its rows, and each panel in its place.

import type { Span } from './answers.ts'
import { hexOf } from './colours.ts'
import { lines } from './lines.ts'
import type { Dashboard, Drawn, Panel } from './model.ts'
import { bars, stat, table, text } from './others.ts'
import { type Box, escaped, words } from './svg.ts'

export interface Shown {
  /** By the number of the panel. */
  readonly answers: ReadonlyMap<number, readonly Drawn[]>
  readonly span: Span
  /** Of all dashboards, for the links. */
  readonly titles: readonly string[]
}

const WIDTH = 1440
const COLUMN = WIDTH / 24
/** Of a dashboard's unit of height. */
const UNIT = 30
const HEAD = 64
const GAP = 8
const TITLE = 26

export function draw({ title, panels }: Dashboard, { answers, span, titles }: Shown): string {
  const height = HEAD + Math.max(...panels.map(({ gridPos: { y, h } }) => y + h)) * UNIT + GAP
  const links = titles.filter((each) => each !== title).map((each) => `→ ${each}`)
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="DejaVu Sans, Arial, sans-serif" font-size="12" fill="#ccccdc">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#111217"/>`,
    words(title, { x: GAP, y: 28, size: 20 }),
    words('Data source: Prometheus   Job: All   Instance: All', { x: GAP, y: 52, colour: '#8e8e99' }),
    words(links.join('      '), { x: WIDTH - GAP, y: 28, anchor: 'end', colour: hexOf('light-blue') }),
    ...panels.map((panel) => drawPanel(panel, answers.get(panel.id) ?? [], span)),
    '</svg>',
  ].join('\n')}\n`
}

function drawPanel(panel: Panel, answer: readonly Drawn[], span: Span): string {
  const { x, y, w, h } = panel.gridPos
  const outer = { x: x * COLUMN + GAP / 2, y: HEAD + y * UNIT, width: w * COLUMN - GAP, height: h * UNIT - GAP }
  if (panel.type === 'row') return words(panel.title, { x: outer.x, y: outer.y + 18, size: 15 })
  const inner: Box = { x: outer.x + 8, y: outer.y + TITLE, width: outer.width - 16, height: outer.height - TITLE - 6 }
  const ground = `<rect x="${outer.x}" y="${outer.y}" width="${outer.width}" height="${outer.height}" rx="3" fill="#181b1f" stroke="#2a2c33"/>`
  const title = words(panel.title, { x: outer.x + 8, y: outer.y + 17, width: outer.width - 16, size: 13 })
  if (panel.type === 'stat') return stat(panel, answer, outer)
  return [ground, title, ...content(panel, answer, inner, span)].join('\n')
}

function content(panel: Panel, answer: readonly Drawn[], box: Box, span: Span): readonly string[] {
  if (panel.type === 'text') return text(panel.options?.content ?? '', box)
  if (answer.length === 0) {
    return [
      words('No data', { x: box.x + box.width / 2, y: box.y + box.height / 2, anchor: 'middle', colour: '#8e8e99' }),
    ]
  }
  switch (panel.type) {
    case 'timeseries':
      return lines(panel, answer, box, span)
    case 'bargauge':
      return bars(panel, answer, box)
    case 'table':
      return table(panel, answer, box)
    default:
      throw new Error(`nobody knows how to draw a ${escaped(panel.type)}`)
  }
}
