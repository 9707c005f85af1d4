/**
 * Who may hold a connection to the admin port: few, each for a short time, and nobody at the cost of others. Where all
 * places are taken, a newcomer is not turned away: whoever holds most of them loses one, a connection that has its answer
 * before one that has not sent its request, and that before one that is slow to read. Who asks and reads as programs do is
 * served within milliseconds, and so is hardly ever the one that has to go, however many half requests others open.
 */

/** A connection has this long to send its request … */
const ASK_MS = 5_000
/** … and then this long to get the answer and to read it. */
const ANSWER_MS = 10_000

/** sent: the kernel has all of the answer. asking: the request is not whole. reading: the client takes its time. */
const GOES_FIRST = ['sent', 'asking', 'reading'] as const
/** served: the answer is being made, which never takes long. */
type Stage = (typeof GOES_FIRST)[number] | 'served'

/** A connection that is open. Times are in milliseconds, of a clock that never goes back. */
export class Visit {
  /** What its address counts under. */
  readonly source: string
  /** Closes it at once. */
  readonly drop: () => void
  #stage: Stage = 'asking'
  #until: number

  constructor(source: string, drop: () => void, now: number) {
    this.source = source
    this.drop = drop
    this.#until = now + ASK_MS
  }

  get stage(): Stage {
    return this.#stage
  }

  isOver(now: number): boolean {
    return now >= this.#until
  }

  /** The request is whole. */
  served(now: number): void {
    this.#stage = 'served'
    this.#until = now + ANSWER_MS
  }

  /** The answer is written; it may be long on its way. */
  answered(): void {
    this.#stage = 'reading'
  }

  sent(): void {
    this.#stage = 'sent'
  }
}

export class Visits {
  readonly #most: number
  /** The oldest first. */
  readonly #open = new Set<Visit>()

  /** @param most connections at once */
  constructor(most: number) {
    this.#most = most
  }

  /** @returns who was dropped for the newcomer: another, or the newcomer itself; undefined where there was a place */
  admit(visit: Visit): Visit | undefined {
    this.#open.add(visit)
    if (this.#open.size <= this.#most) return undefined
    const loser = this.#loser(visit)
    this.#open.delete(loser)
    loser.drop()
    return loser
  }

  delete(visit: Visit): void {
    this.#open.delete(visit)
  }

  /** Drops those whose time is over. To be called more often than once a second. */
  sweep(now: number): void {
    for (const visit of this.#open) if (visit.isOver(now)) visit.drop()
  }

  dropAll(): void {
    for (const visit of this.#open) visit.drop()
  }

  #loser(newcomer: Visit): Visit {
    const held = new Map<string, number>()
    for (const { source } of this.#open) held.set(source, (held.get(source) ?? 0) + 1)
    const most = Math.max(...held.values())
    const others = [...this.#open].filter((visit) => visit !== newcomer && held.get(visit.source) === most)
    for (const stage of GOES_FIRST) {
      const found = others.find((visit) => visit.stage === stage)
      if (found !== undefined) return found
    }
    return held.get(newcomer.source) === most ? newcomer : (others[0] as Visit)
  }
}
