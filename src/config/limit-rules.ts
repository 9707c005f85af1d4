/**
 * Limits against each other. A narrow limit above a wide one with the same window never acts, because the wide one
 * refuses first: whoever gave both has mistaken one of them; where one is a default he only has to know.
 */
import { rateText } from './kinds.ts'
import type { Rule } from './rule.ts'
import type { SettingName } from './settings.ts'

const NAMES = {
  limitIpConnections: 'SPILLWAY_LIMIT_IP_CONNECTIONS',
  limitNetConnections: 'SPILLWAY_LIMIT_NET_CONNECTIONS',
  limitGlobalConnections: 'SPILLWAY_LIMIT_GLOBAL_CONNECTIONS',
  limitIpMessages: 'SPILLWAY_LIMIT_IP_MESSAGES',
  limitGlobalMessages: 'SPILLWAY_LIMIT_GLOBAL_MESSAGES',
} as const satisfies Record<string, SettingName>
type LimitKey = keyof typeof NAMES

const SHARED = {
  ...NAMES,
  limitIpRecipients: 'SPILLWAY_LIMIT_IP_RECIPIENTS',
  limitIpUnknownRecipients: 'SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS',
} as const satisfies Record<string, SettingName>

/** The first of each pair counts a part of what the second counts. */
const PAIRS: readonly (readonly [LimitKey, LimitKey])[] = [
  ['limitIpConnections', 'limitNetConnections'],
  ['limitIpConnections', 'limitGlobalConnections'],
  ['limitNetConnections', 'limitGlobalConnections'],
  ['limitIpMessages', 'limitGlobalMessages'],
]

export const limits: Rule = ({ settings, isGiven, isSound }, report) => {
  for (const [narrow, wide] of PAIRS) {
    const below = settings[narrow]
    const above = settings[wide]
    if (!isSound(NAMES[narrow], NAMES[wide]) || !below || !above) continue
    if (below.windowMs !== above.windowMs || below.max <= above.max) continue
    const told = (key: LimitKey, rate: string) => `${NAMES[key]} (${rate}${isGiven(key) ? '' : ', the default'})`
    if (isGiven(narrow) && isGiven(wide)) {
      report.mistake(
        NAMES[narrow],
        `at most ${rateText(above)}, which is ${NAMES[wide]}: above that it could never be reached. Lower it, or raise ${NAMES[wide]}`,
      )
    } else if (isGiven(narrow) || isGiven(wide)) {
      report.warn(
        `${told(narrow, rateText(below))} can never be reached: ${told(wide, rateText(above))} is lower and refuses first`,
      )
    }
  }
}

/** rate-limiter-flexible, which counts in Redis, has durations in whole seconds: it would make 1500ms one second, and 500ms for ever. */
export const sharedWindows: Rule = ({ settings, isSound }, report) => {
  if (!isSound('SPILLWAY_REDIS_URL') || settings.redisUrl === undefined) return
  for (const key of Object.keys(SHARED) as (keyof typeof SHARED)[]) {
    const name = SHARED[key]
    const rate = isSound(name) ? settings[key] : undefined
    if (rate === undefined || rate.windowMs % 1000 === 0) continue
    report.mistake(
      name,
      'a rate over whole seconds, such as 10/1s: limits in Redis (SPILLWAY_REDIS_URL) count by seconds',
    )
  }
}
