/**
 * Rules that compare limits with each other. A narrow limit above a wide one with the same window never acts, because
 * the wide one refuses first. If the operator gave both, one of them is a mistake; if one is a default, a warning is
 * enough.
 */
import { GROUPINGS, LIMIT_NAMES, LIMITS, type LimitName, type Rates } from '../core/limits.ts'
import { recordOf } from '../core/record.ts'
import { rateText } from './kinds.ts'
import type { Rule } from './rule.ts'
import { keyOf, type PlainSettings, type SettingName } from './settings.ts'

/** Does not compile where a limit names a setting that does not exist or is not a rate. */
type LimitSetting = (typeof LIMITS)[LimitName]['setting'] & SettingName

const limitSetting = (limit: LimitName): LimitSetting => LIMITS[limit].setting
const limitKey = (limit: LimitName) => keyOf(limitSetting(limit))

/** The rate of every limit, as the operator set it. */
export const ratesOf = (settings: PlainSettings): Rates => recordOf(LIMIT_NAMES, (limit) => settings[limitKey(limit)])

/**
 * Pairs of limits, of which the first counts a part of what the second counts. Of unknown recipients no address counts for more than a
 * part of what its network may (state/harvest.ts), so that its own limit may be above that.
 */
const PAIRS: readonly (readonly [LimitName, LimitName])[] = LIMIT_NAMES.flatMap((narrow) =>
  LIMIT_NAMES.filter(
    (wide) =>
      LIMITS[narrow].counts !== 'unknown' &&
      LIMITS[narrow].counts === LIMITS[wide].counts &&
      GROUPINGS.indexOf(LIMITS[narrow].per) < GROUPINGS.indexOf(LIMITS[wide].per),
  ).map((wide) => [narrow, wide] as const),
)

export const limits: Rule = ({ settings, isGiven, isSound }, report) => {
  const rates = ratesOf(settings)
  for (const [narrow, wide] of PAIRS) {
    const [narrowName, wideName] = [limitSetting(narrow), limitSetting(wide)]
    const [below, above] = [rates[narrow], rates[wide]]
    if (!isSound(narrowName, wideName) || !below || !above) continue
    if (below.windowMs !== above.windowMs || below.max <= above.max) continue
    const isNarrowGiven = isGiven(limitKey(narrow))
    const isWideGiven = isGiven(limitKey(wide))
    const described = (name: SettingName, rate: string, isOwn: boolean) =>
      `${name} (${rate}${isOwn ? '' : ', the default'})`
    if (isNarrowGiven && isWideGiven) {
      report.mistake(
        narrowName,
        `at most ${rateText(above)}, which is ${wideName}: above that it could never be reached. Lower it, or raise ${wideName}`,
      )
    } else if (isNarrowGiven || isWideGiven) {
      report.warn(
        `${described(narrowName, rateText(below), isNarrowGiven)} can never be reached: ${described(wideName, rateText(above), isWideGiven)} is lower and refuses first`,
      )
    }
  }
}

/**
 * rate-limiter-flexible, which counts in Redis, has durations in whole seconds: it would turn 1500ms into one second,
 * and 500ms into a window that never ends.
 */
export const sharedWindows: Rule = ({ settings, isSound }, report) => {
  if (!isSound('SPILLWAY_REDIS_URL') || settings.redisUrl === undefined) return
  for (const limit of LIMIT_NAMES) {
    const name = limitSetting(limit)
    const rate = isSound(name) ? settings[limitKey(limit)] : undefined
    if (rate === undefined || rate.windowMs % 1000 === 0) continue
    report.mistake(
      name,
      'a rate over whole seconds, such as 10/1s: limits in Redis (SPILLWAY_REDIS_URL) have windows of whole seconds',
    )
  }
}
