/**
 * What `spillway top` shows, as lines: a pure function of the answer and of the room for it. Names are as clients chose them, so nothing
 * but printable ASCII of them is shown as it is: a terminal might obey the rest, and its width is not known.
 */
import type { TopReport } from '../../admin/top.ts'
import type { TopOf } from '../../telemetry/traffic/report.ts'

export interface Room {
  readonly columns: number
  /** Undefined: as many as there are. */
  readonly rows?: number | undefined
}

/** Of the column that names what it is about: less says nothing. */
const LEAST = 8
const GAP = '  '

const TITLES: Readonly<Record<TopOf, string>> = {
  network: 'NETWORK',
  helo: 'NAME IN HELO',
  domain: 'DOMAIN OF RECIPIENTS',
  reason: 'REASON',
}

/** Whatever is not printable ASCII as a JSON escape. */
const shown = (key: string): string =>
  key.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
const cut = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, Math.max(0, length - 1))}…`
const rateOf = (perMinute: number): string => (perMinute < 10 ? perMinute.toFixed(1) : String(Math.round(perMinute)))

/** The first cell of each row is what it is about; the others are figures. */
function cellsOf(report: TopReport): readonly (readonly [string, ...string[]])[] {
  if (report.by === 'reason')
    return [
      [TITLES.reason, 'LAST MINUTE', 'LAST HOUR'],
      ...report.rows.map(({ reason, mode, lastMinute, lastHour }): [string, string, string] => [
        mode === 'observe' ? `${reason} (observed)` : reason,
        String(Math.round(lastMinute)),
        String(Math.round(lastHour)),
      ]),
    ]
  return [
    [TITLES[report.by], 'A MINUTE', 'TURNED AWAY'],
    ...report.rows.map(({ key, perMinute, turnedAway }): [string, string, string] => [
      key === '' ? '(none)' : shown(key),
      rateOf(perMinute),
      `${Math.round(turnedAway * 100)} %`,
    ]),
  ]
}

/** @returns lines of at most `columns` characters: a head, and a row for each entry, the most frequent first */
export function tableOf(report: TopReport, { columns, rows = Number.POSITIVE_INFINITY }: Room): string[] {
  const [head, ...entries] = cellsOf(report)
  if (head === undefined || entries.length === 0) return [cut('Nothing in the last minutes.', columns)]
  const all = [head, ...entries].slice(0, Math.max(2, rows))
  const widths = head.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)))
  const figures = widths.slice(1).reduce((sum, width) => sum + GAP.length + width, 0)
  const first = Math.min(widths[0] ?? 0, Math.max(LEAST, columns - figures))
  return all.map(([name, ...others]) =>
    cut(
      [cut(name, first).padEnd(first), ...others.map((text, i) => text.padStart(widths[i + 1] ?? 0))].join(GAP),
      columns,
    ),
  )
}
