/** Builds the report on checks in observe mode, with a value that would fit each limit. */
import type { ObservedCheck, ObserveReport } from '../admin/observe.ts'
import { rateText } from '../config/kinds.ts'
import { keyOf, type PlainSettings } from '../config/settings.ts'
import { STANDINGS } from '../core/client.ts'
import { LIMIT_NAMES, LIMITS, type LimitName, type Rate } from '../core/limits.ts'
import { CHECK_NAMES, type CheckName, checkOf } from '../core/reasons.ts'
import { recordOf } from '../core/record.ts'
import { HEARD, type Metrics } from '../telemetry/metrics.ts'
import {
  type ByStanding,
  type CheckTally,
  excess,
  higher,
  type Peak,
  type Tallied,
} from '../telemetry/observed/report.ts'
import { ObservedTally } from '../telemetry/observed/tally.ts'
import { modeIn } from './policy.ts'

/** What is suggested is so much more than what was seen, because tomorrow may be busier. */
export const MARGIN = 1.25

type Maximum =
  | (typeof LIMITS)[LimitName]['setting']
  | 'SPILLWAY_LIMIT_IP_CONCURRENCY'
  | 'SPILLWAY_LIMIT_RECIPIENTS_PER_MESSAGE'

/** The settings whose value is a maximum that a check compares with. */
const SETTINGS: ReadonlyMap<CheckName, Maximum> = new Map<CheckName, Maximum>([
  ...LIMIT_NAMES.map((name) => [checkOf(name), LIMITS[name].setting] as const),
  ['ip-concurrency', 'SPILLWAY_LIMIT_IP_CONCURRENCY'],
  ['recipients', 'SPILLWAY_LIMIT_RECIPIENTS_PER_MESSAGE'],
])

const sum = (by: ByStanding): number => STANDINGS.reduce((total, standing) => total + by[standing], 0)

/**
 * The use is taken as a share of the client's own maximum, so that it fits clients for which the setting is widened and workers
 * among which it is divided.
 */
function valuesOf(
  check: CheckName,
  settings: PlainSettings,
  peaks: readonly Peak[],
): Pick<ObservedCheck, 'setting' | 'peaks'> {
  const name = SETTINGS.get(check)
  if (name === undefined) return { peaks }
  const value = settings[keyOf(name)]
  const text = (max: number | Rate | undefined): string =>
    max === undefined ? 'off' : typeof max === 'number' ? String(max) : rateText(max)
  const now = text(value)
  const [first] = peaks
  // The limit may have been switched off since.
  if (value === undefined || first === undefined) return { peaks, setting: { name, now } }
  const suggested = (peak: Peak): string => {
    const fits = (max: number): number => Math.ceil(max * excess(peak) * MARGIN)
    return text(typeof value === 'number' ? fits(value) : { ...value, max: fits(value.max) })
  }
  return {
    peaks: peaks.map((peak) => ({ ...peak, suggested: suggested(peak) })),
    setting: { name, now, suggested: suggested(peaks.reduce(higher, first)) },
  }
}

function checkReport(
  { check, heard, senders, more, peaks }: CheckTally,
  settings: PlainSettings,
  observing: boolean,
): ObservedCheck {
  const sums = recordOf(HEARD, (each) => sum(heard[each]))
  const judged = sums.accepted + sums.refused
  const some = (by: ByStanding) => Object.fromEntries(Object.entries(by).filter(([, count]) => count > 0))
  return {
    ...{ check, observing },
    sessions: judged + sums.none,
    heard: sums,
    standings: recordOf(HEARD, (each) => some(heard[each])),
    ...(judged > 0 && { falsePositives: Math.round((sums.accepted / judged) * 1000) / 1000 }),
    senders: senders.map((each) => ({ ...each, last: new Date(each.last).toISOString() })),
    moreSenders: more,
    ...valuesOf(check, settings, peaks),
  }
}

const NOBODY = recordOf(STANDINGS, () => 0)
const nothing = (check: CheckName): CheckTally => ({
  check,
  heard: recordOf(HEARD, () => NOBODY),
  senders: [],
  more: false,
  peaks: [],
})

/** @param settings those in force, of the whole node */
export function observeReport({ since, checks }: Tallied, settings: PlainSettings): ObserveReport {
  const mode = modeIn(settings)
  return {
    since: new Date(since).toISOString(),
    checks: CHECK_NAMES.flatMap((check) => {
      const observing = mode(check) === 'observe'
      const tally = checks.find((each) => each.check === check)
      return observing || tally !== undefined ? [checkReport(tally ?? nothing(check), settings, observing)] : []
    }),
  }
}

export interface TallyParts {
  readonly metrics: Pick<Metrics, 'observeWouldRefuse'>
  readonly now: () => number
  readonly settingsNow: () => PlainSettings
}

export function buildTally({ metrics, now, settingsNow }: TallyParts): {
  readonly tally: ObservedTally
  readonly observed: () => ObserveReport
} {
  const tally = new ObservedTally({ metrics, now })
  return { tally, observed: () => observeReport(tally.report(), settingsNow()) }
}
