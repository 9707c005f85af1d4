/**
 * One rendering of /metrics for all who ask at the same time. Rendering holds the event loop, and with it mail: 3 ms with
 * one mail server (57 KB), 20 ms with twenty (270 KB), 100 ms with a hundred (1.2 MB). It cannot be cut into slices, or
 * counters that belong together would be of different moments. So it gets a fiftieth of the time, and some in advance: a
 * quiet node renders at once. Right after a rendering, and under an onslaught, whoever asks waits for the next one, two
 * seconds at most, and shares it. Only when many wait already is a newcomer given the last one, which is not older than that.
 */
import { setTimeout } from 'node:timers/promises'
import type { Clock } from '../core/clock.ts'

/** Of the time of the event loop. */
const SHARE = 1 / 50
/** What may be rendered without a pause after a quiet time, in milliseconds. */
const SAVED_MS = 200
const LONGEST_WAIT_MS = 2000
/** From the end of one to the beginning of the next, at least: who asks within it asks at the same time. */
const GAP_MS = 50
const MOST_WAITING = 16

type Wait = (ms: number) => Promise<unknown>
const wait: Wait = (ms) => setTimeout(ms, undefined, { ref: false })

export class Rendering<T> {
  readonly #render: () => Promise<T>
  readonly #elapsed: Clock['elapsed']
  readonly #wait: Wait
  /** The one that has not begun: who asks now will have it. */
  #next: Promise<T> | undefined
  #waiting = 0
  /** Resolves when the one before that is over, however it ended. */
  #over: Promise<unknown> = Promise.resolve()
  #latest: { readonly value: T } | undefined
  /** Milliseconds of rendering that may begin at once; below zero: what is owed for the last one. */
  #saved = SAVED_MS
  #savedAt: number
  #endedAt = Number.NEGATIVE_INFINITY

  constructor(render: () => Promise<T>, { elapsed }: Pick<Clock, 'elapsed'>, waitFor: Wait = wait) {
    this.#render = render
    this.#elapsed = elapsed
    this.#wait = waitFor
    this.#savedAt = elapsed()
  }

  /** Rejects as `render` does, for all who share it. */
  async get(): Promise<T> {
    if (this.#waiting >= MOST_WAITING && this.#latest !== undefined) return this.#latest.value
    if (this.#next === undefined) {
      this.#next = this.#begin(this.#over)
      this.#over = this.#next.catch(() => undefined)
    }
    this.#waiting++
    return this.#next
  }

  async #begin(before: Promise<unknown>): Promise<T> {
    await before
    this.#save()
    const pause = Math.max(-this.#saved / SHARE, this.#endedAt + GAP_MS - this.#elapsed())
    if (pause > 0) await this.#wait(Math.ceil(pause))
    this.#save()
    this.#next = undefined
    this.#waiting = 0
    const begun = this.#elapsed()
    try {
      const value = await this.#render()
      this.#latest = { value }
      return value
    } finally {
      this.#save()
      this.#endedAt = this.#elapsed()
      this.#saved = Math.max(this.#saved - (this.#endedAt - begun), -LONGEST_WAIT_MS * SHARE)
    }
  }

  #save(): void {
    const now = this.#elapsed()
    this.#saved = Math.min(SAVED_MS, this.#saved + (now - this.#savedAt) * SHARE)
    this.#savedAt = now
  }
}
