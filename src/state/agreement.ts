/**
 * Whether the nodes that share a Redis have the same limits. Nodes with different limits count in the same keys but
 * compare with different maxima, and if their windows differ they even undo each other's counts. So each node announces
 * its limits (nodes.ts) and logs a warning that names the setting: once for each difference, again when the difference
 * changes, and an info line when it is gone. The nodes must also use the same prefix for their keys, but that cannot be
 * checked here: nodes with different prefixes never see each other.
 */
import { rateText } from '../config/kinds.ts'
import { LIMIT_NAMES, LIMITS, type LimitName, type Rates } from '../core/limits.ts'
import type { Log } from '../telemetry/log.ts'
import { HOLD_MS } from './nodes.ts'

/**
 * `ip_connections=600/60000,global_connections=off,…,hash=…`: maximum and window in ms, and the hash of all settings. Equal settings give
 * equal texts. @param hash undefined: it is not told
 */
export const settingsText = (rates: Rates, hash?: string): string =>
  [
    ...LIMIT_NAMES.map((limit) => `${limit}=${setValue(rates, limit)}`),
    ...(hash === undefined ? [] : [`hash=${hash}`]),
  ].join()

/** Names as nodes announce them, each with something behind it that distinguishes it, as the operator knows them. */
const namesOf = (nodes: string): string =>
  [
    ...new Set(
      nodes
        .slice(0, LONGEST_NAMES)
        .split(' ')
        .map((name) => name.replace(/:[0-9a-f]{12}$/, '')),
    ),
  ].join(', ')
const LONGEST_NAMES = 1200
const HASH = /(?:^|,)hash=([0-9a-f]{1,64})$/

/** What is not the same on all nodes. */
export interface Differences {
  /** Limits, by their settings, as the operator would write them. */
  readonly limits: readonly {
    readonly setting: string
    readonly here: string
    readonly others: readonly { readonly nodes: string; readonly value: string }[]
  }[]
  /** Nodes that have other settings, whichever they are, with their hash. */
  readonly settings: readonly { readonly nodes: string; readonly hash: string }[]
}

const setValue = (rates: Rates, limit: LimitName): string => {
  const rate = rates[limit]
  return rate === undefined ? 'off' : `${rate.max}/${rate.windowMs}`
}

/** As the operator would write it. */
const shown = (value: string): string => {
  const [max, windowMs] = value.split('/')
  return windowMs === undefined ? value : rateText({ max: Number(max), windowMs: Number(windowMs) })
}

/**
 * Anything else is ignored: it comes from another version of the program, or from somebody else who writes to Redis.
 */
const ITEM = /^([a-z_]{1,40})=(off|\d{1,15}\/\d{1,15})$/

function read(settings: string): ReadonlyMap<string, string> {
  const items = settings.split(',').map((item) => ITEM.exec(item))
  return new Map(items.filter((item) => item !== null).map((item) => [item[1] as string, item[2] as string]))
}

interface Difference {
  readonly here: string
  /** As `values`, with who has them. */
  readonly others: readonly { readonly node: string; readonly value: string }[]
  /** The other nodes' values, sorted. Two differences are the same if these texts are. */
  readonly values: string
  readonly seenAt: number
}

export interface AgreementOptions {
  /** As they are set now. */
  readonly rates: () => Rates
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  /** Of all settings; undefined: it is not told. */
  readonly hash: () => string | undefined
  readonly log: Log
}

export class Agreement {
  readonly #options: AgreementOptions
  readonly #differences = new Map<LimitName, Difference>()
  #others: Differences['settings'] = []

  constructor(options: AgreementOptions) {
    this.#options = options
  }

  report(): Differences {
    const limits = [...this.#differences].map(([limit, { here, others }]) => ({
      ...{ setting: LIMITS[limit].setting, here: shown(here) },
      others: others.map(({ node, value }) => ({ nodes: namesOf(node), value: shown(value) })),
    }))
    return { limits, settings: this.#others }
  }

  /** @param others one node for each set of limits that differs from this node's */
  heard(others: readonly { readonly node: string; readonly settings: string }[]): void {
    const own = this.#options.hash()
    this.#others = others.flatMap(({ node, settings }) => {
      const hash = HASH.exec(settings)?.[1]
      return hash === undefined || own === undefined || hash === own ? [] : [{ nodes: namesOf(node), hash }]
    })
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
    const own = setValue(rates(), limit)
    const nodes = new Map<string, string>()
    for (const { node, values } of others) {
      const value = values.get(limit)
      if (value !== undefined && value !== own) nodes.set(value, node)
    }
    const known = this.#differences.get(limit)
    const name = LIMITS[limit].setting
    if (nodes.size === 0) {
      // A Redis that came back empty does not know all nodes yet, so that their silence is not agreement.
      if (known === undefined || at - known.seenAt < HOLD_MS) return
      this.#differences.delete(limit)
      log.info({ setting: name, here: shown(own) }, `all nodes have the same ${name} again`)
      return
    }
    const values = [...nodes.keys()].sort().join()
    const told = [...nodes].map(([value, node]) => ({ node, value }))
    this.#differences.set(limit, { here: own, others: told, values, seenAt: at })
    if (known?.values === values) return
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
