/**
 * The points that offenders have (core/bans.ts), summed up over all processes that tell each other. Points halve every ten minutes, by
 * the moment at which they were given, so that the sum is the same everywhere, in whichever order it was put together.
 *
 * What is given here counts here at once. Others hear of it in batches, once a second: one record for each source, and no more than
 * MOST_OF_NET for a network, so that a flood of new offenders costs little. Records have numbers, and one that is heard twice counts
 * once. Everybody hears all records in one order, its own among them (points-sharing.ts, cli/workers/). So whoever gets its own record
 * back knows what was told before it, and one process alone hears that a record of its own was the one that was enough.
 *
 * A source that is banned begins with no points: those that were given before the ban have had their effect.
 */
import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { OFFENCES, type Offence } from '../core/bans.ts'
import { firstOf, netOf } from '../core/ip.ts'

export const HALF_LIFE_MS = 600_000
/** What is older has faded to less than a tenth, and is not heard any more. */
export const LONGEST_MS = 4 * HALF_LIFE_MS
/** Sources whose points are remembered. */
const MOST_OFFENDERS = 1 << 15
/** Sources that others are told of each second, of all networks and of one. Of the others each process counts by itself. */
export const MOST_TOLD = 4096
export const MOST_OF_NET = 32
/** Processes whose last numbers are remembered. A process that starts is another one. */
const MOST_TELLERS = 1024
/** The most points of one record: of one source, in one second, at one process. */
const MOST_POINTS = 1000

/** What one process tells the others of one source. */
export interface GivenPoints {
  /** 32 bits that no other process has, and the number of the record there. */
  readonly teller: number
  readonly number: number
  /** An IPv4 address, or an IPv6 /64 (`2001:db8:1:2::/64`). */
  readonly source: string
  readonly points: number
  /** What the last of them were for, and when, in milliseconds since the epoch. */
  readonly offence: Offence
  readonly at: number
}

type Given = Pick<GivenPoints, 'points' | 'at' | 'offence'>

interface Sum {
  readonly points: number
  /** Those of them that have been told. */
  readonly told: number
  readonly at: number
  /** Points that were given until then do not count. */
  readonly from: number
}

/** Called with a record that comes back, and the points that had been told of the source before it and have been with it, as of now. */
export type OnReturned = (record: GivenPoints, before: number, after: number) => void

export interface PointsOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

export class Points {
  readonly #now: () => number
  readonly #self = randomBytes(4).readUInt32LE()
  /** Made when it is needed: it takes its whole room at once. */
  #sums: LRUCache<string, Sum> | undefined
  #untold: Map<string, Given> | undefined
  readonly #toldOfNet = new Map<string, number>()
  /** The last number of each process that was heard. */
  readonly #heard = new Map<number, number>()
  #number = 0
  #returned: OnReturned = () => undefined

  constructor({ now }: PointsOptions) {
    this.#now = now
  }

  /** @returns the points of a source now */
  of(source: string): number {
    const sum = this.#sums?.get(source) ?? NONE
    return sum.points * fading(sum.at, this.#now())
  }

  /** @returns the points of the source with these */
  give(source: string, offence: Offence): number {
    const at = this.#now()
    const given = { points: OFFENCES[offence].points, at, offence }
    this.#note(source, given)
    const sum = this.#add(source, given, { told: 0 })
    return sum.points * fading(sum.at, at)
  }

  /** The points that were given until then have had their effect. */
  spend(source: string, until: number): void {
    this.#untold?.delete(source)
    if (until > this.#now() - LONGEST_MS) this.#table.set(source, { ...NONE, at: until, from: until })
  }

  /** The listener is called with each record of this process when it comes back, after all that were told before it. */
  onReturned(listener: OnReturned): void {
    this.#returned = listener
  }

  /** From now on what is given is kept for other processes, until it is taken. */
  share(): void {
    this.#untold ??= new Map()
  }

  takeUntold(): readonly GivenPoints[] {
    if (this.#untold === undefined || this.#untold.size === 0) return []
    const taken = [...this.#untold].map(([source, given]) => {
      this.#number = (this.#number + 1) >>> 0
      return { teller: this.#self, number: this.#number, source, ...given }
    })
    this.#untold.clear()
    this.#toldOfNet.clear()
    return taken
  }

  /** Some process has told this; each hears its own as well. */
  hear(record: GivenPoints): void {
    const { teller, number, source, points, at } = record
    const now = this.#now()
    const isSound = points > 0 && points <= MOST_POINTS
    if (!isSound || number <= (this.#heard.get(teller) ?? 0)) return
    this.#heard.delete(teller)
    const [oldest] = this.#heard.keys()
    if (this.#heard.size >= MOST_TELLERS && oldest !== undefined) this.#heard.delete(oldest)
    this.#heard.set(teller, number)
    if (at <= now - LONGEST_MS) return
    // The clock of another node may be ahead.
    const given = { ...record, at: Math.min(at, now) }
    if (teller !== this.#self) {
      this.#add(source, given, { told: points })
      return
    }
    const before = this.#sums?.get(source) ?? NONE
    const after = this.#add(source, { ...given, points: 0 }, { told: points })
    this.#returned(record, before.told * fading(before.at, now), after.told * fading(after.at, now))
  }

  /** The form of the records: whoever writes another one is not understood. */
  readonly fingerprint = '1'

  get #table(): LRUCache<string, Sum> {
    this.#sums ??= new LRUCache({ max: MOST_OFFENDERS })
    return this.#sums
  }

  #add(source: string, given: Given, { told }: Pick<Sum, 'told'>): Sum {
    const before = this.#table.get(source) ?? NONE
    if (given.at <= before.from) return before
    const { at } = given
    const ofTold = together({ points: before.told, at: before.at }, { points: told, at })
    const sum = { ...together(before, given), told: ofTold.points, from: before.from }
    this.#table.set(source, sum)
    return sum
  }

  #note(source: string, given: Given): void {
    if (this.#untold === undefined) return
    const before = this.#untold.get(source)
    if (before === undefined && !this.#mayTell(source)) return
    const { points, at } = before === undefined ? given : together(before, given)
    this.#untold.set(source, { points: Math.min(points, MOST_POINTS), at, offence: given.offence })
  }

  #mayTell(source: string): boolean {
    const net = netOf(firstOf(source))
    const ofNet = this.#toldOfNet.get(net) ?? 0
    if (ofNet >= MOST_OF_NET || (this.#untold as Map<string, Given>).size >= MOST_TOLD) return false
    this.#toldOfNet.set(net, ofNet + 1)
    return true
  }
}

const NONE: Sum = { points: 0, told: 0, at: 0, from: 0 }

/** What is left of a point later on. A clock that was set back makes it no more. */
const fading = (at: number, later: number): number => 2 ** (-Math.max(0, later - at) / HALF_LIFE_MS)

type Dated = Pick<Sum, 'points' | 'at'>
function together(a: Dated, b: Dated): Dated {
  const at = Math.max(a.at, b.at)
  return { points: a.points * fading(a.at, at) + b.points * fading(b.at, at), at }
}
