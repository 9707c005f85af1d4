// Panels that draw no lines: one figure, bars, a table, a text.

import { colourOf, hexOf } from './colours.ts'
import { formatted } from './format.ts'
import type { Drawn, Panel } from './model.ts'
import { type Box, round, words } from './svg.ts'

/** One figure on ground of its colour, with what led to it behind. */
export function stat(panel: Panel, answer: readonly Drawn[], box: Box): string {
  const { unit, thresholds, mappings = [] } = panel.fieldConfig?.defaults ?? {}
  const values = answer[0]?.values ?? []
  const value = values.at(-1)?.[1]
  const mapped = value === undefined ? undefined : mappings[0]?.options[String(value)]
  const step = (thresholds?.steps ?? []).findLast((each) => each.value === null || (value ?? 0) >= each.value)
  const colour = value === undefined ? '#3a3d45' : hexOf(mapped?.color ?? step?.color ?? 'blue')
  const said = mapped?.text ?? (value === undefined ? '–' : formatted(value, unit))
  const size = Math.max(14, Math.min(38, (box.width - 16) / (said.length * 0.6)))
  const most = Math.max(...values.map(([, each]) => each), 1e-9)
  const from = values[0]?.[0] ?? 0
  const wide = (values.at(-1)?.[0] ?? 1) - from || 1
  const points = values.map(
    ([time, each]) =>
      `${round(box.x + ((time - from) / wide) * box.width)} ${round(box.y + box.height - (each / most) * box.height * 0.35)}`,
  )
  const bottom = round(box.y + box.height)
  const trend =
    panel.options?.graphMode === 'area' && points.length > 1
      ? `<path d="M${box.x} ${bottom}L${points.join('L')}L${round(box.x + box.width)} ${bottom}Z" fill="#000" fill-opacity="0.18"/>`
      : ''
  return [
    `<rect x="${box.x}" y="${box.y}" width="${box.width}" height="${box.height}" rx="3" fill="${colour}"/>`,
    trend,
    words(panel.title, { x: box.x + 8, y: box.y + 17, width: box.width - 12, colour: '#111217' }),
    words(said, {
      x: box.x + box.width / 2,
      y: box.y + box.height / 2 + size / 2,
      size: Math.round(size),
      colour: '#111217',
      anchor: 'middle',
    }),
  ].join('\n')
}

const NAMES = 150

/** A bar for each series, as of the end. */
export function bars(panel: Panel, answer: readonly Drawn[], box: Box): string[] {
  const most = Math.max(...answer.map(({ values }) => values.at(-1)?.[1] ?? 0), 1)
  const high = Math.min(26, box.height / answer.length)
  return answer.flatMap(({ name, values }, i) => {
    const value = Math.round(values.at(-1)?.[1] ?? 0)
    const y = box.y + i * high
    const wide = ((box.width - NAMES - 70) * value) / most
    const colour = colourOf(panel, name, i)
    return [
      words(name, { x: box.x + NAMES - 8, y: y + high / 2 + 4, size: 11, anchor: 'end' }),
      `<rect x="${box.x + NAMES}" y="${round(y + 2)}" width="${round(Math.max(1, wide))}" height="${round(high - 4)}" fill="${colour}"/>`,
      words(formatted(value, 'short'), { x: box.x + NAMES + wide + 8, y: y + high / 2 + 4, size: 11, colour }),
    ]
  })
}

/** The labels of each series, in the columns that the panel has renamed. */
export function table(panel: Panel, answer: readonly Drawn[], box: Box): string[] {
  const columns = Object.entries(panel.transformations?.find(({ id }) => id === 'organize')?.options.renameByName ?? {})
  const wide = box.width / columns.length
  const row = (cells: readonly string[], y: number, colour?: string) =>
    cells.map((cell, i) =>
      words(cell, { x: box.x + i * wide, y, width: wide - 8, ...(colour === undefined ? {} : { colour }) }),
    )
  return [
    ...row(
      columns.map(([, name]) => name),
      box.y + 16,
      hexOf('light-blue'),
    ),
    ...answer.flatMap(({ labels }, i) =>
      row(
        columns.map(([label]) => labels[label] ?? ''),
        box.y + 42 + i * 24,
      ),
    ),
  ]
}

/** A table of Markdown, as far as there is room. */
export function text(markdown: string, box: Box): string[] {
  const lines = markdown.split('\n').filter((line) => !/^\|[-|]+\|$/.test(line))
  return lines.slice(0, Math.floor(box.height / 18)).flatMap((line, i) => {
    const cells = line.split('|').slice(1, -1)
    const places = [box.x, box.x + 160, box.x + 270]
    return cells.map((cell, k) => {
      const x = places[k] ?? box.x
      return words(cell.trim(), { x, y: box.y + 14 + i * 18, size: 12, width: box.x + box.width - x })
    })
  })
}
