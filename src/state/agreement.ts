/**
 * Whether the nodes that share a Redis have the same limits. Nodes that do not still count in the same keys, but compare with
 * different maxima; with different windows they even undo each other's counts. So each node announces its limits (nodes.ts)
 * and warns of a difference by the name of the setting: once for each difference, again when it changes, and with another
 * line when it is gone. The prefix of the keys must agree as well but cannot be compared: nodes with another prefix never
 * meet.
 */
import { rateText } from '../config/kinds.ts'
import { LIMIT_NAMES, LIMITS, type LimitName, type Rates } from '../core/limits.ts'
import type { Log } from '../telemetry/log.ts'
import { HOLD_MS } from './nodes.ts'

/** `ip_connections=600/60000,global_connections=off,…`: maximum and window in ms. The same text for the same limits. */
export const settingsText = (rates: Rates): string =>
  LIMIT_NAMES.map((limit) => `${limit}=${setValue(rates, limit)}`).join()

const setValue = (rates: Rates, limit: LimitName): string => {
  const rate = rates[limit]
  return rate === undefined ? 'off' : `${rate.max}/${rate.windowMs}`
}

/** As the operator would write it. */
const shown = (value: string): string => {
  const [max, windowMs] = value.split('/')
  return windowMs === undefined ? value : rateText({ max: Number(max), windowMs: Number(windowMs) })
}

/** Anything else comes from another version of the program, or from someone who writes to Redis. It is ignored. */
const ITEM = /^([a-z_]{1,40})=(off|\d{1,15}\/\d{1,15})$/

function read(settings: string): ReadonlyMap<string, string> {
  const items = settings.split(',').map((item) => ITEM.exec(item))
  return new Map(items.filter((item) => item !== null).map((item) => [item[1] as string, item[2] as string]))
}

interface Difference {
  /** The other nodes' values, sorted. Two differences are the same if these are. */
  readonly values: string
  seenAt: number
}

export interface AgreementOptions {
  readonly rates: Rates
  /** In ms, of a clock that never goes back. */
  readonly elapsed: () => number
  readonly log: Log
}

export class Agreement {
  readonly #options: AgreementOptions
  readonly #differences = new Map<LimitName, Difference>()

  constructor(options: AgreementOptions) {
    this.#options = options
  }

  /** @param others one node for each set of limits that differs from this node's */
  heard(others: readonly { readonly node: string; readonly settings: string }[]): void {
    if (others.length === 0 && this.#differences.size === 0) return
    const at = this.#options.elapsed()
    const all = others.map(({ node, settings }) => ({ node, values: read(settings) }))
    for (const limit of LIMIT_NAMES) this.#compare(limit, all, at)
  }

  #compare(
    limit: LimitName,
    others: readonly { readonly node: string; readonly values: ReadonlyMap<string, string> }[],
    at: number,
  ): void {
    const { rates, log } = this.#options
    const own = setValue(rates, limit)
    const nodes = new Map<string, string>()
    for (const { node, values } of others) {
      const value = values.get(limit)
      if (value !== undefined && value !== own) nodes.set(value, node)
    }
    const known = this.#differences.get(limit)
    const name = LIMITS[limit].setting
    if (nodes.size === 0) {
      // A Redis that came back empty does not know of all nodes yet, which is no agreement.
      if (known === undefined || at - known.seenAt < HOLD_MS) return
      this.#differences.delete(limit)
      log.info({ setting: name, here: shown(own) }, `all nodes have the same ${name} again`)
      return
    }
    const values = [...nodes.keys()].sort().join()
    if (known?.values === values) {
      known.seenAt = at
      return
    }
    this.#differences.set(limit, { values, seenAt: at })
    log.warn(
      {
        setting: name,
        here: shown(own),
        others: [...nodes].map(([value, node]) => ({ node: node.slice(0, 300), value: shown(value) })),
      },
      `${name} is not the same on all nodes that share this Redis: limits hold as each node has them set`,
    )
  }
}
