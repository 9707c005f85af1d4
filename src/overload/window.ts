/**
 * What a mail server has answered within a short time: times of replies, and drops. One neighbourhood counts only a few times, so that no
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
  readonly dropNets: number
  /** The most connections that were in use at once. */
  readonly mostInUse: number
}

/** A window lasts at least this long, in ms, until there is enough to go by, and ends with what comes next … */
export const WINDOW_MS = 1000
/** … or when it has lasted this long. */
const LONGEST_MS = 10_000
/** Samples of one command, and of one neighbourhood for all commands together, that count in a window. */
const MOST_SAMPLES = 512
const MOST_OF_ONE = 12
export class Window {
  readonly #times: Record<Timed, number[]> = { connect: [], rcpt: [], dot: [] }
  readonly #ofNet = new Map<string, number>()
  readonly #dropNets = new Set<string>()
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
  replied(command: Timed, ms: number, net: string, inUse: number): void {
    if (inUse > this.#mostInUse) this.#mostInUse = inUse
    if (!this.#counts(net)) return
    this.#asked++
    const times = this.#times[command]
    if (times.length < MOST_SAMPLES) times.push(ms)
  }

  dropped(net: string, inUse: number): void {
    if (inUse > this.#mostInUse) this.#mostInUse = inUse
    if (!this.#counts(net)) return
    this.#asked++
    this.#drops++
    this.#dropNets.add(net)
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
      dropNets: this.#dropNets.size,
      mostInUse: this.#mostInUse,
    }
    this.#ofNet.clear()
    this.#dropNets.clear()
    this.#asked = 0
    this.#drops = 0
    this.#mostInUse = 0
    this.#begunAt = now
    return summary
  }

  /** Whether this neighbourhood may still be counted. The table is bounded, because what is not counted needs no place in it. */
  #counts(net: string): boolean {
    const seen = this.#ofNet.get(net) ?? 0
    if (seen >= MOST_OF_ONE || (seen === 0 && this.#ofNet.size >= MOST_SAMPLES)) return false
    this.#ofNet.set(net, seen + 1)
    return true
  }
}

function timesOf(seen: number[]): Times {
  seen.sort((a, b) => a - b)
  const at = (part: number): number => seen[Math.min(seen.length - 1, Math.floor(seen.length * part))] as number
  return { count: seen.length, median: at(0.5), p95: at(0.95) }
}
