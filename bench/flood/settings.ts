// The contenders' settings, and what K does to Spillway's limits.
//
// K divides the time between tries, and nothing else of what senders do: rates, and what one visit brings, stay true. So a
// limit must go on to mean the same rate and the same burst, and only the time after which it forgives is divided. Its number
// and its window are divided together, by K or by as much of it as leaves a number of at least LEAST: a tenth of that, which
// is what strangers keep under pressure, is still what one visit brings. A window is whole seconds, as limits in Redis are. A
// limit that is small already, as 20 unknown recipients in ten minutes, stays as it is shipped: it forgives later than it
// should by the lab's clock, which is to the disadvantage of Spillway only.

import { duration, rate } from '../../src/config/kinds.ts'
import { settingOf } from '../../src/config/settings.ts'
import { LIMITS, type Rate } from '../../src/core/limits.ts'

/** Beside Spillway: one limit for all, nothing at all, Spillway without the flood, and Spillway with all the spam from one known sender. */
export const CONTENDERS = ['spillway', 'blind', 'nothing', 'calm', 'one sender'] as const
export type Contender = (typeof CONTENDERS)[number]
/** What a flood is compared with, if its scenario says nothing else. */
export const BESIDE_A_FLOOD: readonly Contender[] = ['blind', 'nothing', 'calm']

const SECOND_MS = 1000

/** The limits that hold where nothing is set, by the names of their settings without prefix. */
const SHIPPED = new Map(
  Object.values(LIMITS).flatMap(({ setting }): [string, Rate][] => {
    const parsed = rate.parse(settingOf(setting).default ?? '')
    return 'value' in parsed ? [[setting.slice('SPILLWAY_'.length), parsed.value]] : []
  }),
)

/** Messages a second that one address may send. */
export const MESSAGES = perSecond(SHIPPED.get('LIMIT_IP_MESSAGES') as Rate)

/** The same where it is set, as `50/10s`. */
export function messagesIn(settings: Readonly<Record<string, string>>): number {
  const parsed = rate.parse(settings.LIMIT_IP_MESSAGES ?? '')
  return 'value' in parsed && parsed.value !== undefined ? perSecond(parsed.value) : MESSAGES
}

/** The same as it is shipped, under pressure, if it is not known. */
export const STRANGERS_MESSAGES = MESSAGES * Number(settingOf('SPILLWAY_LIMIT_STRESS_FACTOR').default)

function perSecond({ max, windowMs }: Rate): number {
  return (max * SECOND_MS) / windowMs
}

const LEAST = 200

/** The limit with its number and its window divided by the same whole number, at most `k`; undefined: it stays. */
function dividedBy(k: number, { max, windowMs }: Rate): string | undefined {
  for (let by = Math.floor(k); by > 1; by--) {
    const seconds = windowMs / SECOND_MS / by
    if (max % by === 0 && Number.isInteger(seconds) && max / by >= LEAST) return `${max / by}/${seconds}s`
  }
  return undefined
}

const RETURN_AFTER = 'OVERLOAD_RETURN_AFTER'

/** Settings that differ from the shipped ones. With K = 1 there are none. */
export function divided(k: number): Readonly<Record<string, string>> {
  const limits = [...SHIPPED].flatMap(([name, shipped]) => {
    const limit = dividedBy(k, shipped)
    return limit === undefined ? [] : [[name, limit]]
  })
  if (k === 1) return Object.fromEntries(limits)
  // It is about when a sender comes back.
  const after = duration().parse(settingOf(`SPILLWAY_${RETURN_AFTER}`).default ?? '')
  if (!('value' in after)) throw new Error(`${RETURN_AFTER} has no default`)
  return Object.fromEntries([...limits, [RETURN_AFTER, `${Math.max(SECOND_MS, Math.round(after.value / k))}ms`]])
}

/** Blind shedding: everything off but one limit for all, at what the cluster can take. */
export function blind(capacity: number): Readonly<Record<string, string>> {
  return {
    ...Object.fromEntries([...SHIPPED.keys()].map((name) => [name, 'off'])),
    LIMIT_IP_CONCURRENCY: 'off',
    OVERLOAD: 'off',
    UNKNOWN_GUARD: 'off',
    LIMIT_GLOBAL_MESSAGES: `${Math.max(1, Math.round(capacity))}/1s`,
  }
}

/** What an operator sets for a cluster with so many places: as shipped, half of them, divided among the nodes. */
export const connections = (places: number, nodes: number): string =>
  `${Math.max(2, Math.floor(places / 2 / Math.max(1, nodes)))}`
