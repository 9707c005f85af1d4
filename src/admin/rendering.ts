/**
 * One rendering of /metrics (and of other long answers), shared by all who ask at the same time. Rendering blocks the event loop, and mail
 * with it: for 3 ms with one mail server (57 KB), 20 ms with twenty (270 KB), 100 ms with a hundred (1.2 MB). It cannot be done in slices,
 * because counters that belong together would then be of different moments.
 *
 * So rendering gets a tenth of the time, with some credit after a quiet period: a node that is seldom asked renders at
 * once, even for several Prometheus servers that scrape every second. A caller that asks right after a rendering, or
 * while many others ask, waits at most two seconds for the next one and shares it. If many are waiting already, a new
 * caller gets the latest rendering, which is no older than that.
 */
import { setTimeout } from 'node:timers/promises'
import type { Clock } from '../core/clock.ts'

/** The share of the event loop's time that rendering may take. */
const SHARE = 1 / 10
/** The most credit that a quiet period gives, in milliseconds of rendering. */
const SAVED_MS = 200
const LONGEST_WAIT_MS = 2000
/** The shortest time between two renderings. Requests within it count as made at the same time. */
const GAP_MS = 50
const MOST_WAITING = 16

type Wait = (ms: number) => Promise<unknown>
const wait: Wait = (ms) => setTimeout(ms, undefined, { ref: false })

export class Rendering<T> {
  readonly #render: () => Promise<T>
  readonly #elapsed: Clock['elapsed']
  readonly #wait: Wait
  /** The next rendering, which has not begun yet. */
  #next: Promise<T> | undefined
  #waiting = 0
  /** Resolves when the rendering before it has ended, whether it failed or not. */
  #over: Promise<unknown> = Promise.resolve()
  #latest: { readonly value: T } | undefined
  /** Milliseconds of credit, or of debt if negative. */
  #saved = SAVED_MS
  #savedAt: number
  #endedAt = Number.NEGATIVE_INFINITY

  constructor(render: () => Promise<T>, { elapsed }: Pick<Clock, 'elapsed'>, waitFor: Wait = wait) {
    this.#render = render
    this.#elapsed = elapsed
    this.#wait = waitFor
    this.#savedAt = elapsed()
  }

  /** Rejects if `render` does, for all who share the rendering. */
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
