/** What `spillway status` takes from /metrics: text in the format of Prometheus -> a few sums. */

export interface Figures {
  /** Sessions that have ended since the start, by outcome. */
  readonly sessions: Readonly<Record<string, number>>
  readonly bans: number
  /** What checks that are only observed would have refused. */
  readonly observed: Readonly<Record<string, number>>
}

const SERIES = /^(spillway_\w+)(?:\{(.*)\})? (\S+)$/
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g

const labelsIn = (text = ''): Readonly<Record<string, string>> =>
  Object.fromEntries([...text.matchAll(LABEL)].map(([, name, value]) => [name, value]))

export function figuresIn(page: string): Figures {
  const sessions: Record<string, number> = {}
  const observed: Record<string, number> = {}
  let bans = 0
  const add = (to: Record<string, number>, key: string, value: number): void => {
    to[key] = (to[key] ?? 0) + value
  }
  for (const line of page.split('\n')) {
    const [, name, labels, text] = SERIES.exec(line) ?? []
    const value = Number(text)
    if (name === undefined || !Number.isFinite(value)) continue
    if (name === 'spillway_bans_active') bans = value
    if (name === 'spillway_sessions_total') add(sessions, labelsIn(labels).outcome ?? '', value)
    if (name === 'spillway_refusals_total' && value > 0) {
      const { mode, reason = '' } = labelsIn(labels)
      if (mode === 'observe') add(observed, reason, value)
    }
  }
  return { sessions, bans, observed }
}
