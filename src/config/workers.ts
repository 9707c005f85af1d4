/**
 * How the limits of one node are divided among its workers, so that the node as a whole keeps them. Each worker is a
 * node of its own to Redis, so limits that are counted there are not divided.
 */
import { LIMIT_NAMES, LIMITS, type Rate } from '../core/limits.ts'
import type { Bounds } from './connections-kind.ts'
import type { Rule } from './rule.ts'
import { keyOf, MOST_WORKERS, type PlainSettings, type SettingName } from './settings.ts'

/** Of this many workers, which one: 0 to `of - 1`. */
export interface Share {
  readonly index: number
  readonly of: number
}

/** Settings that are divided among the workers. */
const OF_A_NODE = [
  'SPILLWAY_MAX_CONNECTIONS',
  'SPILLWAY_UPSTREAM_MAX_CONNECTIONS',
  'SPILLWAY_LIMIT_IP_CONCURRENCY',
] as const satisfies readonly SettingName[]

/** @param cores how many of them this process may use */
export function workersOf(settings: PlainSettings, cores: number): number {
  if (settings.workers !== 'auto') return settings.workers
  const most = Math.min(cores, MOST_WORKERS)
  return Math.max(1, Math.min(most, ...notForAll(settings, most).map(({ whole }) => whole)))
}

/** The shares of all workers add up to the whole; only of TLS handshakes each has one at least. */
const part = (whole: number, { index, of }: Share): number => Math.floor(whole / of) + (index < whole % of ? 1 : 0)

/** The settings of one worker. */
export function shareOf(settings: PlainSettings, share: Share): PlainSettings {
  const divided: Record<string, unknown> = { ...settings }
  for (const key of OF_A_NODE.map(keyOf)) {
    const whole = settings[key]
    if (typeof whole === 'number') divided[key] = part(whole, share)
    else if (whole !== undefined)
      divided[key] = { floor: part(whole.floor, share), ceiling: part(whole.ceiling, share) }
  }
  const { ofOne, ofAll } = settings.tlsHandshakes
  divided.tlsHandshakes = { ofOne: Math.max(1, part(ofOne, share)), ofAll: Math.max(1, part(ofAll, share)) }
  if (settings.historyFile !== undefined) divided.historyFile = `${settings.historyFile}.${share.index + 1}`
  if (settings.redisUrl !== undefined) return divided as unknown as PlainSettings
  for (const key of LIMIT_NAMES.map((limit) => keyOf(LIMITS[limit].setting))) {
    const whole = settings[key]
    if (whole !== undefined) divided[key] = { ...whole, max: part(whole.max, share) }
  }
  return divided as unknown as PlainSettings
}

const leastOf = (value: number | Rate | Bounds | undefined): number | undefined =>
  typeof value !== 'object' ? value : 'max' in value ? value.max : value.floor

/** What is less than the number of workers. One with a share of nothing would turn everybody away. */
export function notForAll(
  settings: PlainSettings,
  count: number,
): readonly { readonly name: SettingName; readonly whole: number }[] {
  const rates = settings.redisUrl === undefined ? LIMIT_NAMES.map((limit) => LIMITS[limit].setting) : []
  return [...OF_A_NODE, ...rates].flatMap((name) => {
    const value = settings[keyOf(name)]
    const whole = leastOf(value)
    return whole === undefined || whole >= count ? [] : [{ name, whole }]
  })
}

/** Why `auto` does not use all cores. */
function fewer(settings: PlainSettings, count: number, cores: number): string {
  const [poor] = notForAll(settings, count + 1)
  const why = poor === undefined ? 'there are no more' : `${poor.name} is divided among them`
  return `SPILLWAY_WORKERS=auto is ${count} on this machine of ${cores} cores, because ${why}`
}

export const workers: Rule = ({ settings, isSound, cores }, report) => {
  if (!isSound('SPILLWAY_WORKERS')) return
  const count = workersOf(settings, cores)
  if (settings.workers === 'auto' && count < cores) report.warn(fewer(settings, count, cores))
  if (count === 1) return
  const isShared = isSound('SPILLWAY_REDIS_URL') && settings.redisUrl !== undefined
  for (const { name, whole } of notForAll(settings, count)) {
    if (!isSound(name)) continue
    report.mistake(
      'SPILLWAY_WORKERS',
      `at most ${whole}, because ${name} is divided among the workers, and there are ${count}. Raise ${name}, or have fewer workers`,
    )
  }
  if (isShared || !isSound('SPILLWAY_REDIS_URL')) return
  report.warn(
    `SPILLWAY_WORKERS: each of the ${count} workers counts alone and has a part of every limit. A client whose connections are spread unevenly over them is refused early. A Redis on this machine (SPILLWAY_REDIS_URL) lets them count together`,
  )
}
