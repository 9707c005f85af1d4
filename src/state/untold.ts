/** What a node has learnt and not yet told others (history-sharing.ts), summed up for each client, or each domain. */
import { type Lesson, type Past, taught } from './past.ts'

/** Entries that are noted, while there is nobody to tell. */
export const MOST_UNTOLD = 50_000

/** What was learnt of one client or domain since others were last told. `key`: see past-text.ts. */
export interface Untold extends Required<Lesson> {
  readonly key: string
  /** Of the first and of the last of it. */
  readonly since: number
  readonly hour: number
  /** Of a domain: where its good mail came from. */
  readonly buckets?: number
}

function together(a: Untold, b: Untold): Untold {
  const both = {
    key: a.key,
    since: Math.min(a.since, b.since),
    hour: Math.max(a.hour, b.hour),
    ...{ good: a.good + b.good, bad: a.bad + b.bad, undone: a.undone + b.undone },
  }
  return a.buckets === undefined ? both : { ...both, buckets: a.buckets | (b.buckets ?? 0) }
}

/** A past with what was learnt and not told. */
export function withUntold(past: Past, untold: Untold, memory: number): Past {
  const after = taught(past, untold, untold.hour, memory)
  return untold.good > 0 ? { ...after, first: Math.min(after.first, untold.since) } : after
}

export class UntoldNotes {
  readonly #notes = new Map<string, Untold>()

  add(more: Untold): void {
    const { key } = more
    const before = this.#notes.get(key)
    if (before === undefined && this.#notes.size >= MOST_UNTOLD) return
    this.#notes.set(key, before === undefined ? more : together(before, more))
  }

  get(key: string): Untold | undefined {
    return this.#notes.get(key)
  }

  /** Up to so many; they are noted no longer. */
  take(count: number): Untold[] {
    const taken: Untold[] = []
    for (const [key, each] of this.#notes) {
      if (taken.length >= count) break
      this.#notes.delete(key)
      taken.push(each)
    }
    return taken
  }

  get size(): number {
    return this.#notes.size
  }
}
