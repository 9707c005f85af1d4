// What a cluster can take: workers, each of which has one message at a time for as long as one needs. Time is an argument, in
// ms of any clock that never goes back.

/** A Postfix for 41.7 messages a second (three times an average day): its workers, and the clients that it serves at once. */
const WORKERS = 10
const FULL_PER_SECOND = 41.7
/** As Postfix: default_process_limit, and as many that wait for a place. */
const PLACES = 100

/** Of a cluster with a share of that capacity, which takes as long for each message. */
export interface Size {
  readonly perSecond: number
  readonly workers: number
  readonly places: number
}

export function sizeOf(perSecond: number): Size {
  const scale = perSecond / FULL_PER_SECOND
  return {
    perSecond,
    workers: Math.max(1, Math.round(WORKERS * scale)),
    places: Math.max(4, Math.round(PLACES * scale)),
  }
}

export class Workers {
  readonly #needsMs: number
  readonly #freeAt: number[]
  #stalledUntil = Number.NEGATIVE_INFINITY

  constructor({ perSecond, workers }: Size) {
    this.#needsMs = (workers * 1000) / perSecond
    this.#freeAt = new Array<number>(workers).fill(Number.NEGATIVE_INFINITY)
  }

  /** A message has reached its dot. @returns when it is done */
  dot(now: number): number {
    const worker = this.#freeAt.indexOf(Math.min(...this.#freeAt))
    const end = Math.max(now, this.#stalledUntil, this.#freeAt[worker] as number) + this.#needsMs
    this.#freeAt[worker] = end
    return end
  }

  /** From now on nothing is done for so long; what is under way takes so much longer. */
  stall(now: number, ms: number): void {
    this.#stalledUntil = now + ms
    this.#freeAt.forEach((free, i) => {
      if (free > now) this.#freeAt[i] = free + ms
    })
  }

  /** How much longer it is stalled, in ms; at most 0: it is not. */
  stalledFor(now: number): number {
    return this.#stalledUntil - now
  }
}

/** A queue behind a dot that is quick, which is worked off at a steady rate. Time is an argument, as above. */
export class QueueBehind {
  readonly #perSecond: number
  #length = 0
  #at = Number.NEGATIVE_INFINITY

  constructor(perSecond: number) {
    this.#perSecond = perSecond
  }

  add(now: number): void {
    this.#length = this.length(now) + 1
    this.#at = now
  }

  length(now: number): number {
    return Math.max(0, this.#length - ((now - this.#at) / 1000) * this.#perSecond)
  }
}
