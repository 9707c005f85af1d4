/**
 * How often each source has heard that it is refused. Only a source that has heard it a few times meets the kernel, so that the log of a
 * mail server that is refused by mistake has the reason.
 *
 * The table has a fixed number of places; where there is none, the source that was heard of longest ago makes room, and hears it
 * more often.
 */
import type { Hearing } from '../core/kernel.ts'

/** How often a source hears it over SMTP. */
export const ENOUGH = 3
/** A source that came back within this time has heard it again, and not for the first time. */
const REMEMBERED_MS = 3_600_000
const MOST_SOURCES = 1 << 15

interface Heard {
  readonly of: string
  readonly times: number
  readonly since: number
}

export class Hearings {
  readonly #heard = new Map<string, Heard>()
  readonly #room: number

  /** @param room how many sources it remembers */
  constructor(room = MOST_SOURCES) {
    this.#room = room
  }

  get size(): number {
    return this.#heard.size
  }

  /** @param at in milliseconds @returns whether it has heard it often enough; it counts from one again then */
  note({ source, of, times }: Hearing, at: number): boolean {
    const before = this.#heard.get(source)
    const isAgain = before !== undefined && before.of === of && at - before.since < REMEMBERED_MS
    const all = times + (isAgain ? before.times : 0)
    this.#heard.delete(source)
    if (all >= ENOUGH) return true
    if (this.#heard.size >= this.#room) {
      const [oldest = ''] = this.#heard.keys()
      this.#heard.delete(oldest)
    }
    this.#heard.set(source, { of, times: all, since: isAgain ? before.since : at })
    return false
  }
}
