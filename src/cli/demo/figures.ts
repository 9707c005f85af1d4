/**
 * The figures on the demo's screen. They come from the metrics of the running app, as /metrics shows them, and not from
 * what the demo itself knows. Rates are over the last few seconds.
 */
import type { OverloadStatus } from '../../admin/status.ts'
import type { Running } from '../../app.ts'
import type { Settings } from '../../config/settings.ts'
import { STANDINGS } from '../../core/client.ts'
import { actionsAt, REASON_NAMES, type ReasonName, reasonOf } from '../../core/reasons.ts'
import type { Stage } from '../../core/stages.ts'
import { meaningOf } from './settings.ts'

/** A counter and how fast it grows. */
export interface Flow {
  readonly total: number
  readonly perSecond: number
}

export interface Why extends Flow {
  readonly reason: ReasonName
  /** In plain words, with the values of this run. */
  readonly meaning: string
}

export interface Figures {
  readonly connections: Flow
  readonly open: number
  /** Messages that the mail server accepted with 250. */
  readonly relayed: Flow
  /** Refusals (5yz) by the mail server, which Spillway passed on. */
  readonly refusedBehind: Flow
  /** Refusals by Spillway itself. */
  readonly refused: Flow
  /** The most frequent first; reasons that have not occurred are left out. */
  readonly why: readonly Why[]
  /** Sessions that brought no message and were not refused. */
  readonly left: Flow
  readonly overload: OverloadStatus | undefined
  readonly upstream: { readonly up: boolean; readonly connections: number }
}

/** How many samples a rate spans; one is taken per second. */
const SAMPLES = 5

interface Sample {
  readonly at: number
  readonly counts: ReadonlyMap<string, number>
}

export class Meter {
  readonly #running: Running
  readonly #meanings: readonly { readonly reason: ReasonName; readonly meaning: string }[]
  readonly #samples: Sample[] = []

  constructor(running: Running, settings: Settings) {
    this.#running = running
    this.#meanings = REASON_NAMES.map((reason) => ({ reason, meaning: meaningOf(reason, settings) }))
  }

  /** @param at milliseconds, monotonic */
  read(at: number): Figures {
    const counts = this.#counts()
    const before = this.#samples[0]
    this.#samples.push({ at, counts })
    if (this.#samples.length > SAMPLES) this.#samples.shift()
    const flow = (key: string): Flow => {
      const total = counts.get(key) ?? 0
      const seconds = before === undefined ? 0 : (at - before.at) / 1000
      return { total, perSecond: seconds > 0 ? (total - (before?.counts.get(key) ?? 0)) / seconds : 0 }
    }
    const why = this.#meanings.map((each) => ({ ...each, ...flow(each.reason) }))
    const { connectionsOpen, upstreams, overload } = this.#running.status()
    return {
      connections: flow('connections'),
      open: connectionsOpen,
      relayed: flow('relayed'),
      refusedBehind: flow('refusedBehind'),
      refused: flow('refused'),
      why: why.filter(({ total }) => total > 0).sort((a, b) => b.total - a.total),
      left: flow('left'),
      overload,
      upstream: upstreams[0] ?? { up: false, connections: 0 },
    }
  }

  #counts(): Map<string, number> {
    const { metrics } = this.#running
    const counts = new Map<string, number>()
    let refused = 0
    for (const name of REASON_NAMES) {
      const { stages } = reasonOf(name)
      const refusedAt = (stage: Stage): number =>
        actionsAt(name, stage).reduce(
          (sum, action) => sum + metrics.refusals.of(stage, name, action, 'enforce').value,
          0,
        )
      const count = stages.reduce((sum, stage) => sum + refusedAt(stage), 0)
      counts.set(name, count)
      refused += count
    }
    const over = (read: (standing: string) => { readonly value: number }): number =>
      STANDINGS.reduce((sum, standing) => sum + read(standing).value, 0)
    counts.set('connections', metrics.connections.sum())
    counts.set(
      'relayed',
      over((standing) => metrics.messages.of('accepted', standing)),
    )
    counts.set('refused', refused)
    counts.set(
      'left',
      over((standing) => metrics.sessions.of('none', standing)) +
        over((standing) => metrics.sessions.of('aborted', standing)),
    )
    const { upstreams } = this.#running.status()
    const saidNo = upstreams.reduce((sum, { upstream }) => sum + metrics.upstreamReplies.of(upstream, '5xx').value, 0)
    counts.set('refusedBehind', saidNo)
    return counts
  }
}
