/** What was learned of each client: counted by source, as histories are, and bounded. */
import { isIP } from 'node:net'
import { canonical, sourceOf } from '../../core/ip.ts'
import type { Observation } from './observation.ts'

export interface Tally {
  /** Messages that were taken. */
  good: number
  /** Recipients that were unknown, and texts that were refused. */
  bad: number
  /** Days on which messages were taken, in UTC. */
  days: number
  /** When the first and the last message was taken, in ms since the epoch; 0: none was. */
  first: number
  last: number
}

/** The most sources that are told apart. Of a flood's, those that brought no message are forgotten first. */
const MOST = 2_000_000
const DAY_MS = 86_400_000

export class Tallies {
  readonly #bySource = new Map<string, Tally>()

  get bySource(): ReadonlyMap<string, Readonly<Tally>> {
    return this.#bySource
  }

  /** @param at ms since the epoch @returns false if the text is no address */
  add({ ip, isGood }: Observation, at: number): boolean {
    const tally = this.#of(ip)
    if (tally === undefined) return false
    if (!isGood) {
      tally.bad++
      return true
    }
    tally.good++
    // Logs are in order, but for what comes from several files.
    if (Math.floor(at / DAY_MS) !== Math.floor(tally.last / DAY_MS)) tally.days++
    if (tally.first === 0 || at < tally.first) tally.first = at
    if (at > tally.last) tally.last = at
    return true
  }

  /** What a line of the plain form says: its messages came on as many days, up to its last. @returns false if it is no address */
  addCounts(ip: string, good: number, bad: number, last: number): boolean {
    const tally = this.#of(ip)
    if (tally === undefined) return false
    tally.good += good
    tally.bad += bad
    tally.days += Math.min(good, 365)
    if (good === 0) return true
    const first = last - (good > 1 ? DAY_MS : 0)
    if (tally.first === 0 || first < tally.first) tally.first = first
    if (last > tally.last) tally.last = last
    return true
  }

  #of(ip: string): Tally | undefined {
    if (isIP(ip) === 0) return undefined
    const source = sourceOf(canonical(ip))
    let tally = this.#bySource.get(source)
    if (tally !== undefined) return tally
    if (this.#bySource.size >= MOST) this.#forgetStrangers()
    tally = { good: 0, bad: 0, days: 0, first: 0, last: 0 }
    this.#bySource.set(source, tally)
    return tally
  }

  #forgetStrangers(): void {
    for (const [source, { good }] of this.#bySource) if (good === 0) this.#bySource.delete(source)
    if (this.#bySource.size < MOST) return
    for (const [source, { good }] of this.#bySource) if (good === 1) this.#bySource.delete(source)
  }
}
