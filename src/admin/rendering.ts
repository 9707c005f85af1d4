/**
 * One rendering of /metrics, shared by all callers that ask at the same time. Rendering blocks the event loop, and with it
 * mail: for 3 ms with one upstream (57 KB), 20 ms with twenty (270 KB), 100 ms with a hundred (1.2 MB). It cannot be cut
 * into slices, or counters that belong together would be from different moments. So rendering gets a fiftieth of the time,
 * and may save up some of it: a quiet node renders at once. Right after a rendering, and under an onslaught, callers wait
 * for the next one, two seconds at most, and share it. Only when many wait already does a new caller get the last one,
 * which is not older than that.
 */
import { setTimeout } from 'node:timers/promises'
import type { Clock } from '../core/clock.ts'

/** The share of the event loop's time that rendering may take. */
const SHARE = 1 / 50
/** How long rendering may take without a pause after a quiet time, in milliseconds. */
const SAVED_MS = 200
const LONGEST_WAIT_MS = 2000
/** The least time from the end of one rendering to the start of the next; callers within it ask "at the same time". */
const GAP_MS = 50
const MOST_WAITING = 16

type Wait = (ms: number) => Promise<unknown>
const wait: Wait = (ms) => setTimeout(ms, undefined, { ref: false })

export class Rendering<T> {
  readonly #render: () => Promise<T>
  readonly #elapsed: Clock['elapsed']
  readonly #wait: Wait
  /** The rendering that has not begun yet: callers that ask now will get it. */
  #next: Promise<T> | undefined
  #waiting = 0
  /** Resolves when the rendering queued last is over, however it ends. */
  #over: Promise<unknown> = Promise.resolve()
  #latest: { readonly value: T } | undefined
  /** Milliseconds of rendering saved up; below zero, what is still owed for the last one. */
  #saved = SAVED_MS
  #savedAt: number
  #endedAt = Number.NEGATIVE_INFINITY

  constructor(render: () => Promise<T>, { elapsed }: Pick<Clock, 'elapsed'>, waitFor: Wait = wait) {
    this.#render = render
    this.#elapsed = elapsed
    this.#wait = waitFor
    this.#savedAt = elapsed()
  }

  /** Rejects as `render` does, for all callers that share it. */
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
