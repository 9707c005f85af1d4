/**
 * What the kernel's sets should hold, and what they have not been told yet. Pure: time comes with each call.
 *
 * A source stays an hour at most, even if it is refused for longer. Then it hears the reason over SMTP again. So nobody is left with
 * a connection that times out as the only thing to go by, and what a crashed process leaves behind is gone within the hour.
 *
 * A family has a fixed number of places. When there is none, the source that is forgotten first, of sixteen that are there longest,
 * makes room: it is refused over SMTP again. Nobody gets a place with a forged address, since the three refusals go over TCP.
 */
import type { KernelReason, Sentence } from '../core/kernel.ts'

/** Sources of one family. */
export const MOST_HELD = 65_535
export const LONGEST_MS = 3_600_000
/** What is over by then is not worth a command. */
const SHORTEST_MS = 1000
const CANDIDATES = 16

export interface Held {
  readonly family: 4 | 6
  readonly reason: KernelReason
  /** As the set has it: an IPv4 address, or the first address of a /64. */
  readonly element: string
  /** Milliseconds since the epoch. */
  readonly until: number
}

/** Removals come first. */
export interface Changes {
  readonly removed: readonly Held[]
  readonly added: readonly Held[]
}

export class KernelSets {
  readonly #room: number
  /** By source, in the order in which they came. */
  readonly #held = { 4: new Map<string, Held>(), 6: new Map<string, Held>() }
  readonly #removed = new Map<string, Held>()
  readonly #added = new Map<string, Held>()

  /** @param room how many sources of a family have a place */
  constructor(room = MOST_HELD) {
    this.#room = room
  }

  get size(): number {
    return this.#held[4].size + this.#held[6].size
  }

  has(source: string, at: number): boolean {
    const held = this.#held[familyOf(source)].get(source)
    return held !== undefined && at < held.until
  }

  hold(source: string, { reason, until: end }: Sentence, at: number): void {
    const family = familyOf(source)
    const held = this.#held[family]
    const until = Math.min(end, at + LONGEST_MS)
    if (until - at < SHORTEST_MS || this.has(source, at)) return
    // What has ended, the kernel has forgotten by itself.
    held.delete(source)
    if (held.size >= this.#room) this.#makeRoom(held)
    const element = family === 4 ? source : source.slice(0, source.indexOf('/'))
    const entry: Held = { family, reason, element, until }
    held.set(source, entry)
    this.#added.set(source, entry)
  }

  release(source: string): void {
    const held = this.#held[familyOf(source)]
    const entry = held.get(source)
    if (entry === undefined) return
    held.delete(source)
    // What the kernel was never told need not be taken back.
    if (!this.#added.delete(source)) this.#removed.set(source, entry)
  }

  /** All sources that have a place. */
  *sources(): Generator<readonly [source: string, held: Held]> {
    yield* this.#held[4]
    yield* this.#held[6]
  }

  /**
   * Takes as many changes as `most`; the kernel counts as told. What is over by now is left out. Removals come first, so that the
   * kernel's sets hold no more than ours, however fast sources come.
   */
  take(most: number, at: number): Changes {
    const take = (from: Map<string, Held>, count: number): Held[] => {
      const taken: Held[] = []
      for (const [source, held] of from) {
        if (taken.length >= count) break
        from.delete(source)
        if (at < held.until) taken.push(held)
      }
      return taken
    }
    const removed = take(this.#removed, most)
    return { removed, added: take(this.#added, most - removed.length) }
  }

  /** Forgets what is over by now, as the kernel has. @returns all that the sets should hold; the kernel counts as told */
  all(at: number): Held[] {
    this.forget(at)
    this.#removed.clear()
    this.#added.clear()
    return [...this.#held[4].values(), ...this.#held[6].values()]
  }

  forget(at: number): void {
    for (const held of [this.#held[4], this.#held[6]])
      for (const [source, { until }] of held) if (until <= at) held.delete(source)
  }

  #makeRoom(held: Map<string, Held>): void {
    let first: readonly [string, Held] | undefined
    let seen = 0
    for (const entry of held) {
      if (first === undefined || entry[1].until < first[1].until) first = entry
      if (++seen === CANDIDATES) break
    }
    if (first !== undefined) this.release(first[0])
  }
}

const familyOf = (source: string): 4 | 6 => (source.includes(':') ? 6 : 4)
