/** What the traffic of the last hour was, as figures; and those of several workers together. */
import type { ReasonName } from '../../core/reasons.ts'
import type { KnownRefused } from '../metrics.ts'
import type { Normal } from './week.ts'

/**
 * Counted in each minute. known: sessions of trusted and known senders that were relayed; known_shed: those that were told to come back;
 * known_refused: those that Spillway itself refused for good.
 */
export const SERIES = [
  'connections',
  'shed',
  'messages',
  'deferred',
  'known',
  'known_shed',
  'known_refused',
  'senders',
] as const
export type SeriesName = (typeof SERIES)[number]
export type MinuteSeries = Readonly<Record<SeriesName, readonly number[]>>

export const TOP_BY = ['network', 'helo', 'domain'] as const
export type TopBy = (typeof TOP_BY)[number]
/** What `top` tells, of the API and of the command line. */
export const TOP_OF = [...TOP_BY, 'reason'] as const
export type TopOf = (typeof TOP_OF)[number]

export interface TopRow {
  /** As the client said it, where it said it. */
  readonly key: string
  readonly perMinute: number
  /** The share that was turned away, 0 to 1; of domains: of their recipients. */
  readonly turnedAway: number
}

export interface ReasonRow {
  readonly reason: ReasonName
  /** observe: it would have been turned away. */
  readonly mode: 'enforce' | 'observe'
  readonly lastMinute: number
  readonly lastHour: number
}

/** Sessions of trusted and known senders that relayed nothing because Spillway refused them. */
export interface KnownRefusedRow {
  readonly reason: ReasonName
  readonly result: KnownRefused
  readonly lastTenMinutes: number
  readonly lastHour: number
  /** The address of the latest; absent: it came before the last start. */
  readonly latest?: string
}

export interface TrafficReport {
  /** The last hour, minute by minute, the latest last; each minute ends now, at a tenth second. Shorter than 60 soon after the start. */
  readonly minutes: MinuteSeries
  /** A minute, in this hour of the week; absent while it is not known. */
  readonly normal?: Normal
  /** How many of the 168 hours of the week are known. */
  readonly hoursLearnt: number
  readonly top: Readonly<Record<TopBy, readonly TopRow[]>>
  readonly reasons: readonly ReasonRow[]
  /** Those of the last hour, the most frequent first. */
  readonly knownRefused: readonly KnownRefusedRow[]
}

/** How many rows of each kind are told. */
export const TOLD = 20

const added = (lists: readonly (readonly number[])[]): number[] => {
  const length = Math.max(0, ...lists.map((list) => list.length))
  // The latest minute is last in each of them, however long it has been there.
  return Array.from({ length }, (_, i) => lists.reduce((sum, list) => sum + (list[list.length - length + i] ?? 0), 0))
}

function topOf(rows: readonly TopRow[]): TopRow[] {
  const all = new Map<string, { perMinute: number; away: number }>()
  for (const { key, perMinute, turnedAway } of rows) {
    const { perMinute: before, away } = all.get(key) ?? { perMinute: 0, away: 0 }
    all.set(key, { perMinute: before + perMinute, away: away + perMinute * turnedAway })
  }
  return [...all]
    .map(([key, { perMinute, away }]) => ({
      key,
      perMinute: rounded(perMinute),
      turnedAway: rounded(away / perMinute),
    }))
    .sort((a, b) => b.perMinute - a.perMinute)
    .slice(0, TOLD)
}

function reasonsOf(rows: readonly ReasonRow[]): ReasonRow[] {
  const all = new Map<string, ReasonRow>()
  for (const row of rows) {
    const key = `${row.reason} ${row.mode}`
    const before = all.get(key)
    const lastMinute = row.lastMinute + (before?.lastMinute ?? 0)
    all.set(key, { ...row, lastMinute, lastHour: row.lastHour + (before?.lastHour ?? 0) })
  }
  return [...all.values()].sort((a, b) => b.lastHour - a.lastHour)
}

function knownRefusedOf(rows: readonly KnownRefusedRow[]): KnownRefusedRow[] {
  const all = new Map<string, KnownRefusedRow>()
  for (const row of rows) {
    const key = `${row.reason} ${row.result}`
    const before = all.get(key)
    const lastTenMinutes = row.lastTenMinutes + (before?.lastTenMinutes ?? 0)
    all.set(key, { ...before, ...row, lastTenMinutes, lastHour: row.lastHour + (before?.lastHour ?? 0) })
  }
  return [...all.values()].sort((a, b) => b.lastHour - a.lastHour)
}

export const rounded = (value: number): number => Math.round(value * 1000) / 1000

/** A worker that has begun lately knows no normal yet: it is taken to be as those that do. A sender that meets two workers counts twice, in the normal as well. */
function normalOf(reports: readonly TrafficReport[]): Normal | undefined {
  const known = reports.flatMap(({ normal }) => normal ?? [])
  if (known.length === 0) return undefined
  const times = reports.length / known.length
  const sum = (of: (normal: Normal) => number): number => known.reduce((all, each) => all + of(each), 0) * times
  return {
    basis: known.every(({ basis }) => basis === 'week') ? 'week' : 'hours',
    hours: Math.max(...known.map(({ hours }) => hours)),
    connections: sum(({ connections }) => connections),
    senders: sum(({ senders }) => senders),
    messages: sum(({ messages }) => messages),
  }
}

/** @returns undefined of none */
export function trafficTogether(reports: readonly TrafficReport[]): TrafficReport | undefined {
  if (reports.length === 0) return undefined
  const normal = normalOf(reports)
  const series = (name: SeriesName) => added(reports.map(({ minutes }) => minutes[name]))
  const top = (by: TopBy) => topOf(reports.flatMap((report) => report.top[by]))
  return {
    minutes: Object.fromEntries(SERIES.map((name) => [name, series(name)])) as unknown as MinuteSeries,
    ...(normal !== undefined && { normal }),
    hoursLearnt: Math.max(...reports.map(({ hoursLearnt }) => hoursLearnt)),
    top: { network: top('network'), helo: top('helo'), domain: top('domain') },
    reasons: reasonsOf(reports.flatMap(({ reasons }) => reasons)),
    knownRefused: knownRefusedOf(reports.flatMap(({ knownRefused }) => knownRefused)),
  }
}
