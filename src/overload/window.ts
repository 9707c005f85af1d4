/**
 * What a mail server has answered within a short time: times of replies, and drops. One source counts only a few times, so that no
 * client alone makes a server look slow, or broken.
 */

/** Commands whose replies are timed; connect is up to the greeting. */
export const TIMED = ['connect', 'rcpt', 'dot'] as const
export type Timed = (typeof TIMED)[number]

/** Of the replies that granted one command, in ms, the size of the message set off: a refusal takes less work. */
export interface Times {
  readonly count: number
  readonly median: number
  readonly p95: number
}

export interface WindowSummary {
  readonly times: Readonly<Partial<Record<Timed, Times>>>
  /** Replies and drops together. */
  readonly asked: number
  readonly drops: number
  readonly dropSources: number
  /** The most connections that were in use at once. */
  readonly mostInUse: number
}

/** A window lasts at least this long, in ms, until there is enough to go by, and ends with what comes next … */
export const WINDOW_MS = 1000
/** … or when it has lasted this long. */
const LONGEST_MS = 10_000
/** Samples of one command, and of one source, that count in a window. */
const MOST_SAMPLES = 512
const MOST_OF_ONE = 4
export class Window {
  readonly #times: Record<Timed, number[]> = { connect: [], rcpt: [], dot: [] }
  readonly #ofSource = new Map<string, number>()
  readonly #dropSources = new Set<string>()
  #begunAt: number
  #asked = 0
  #drops = 0
  #mostInUse = 0

  constructor(now: number) {
    this.#begunAt = now
  }

  /** @param enough replies to the dot, or drops */
  isOver(now: number, enough: number): boolean {
    const lasted = now - this.#begunAt
    if (lasted < WINDOW_MS) return false
    return this.#times.dot.length >= enough || this.#drops >= enough || lasted >= LONGEST_MS
  }

  /** @param ms the size of the message set off @param inUse connections at this moment */
  replied(command: Timed, ms: number, source: string, inUse: number): void {
    if (inUse > this.#mostInUse) this.#mostInUse = inUse
    if (!this.#counts(source)) return
    this.#asked++
    const times = this.#times[command]
    if (times.length < MOST_SAMPLES) times.push(ms)
  }

  dropped(source: string, inUse: number): void {
    if (inUse > this.#mostInUse) this.#mostInUse = inUse
    if (!this.#counts(source)) return
    this.#asked++
    this.#drops++
    this.#dropSources.add(source)
  }

  /** Ends the window and begins the next. */
  end(now: number): WindowSummary {
    const times: Partial<Record<Timed, Times>> = {}
    for (const command of TIMED) {
      const seen = this.#times[command]
      if (seen.length > 0) times[command] = timesOf(seen)
      this.#times[command] = []
    }
    const summary = {
      times,
      asked: this.#asked,
      drops: this.#drops,
      dropSources: this.#dropSources.size,
      mostInUse: this.#mostInUse,
    }
    this.#ofSource.clear()
    this.#dropSources.clear()
    this.#asked = 0
    this.#drops = 0
    this.#mostInUse = 0
    this.#begunAt = now
    return summary
  }

  /** Whether this source may still be counted. The table is bounded, because what is not counted needs no place in it. */
  #counts(source: string): boolean {
    const seen = this.#ofSource.get(source) ?? 0
    if (seen >= MOST_OF_ONE * TIMED.length || (seen === 0 && this.#ofSource.size >= MOST_SAMPLES)) return false
    this.#ofSource.set(source, seen + 1)
    return true
  }
}

function timesOf(seen: number[]): Times {
  seen.sort((a, b) => a - b)
  const at = (part: number): number => seen[Math.min(seen.length - 1, Math.floor(seen.length * part))] as number
  return { count: seen.length, median: at(0.5), p95: at(0.95) }
}
