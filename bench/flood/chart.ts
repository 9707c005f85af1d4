// A timeline as SVG: shares between 0 and 1 over seconds, one line for each contender, and below them Spillway's level.

import type { Point } from './ledger.ts'
import type { LevelPoint } from './watch.ts'

export interface Line {
  readonly name: string
  readonly points: readonly Point[]
  readonly isDashed?: boolean
}

export interface Chart {
  readonly title: string
  readonly lines: readonly Line[]
  /** Empty where no node was there. */
  readonly levels: readonly LevelPoint[]
}

const COLOURS = ['#1b6ca8', '#c8553d', '#777777', '#5b9bd0', '#7fb069']
const BOX = { left: 56, top: 40, width: 640, height: 220 }
const LEVELS = { top: 320, height: 60, most: 4 }
const TICK_S = 30

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

function frame(longest: number): string[] {
  const right = BOX.left + BOX.width
  const bottom = BOX.top + BOX.height
  const rows = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => {
    const y = BOX.top + (1 - share) * BOX.height
    return [
      `<line x1="${BOX.left}" y1="${y}" x2="${right}" y2="${y}" stroke="#ddd"/>`,
      `<text x="${BOX.left - 6}" y="${y + 4}" text-anchor="end">${share * 100} %</text>`,
    ]
  })
  const columns = Array.from({ length: Math.floor(longest / TICK_S) + 1 }, (_, i) => {
    const x = (BOX.left + ((i * TICK_S) / longest) * BOX.width).toFixed(1)
    return `<text x="${x}" y="${bottom + 16}" text-anchor="middle">${i * TICK_S} s</text>`
  })
  return [...rows, ...columns]
}

function levelBars(levels: readonly LevelPoint[], longest: number): string[] {
  if (levels.length === 0) return []
  const bottom = LEVELS.top + LEVELS.height
  const width = BOX.width / longest
  const bars = levels
    .filter(({ s, level }) => s < longest && level > 0)
    .map(({ s, level }) => {
      const height = (level / LEVELS.most) * LEVELS.height
      const x = (BOX.left + s * width).toFixed(1)
      return `<rect x="${x}" y="${bottom - height}" width="${width.toFixed(1)}" height="${height}" fill="#e8b04a"/>`
    })
  return [
    ...bars,
    `<line x1="${BOX.left}" y1="${bottom}" x2="${BOX.left + BOX.width}" y2="${bottom}" stroke="#ddd"/>`,
    `<text x="${BOX.left - 6}" y="${LEVELS.top + 10}" text-anchor="end">4</text>`,
    `<text x="${BOX.left - 6}" y="${bottom}" text-anchor="end">0</text>`,
    `<text x="${BOX.left}" y="${bottom + 16}">overload level of Spillway</text>`,
  ]
}

export function chart({ title, lines, levels }: Chart): string {
  const longest = Math.max(1, ...lines.flatMap(({ points }) => points.map(({ s }) => s)))
  const x = (s: number): string => (BOX.left + (s / longest) * BOX.width).toFixed(1)
  const y = (share: number): string => (BOX.top + (1 - share) * BOX.height).toFixed(1)
  const drawn = lines.flatMap(({ name, points, isDashed }, i) => {
    const colour = COLOURS[i % COLOURS.length]
    const path = points.map(({ s, share }) => `${x(s)},${y(share)}`).join(' ')
    const dashes = isDashed ? ' stroke-dasharray="5 4"' : ''
    const [left, top] = [BOX.left + i * 128, BOX.top + BOX.height + 38]
    return [
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"${dashes}/>`,
      `<text x="${left}" y="${top}" fill="${colour}">${isDashed ? '┄' : '━'} ${escaped(name)}</text>`,
    ]
  })
  return `${[
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 410" font-family="sans-serif" font-size="12">',
    '<rect width="720" height="410" fill="#fff"/>',
    `<text x="${BOX.left}" y="22" font-size="14">${escaped(title)}</text>`,
    ...frame(longest),
    ...drawn,
    ...levelBars(levels, longest),
    '</svg>',
  ].join('\n')}\n`
}
