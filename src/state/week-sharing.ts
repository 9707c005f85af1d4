/**
 * Keeps in Redis what is normal in each hour of the week (telemetry/traffic/week.ts), so that a node knows it after a restart. All of it
 * happens in the background, once a minute at most: nothing waits for it, and a Redis that is away, or answers nonsense, leaves a node
 * what it has in memory.
 *
 * What is normal is a node's own: nodes may get very different parts of the traffic. So there is one hash for each name of a node
 * (SPILLWAY_HOSTNAME), with a field for each of the 168 hours. Nodes that have the same name, as copies behind one balancer do, write to
 * the same one, and the latest counts: each gets a like part. It tells of a whole node: of several workers the first one writes, and each
 * takes its part.
 */
import { HOURS, type Week } from '../telemetry/traffic/week.ts'
import { hourIn, LONGEST_HOUR, textOfHour } from '../telemetry/traffic/week-text.ts'
import { Nonsense } from './limiter.ts'
import { Rounds } from './rounds.ts'
import type { SharingOptions } from './sharing.ts'
import { SharingFailures } from './sharing-failures.ts'

/** ARGV: the longest value, then fields. Returns their values, those that are too long as missing. */
const READ = `
local most = tonumber(table.remove(ARGV, 1))
local found = redis.call('HMGET', KEYS[1], unpack(ARGV))
for i, value in ipairs(found) do if value and #value > most then found[i] = false end end
return found
`
/** ARGV: expiry in ms, then a field and a value by turns. */
const WRITE = `
local expiry = table.remove(ARGV, 1)
redis.call('HSET', KEYS[1], unpack(ARGV))
redis.call('PEXPIRE', KEYS[1], expiry)
return 1
`
const LOOK_MS = 1000
const AGAIN_MS = 60_000
/** As long as an hour may count (week.ts). */
const EXPIRY_MS = 5 * 7 * 86_400_000

export interface WeekSharingOptions extends SharingOptions {
  /** SPILLWAY_HOSTNAME. */
  readonly name: string
  readonly week: Week
  /** Into how many workers the node is divided. */
  readonly workers: number
  /** Whether this one writes. */
  readonly isWriter: boolean
}

export class WeekSharing {
  readonly #options: WeekSharingOptions
  readonly #key: string
  readonly #rounds: Rounds
  /** What Redis has, as far as is known: of each hour of the week, when it came last. */
  readonly #told = new Map<number, number>()
  #up: number | undefined
  #notBefore = Number.NEGATIVE_INFINITY

  constructor(options: WeekSharingOptions) {
    this.#options = options
    this.#key = `${options.prefix}week:${options.name}`
    this.#rounds = new Rounds({
      everyMs: LOOK_MS,
      isDue: () => options.upSince() !== undefined && options.elapsed() >= this.#notBefore,
      work: () => this.#work(),
      failures: new SharingFailures(options, 'what is normal in an hour of the week is not kept in Redis'),
    })
  }

  /** Starts in the background. */
  start(): void {
    void this.#rounds.start()
  }

  /** Tells what it can within half a second. */
  stop(): Promise<void> {
    this.#notBefore = Number.NEGATIVE_INFINITY
    return this.#rounds.stop(() => this.step())
  }

  /** Hears what Redis has, once each time it has come back, and tells what it does not have. Never rejects. */
  step(): Promise<void> {
    return this.#rounds.step()
  }

  async #work(): Promise<void> {
    const { upSince, elapsed, isWriter } = this.#options
    try {
      const up = upSince()
      if (up !== this.#up) await this.#hear()
      this.#up = up
      if (isWriter) await this.#tell()
    } catch (error) {
      this.#notBefore = elapsed() + AGAIN_MS
      throw error
    }
  }

  /** A Redis that comes back may be empty, or another one. */
  async #hear(): Promise<void> {
    const { client, watched, week, workers, now } = this.#options
    const fields = Array.from({ length: HOURS }, (_, i) => String(i))
    const answer: unknown = await watched('week', client.eval(READ, 1, this.#key, LONGEST_HOUR, ...fields))
    if (!Array.isArray(answer) || answer.length > HOURS) throw new Nonsense('no hours')
    this.#told.clear()
    answer.forEach((text: unknown, i) => {
      const found = typeof text === 'string' ? hourIn(text, workers) : undefined
      if (found === undefined || found.hour % HOURS !== i) return
      this.#told.set(i, found.hour)
      week.hear(found, now())
    })
  }

  async #tell(): Promise<void> {
    const { client, watched, week, workers } = this.#options
    const fresh = week.all().filter(({ hour }) => this.#told.get(hour % HOURS) !== hour)
    if (fresh.length === 0) return
    const told = fresh.flatMap((each) => [String(each.hour % HOURS), textOfHour(each, workers)])
    await watched('week', client.eval(WRITE, 1, this.#key, EXPIRY_MS, ...told))
    for (const { hour } of fresh) this.#told.set(hour % HOURS, hour)
  }
}
