/**
 * A flood against a cluster of fixed capacity, by a clock of its own: known senders who come as they like, and strangers who take
 * every connection that they may have. It is the lab's cluster (bench/flood/capacity.ts) without a network.
 */
import { sizeOf, Workers } from '../../bench/flood/capacity.ts'
import { quantile } from '../../bench/flood/ledger.ts'
import { seeded, untilNextMs } from '../../src/cli/senders/random.ts'
import { StrangersPart } from '../../src/overload/strangers-part.ts'

export interface Flood {
  readonly seconds: number
  /** When strangers begin to come, in seconds; undefined: they never do. */
  readonly from?: number
  /** Whether what strangers hold obeys the rule; otherwise they may hold 70 %. */
  readonly hasRule: boolean
  readonly seed?: number
  /** By how much more slowly the cluster takes a message, from this second on. */
  readonly slower?: { readonly from: number; readonly ms: number }
}

export interface Outcome {
  /** Of known senders, from the dot to the reply, after the first ten seconds of the flood. */
  readonly p50Ms: number
  readonly p99Ms: number
  /** In the worst ten seconds, as a multiple of what the cluster can take: transactions begun. */
  readonly begun: number
  /** What strangers could hold in each second. */
  readonly most: readonly number[]
  /** The share of the cluster's capacity that strangers used. */
  readonly used: number
}

const KNOWN_PER_SECOND = 13.9
const CAPACITY = 3 * KNOWN_PER_SECOND
const CONNECTIONS = 50
const OF_STRANGERS = 0.7 * CONNECTIONS
const ENVELOPE_MS = 15
const UNKNOWN_SHARE = 0.4
/** A level begins after this long. */
const RISE_MS = 4000

class Model {
  now = 0
  readonly #due: { readonly at: number; readonly act: () => void }[] = []

  after(ms: number, act: () => void): void {
    this.#due.push({ at: this.now + ms, act })
  }

  run(untilMs: number): void {
    while (this.now < untilMs) {
      let first = 0
      for (let i = 1; i < this.#due.length; i++) {
        if ((this.#due[i] as { at: number }).at < (this.#due[first] as { at: number }).at) first = i
      }
      const [next] = this.#due.splice(first, 1)
      if (next === undefined) return
      this.now = next.at
      next.act()
    }
  }
}

export function play({ seconds, from = Number.POSITIVE_INFINITY, hasRule, seed = 1, slower }: Flood): Outcome {
  const [model, random, workers] = [new Model(), seeded(seed), new Workers(sizeOf(CAPACITY))]
  const isPressed = (): boolean => model.now >= from * 1000 + RISE_MS
  const part = new StrangersPart({ connections: () => CONNECTIONS, isPressed, elapsed: () => model.now })
  const begun = new Array<number>(seconds).fill(0)
  const [times, most]: [number[], number[]] = [[], []]
  let dots = 0
  const begin = (): void => {
    const second = Math.floor(model.now / 1000)
    if (second < seconds) begun[second] = (begun[second] as number) + 1
  }
  const dot = (then: () => void): void => {
    const more = slower !== undefined && model.now >= slower.from * 1000 ? slower.ms : 0
    model.after(workers.dot(model.now) - model.now + more, then)
  }
  const known = (): void => {
    model.after(untilNextMs(random, KNOWN_PER_SECOND), known)
    begin()
    const timed = part.sent(`net ${Math.floor(random() * 300)}`)
    dot(() => {
      if (timed.at > (Number.isFinite(from) ? from + 10 : 0) * 1000) times.push(model.now - timed.at)
      part.accepted(timed, 0)
      strangers()
    })
  }
  const strangers = (): void => {
    if (model.now < from * 1000) return
    while (part.held < OF_STRANGERS && !(hasRule && part.isFull)) {
      part.held++
      begin()
      const ends = (): void => {
        part.held--
        strangers()
      }
      if (random() < UNKNOWN_SHARE) model.after(ENVELOPE_MS, ends)
      else {
        model.after(ENVELOPE_MS, () => {
          dots++
          dot(ends)
        })
      }
    }
  }
  const tick = (): void => {
    model.after(1000, tick)
    most.push(Math.min(OF_STRANGERS, part.most ?? OF_STRANGERS))
    strangers()
  }
  known()
  tick()
  model.run(seconds * 1000)
  const worst = Math.max(...begun.map((_, i) => begun.slice(i, i + 10).reduce((sum, each) => sum + each, 0)))
  return {
    p50Ms: quantile(times, 0.5),
    p99Ms: quantile(times, 0.99),
    begun: worst / (10 * CAPACITY),
    most,
    used: dots / (CAPACITY * (seconds - from)),
  }
}
