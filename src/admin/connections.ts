/**
 * Who may hold a connection to the admin port. There are few of them, each has a deadline, and nobody gets them at the cost
 * of others. When all are taken a newcomer is let in all the same, and the source that holds the most loses one: first a
 * connection that has had its answer, then one that has not sent its request, then one that is slow to read. An honest
 * client is served within milliseconds, so it is hardly ever the one to go, however many half requests others open.
 */

/** How long a client may take to send its request. */
const ASK_MS = 5_000
/** How long it may take from there until it has read the answer. */
const ANSWER_MS = 10_000

/** sent: the kernel has the whole answer. asking: the request is incomplete. reading: the client is taking its time. */
const GOES_FIRST = ['sent', 'asking', 'reading'] as const
/** served: the answer is being made, which never takes long. Such a connection goes last. */
type Stage = (typeof GOES_FIRST)[number] | 'served'

/** One open connection. Times are in milliseconds, of a clock that never goes back. */
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

  /** The request is complete. */
  served(now: number): void {
    this.#stage = 'served'
    this.#until = now + ANSWER_MS
  }

  /** The answer has been written; the client may be slow to take it. */
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

  /** @returns the connection that was dropped, which may be the newcomer itself; undefined while there is room */
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

  /** Drops the connections whose time is up; to be called about twice a second. */
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
