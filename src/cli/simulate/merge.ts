/**
 * Puts sessions in the order of time. Several logs are read side by side, so that those of several nodes are merged, and those that
 * were rotated follow each other whatever the order in which they are named. A line is written when its session is over, so within a log
 * sessions are held back for a while until no earlier beginning is to be expected.
 */
import { linesOf, TOO_LONG } from '../log-lines.ts'
import { type LineSeen, type SessionSeen, sessionIn, type Uncounted } from './session-line.ts'

export interface LinesCounted {
  lines: number
  sessions: number
  /** About the program itself. */
  other: number
  /** Not ours, cut off, or without what a session has. */
  bad: number
}

type Seen = SessionSeen | Uncounted

async function* seenIn(path: string, counted: LinesCounted): AsyncGenerator<Seen> {
  for await (const line of linesOf(path)) {
    if (line === '') continue
    counted.lines++
    const seen: LineSeen = line === TOO_LONG ? 'bad' : sessionIn(line)
    if (seen === 'bad' || seen === 'other') counted[seen]++
    else {
      if ('client' in seen) counted.sessions++
      yield seen
    }
  }
}

/** By when they were over, as far as each log is in this order. */
export async function* merged(paths: readonly string[], counted: LinesCounted): AsyncGenerator<Seen> {
  const logs = paths.map((path) => seenIn(path, counted))
  const heads = await Promise.all(logs.map((log) => log.next()))
  for (;;) {
    let first = -1
    let earliest = Number.POSITIVE_INFINITY
    for (const [index, head] of heads.entries()) {
      if (head.done || head.value.ended >= earliest) continue
      first = index
      earliest = head.value.ended
    }
    const head = heads[first]
    if (head === undefined || head.done) return
    yield head.value
    heads[first] = await (logs[first] as AsyncGenerator<Seen>).next()
  }
}

/** Something that is due at a time. */
interface Due {
  readonly at: number
  readonly act: () => void
}

/** A session that is longer than this begins late in the replay. */
export const HORIZON_MS = 300_000
/** Of more, the earliest are due at once. */
const MOST_WAITING = 50_000

/** A binary heap of what is due, the earliest first. */
export class Schedule {
  readonly #heap: Due[] = []
  #latest = Number.NEGATIVE_INFINITY
  #now = Number.NEGATIVE_INFINITY

  /** The time of the log: it never goes back. */
  get now(): number {
    return this.#now
  }

  add(at: number, act: () => void): void {
    const heap = this.#heap
    let index = heap.push({ at, act }) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if ((heap[parent] as Due).at <= at) break
      this.#swap(index, parent)
      index = parent
    }
  }

  /** The log has come to this time: what was due well before it is done. */
  reach(at: number): void {
    this.#latest = Math.max(this.#latest, at)
    while (this.#heap.length > 0) {
      if ((this.#heap[0] as Due).at > this.#latest - HORIZON_MS && this.#heap.length <= MOST_WAITING) return
      this.#next()
    }
  }

  /** The log is over. */
  finish(): void {
    while (this.#heap.length > 0) this.#next()
  }

  #next(): void {
    const heap = this.#heap
    const { at, act } = heap[0] as Due
    const last = heap.pop() as Due
    if (heap.length > 0) {
      heap[0] = last
      this.#sink()
    }
    this.#now = Math.max(this.#now, at)
    act()
  }

  #sink(): void {
    const heap = this.#heap
    for (let index = 0; ; ) {
      const left = 2 * index + 1
      if (left >= heap.length) return
      const right = left + 1
      const child = right < heap.length && (heap[right] as Due).at < (heap[left] as Due).at ? right : left
      if ((heap[child] as Due).at >= (heap[index] as Due).at) return
      this.#swap(index, child)
      index = child
    }
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap
    ;[heap[a], heap[b]] = [heap[b] as Due, heap[a] as Due]
  }
}
