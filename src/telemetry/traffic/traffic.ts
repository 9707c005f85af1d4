/**
 * The traffic of the last hour, for the operator. What is counted anyway is read off the metrics, every ten seconds, so that it
 * costs nothing where it is counted. What no metric may have, because clients choose it (networks, HELO names, domains), is counted
 * here, in tables of fixed size, and only so often: while more than BUSY sessions a second end, one of two, three, four … counts as
 * that many.
 */
import type { Client } from '../../core/client.ts'
import type { Clock } from '../../core/clock.ts'
import { utf8Of } from '../../core/latin1.ts'
import { actionsAt, REASON_NAMES, type ReasonName, reasonOf } from '../../core/reasons.ts'
import { KNOWN_REFUSED_ROWS, type Metrics } from '../metrics.ts'
import type { Cell } from '../series.ts'
import { distinct, note, type Registers, registers } from './distinct.ts'
import { HeavyHitters } from './heavy-hitters.ts'
import {
  type KnownRefusedRow,
  type ReasonRow,
  rounded,
  SERIES,
  type SeriesName,
  TOLD,
  type TopRow,
  type TrafficReport,
} from './report.ts'
import { Week } from './week.ts'

const SECOND_MS = 1000
const STEP_MS = 10_000
/** Steps in a minute, and in the hour that is kept. */
const STEPS = 6
const KEPT = 60 * STEPS
/** Sessions a second that are all counted in the tables. */
const BUSY = 500
/** Half of a count is left after ten minutes. */
const LEFT = 0.5 ** (1 / (10 * STEPS))
/** What comes n times a step adds up to n × LEFT / (1 - LEFT) in time. @param steps how many there were, 1 or more */
const perMinute = (steps: number): number => (STEPS * (1 - LEFT)) / (LEFT * (1 - LEFT ** steps))
const LONGEST_KEY = 255

type Counted = Exclude<SeriesName, 'senders'>

export interface TrafficOptions {
  readonly metrics: Pick<Metrics, 'connections' | 'sessions' | 'messages' | 'refusals' | 'knownRefused'>
  readonly clock: Clock
  /** Whether what comes now is no example of what is normal. */
  readonly isOverloaded: () => boolean
  /** 32 random bits. */
  readonly secret: number
  /** What is normal; by default nothing is known. */
  readonly week?: Week
}

interface ReasonCells {
  readonly reason: ReasonName
  readonly mode: ReasonRow['mode']
  readonly cells: readonly Cell[]
}

function reasonCells({ refusals }: TrafficOptions['metrics']): ReasonCells[] {
  return REASON_NAMES.flatMap((reason) => {
    const { stages, check } = reasonOf(reason)
    const modes = check === undefined ? (['enforce'] as const) : (['enforce', 'observe'] as const)
    return modes.map((mode) => ({
      reason,
      mode,
      cells: stages.flatMap((stage) =>
        actionsAt(reason, stage).map((action) => refusals.of(stage, reason, action, mode)),
      ),
    }))
  })
}

const sumOf = (cells: readonly Cell[]): number => cells.reduce((sum, { value }) => sum + value, 0)

const KNOWN = ['trusted', 'known'] as const

export class Traffic {
  readonly #options: TrafficOptions
  readonly #networks = new HeavyHitters(512)
  readonly #helos = new HeavyHitters(256)
  readonly #domains = new HeavyHitters(256)
  readonly #week: Week
  readonly #reasons: readonly ReasonCells[]
  /** What was counted until the end of each step, the latest last. */
  readonly #steps: Record<Counted, number>[] = []
  /** All steps since the start. */
  #stepCount = 0
  readonly #senders: number[] = []
  readonly #ofReasons: number[][] = []
  readonly #ofKnown: number[][] = []
  readonly #knownCells: readonly Cell[]
  /** Of each reason the address that was refused last: as many as there are reasons. */
  readonly #latestKnown = new Map<ReasonName, string>()
  /** Of the latest minute, the step under way last. */
  readonly #registers: Registers[] = [registers()]
  /** Of this second. */
  #ends = 0
  #weight = 1
  #stepAt: number
  #minuteSteps = 0
  #wasOverloaded = false
  #timer: NodeJS.Timeout | undefined

  constructor(options: TrafficOptions) {
    this.#options = options
    this.#week = options.week ?? new Week()
    this.#reasons = reasonCells(options.metrics)
    this.#knownCells = KNOWN_REFUSED_ROWS.map((row) => options.metrics.knownRefused.of(...row))
    this.#stepAt = options.clock.elapsed()
    this.#mark()
  }

  start(): void {
    this.#timer = setInterval(() => this.tick(), SECOND_MS).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** A session has ended. @param helo as the client said it; undefined: it said none */
  ended({ source, net }: Pick<Client, 'source' | 'net'>, helo: string | undefined, isTurnedAway: boolean): void {
    note(this.#registers[this.#registers.length - 1] as Registers, source, this.#options.secret)
    this.#ends++
    const weight = this.#weight
    // At random, so that no rhythm of clients hides some of them.
    if (weight > 1 && Math.random() * weight >= 1) return
    this.#networks.add(net, weight, isTurnedAway)
    if (helo !== undefined && helo !== '') this.#helos.add(shortened(helo), weight, isTurnedAway)
  }

  /** Spillway refused a trusted or known sender, and relayed nothing of its session. */
  knownRefused({ ip }: Pick<Client, 'ip'>, reason: ReasonName): void {
    this.#latestKnown.set(reason, ip)
  }

  /** RCPT was answered. @param to as the client sent it, in Latin-1 */
  recipient(to: string, code: number): void {
    const at = to.lastIndexOf('@')
    if (at >= 0) this.#domains.add(shortened(utf8Of(to.slice(at + 1)).toLowerCase()), 1, code >= 400)
  }

  /** Called once a second. */
  tick(): void {
    this.#weight = Math.max(1, Math.ceil(this.#ends / BUSY))
    this.#ends = 0
    this.#wasOverloaded ||= this.#options.isOverloaded()
    const now = this.#options.clock.elapsed()
    // A process that was held up for long has one long step.
    if (now - this.#stepAt < STEP_MS) return
    this.#stepAt = now
    this.#step()
  }

  report(): TrafficReport {
    const normal = this.#week.normal(this.#options.clock.now())
    const minutes = Object.fromEntries(SERIES.map((name) => [name, this.#minutesOf(name)]))
    return {
      minutes: minutes as unknown as TrafficReport['minutes'],
      ...(normal !== undefined && { normal }),
      hoursLearnt: this.#week.hours,
      top: { network: this.#top(this.#networks), helo: this.#top(this.#helos), domain: this.#top(this.#domains) },
      reasons: this.#reasonRows(),
      knownRefused: this.#knownRows(),
    }
  }

  #top(table: HeavyHitters): TopRow[] {
    const times = perMinute(Math.max(1, this.#stepCount))
    return table
      .top(TOLD)
      .map(({ key, count, marked }) => ({ key, perMinute: rounded(count * times), turnedAway: rounded(marked) }))
      .filter(({ perMinute: each }) => each > 0)
  }

  #step(): void {
    this.#senders.push(distinct(this.#registers))
    if (this.#senders.length > KEPT) this.#senders.shift()
    this.#registers.push(this.#registers.length < STEPS ? registers() : (this.#registers.shift() as Registers).fill(0))
    this.#mark()
    this.#stepCount++
    for (const table of [this.#networks, this.#helos, this.#domains]) table.decay(LEFT)
    this.#minuteSteps++
    if (this.#minuteSteps < STEPS) return
    this.#minuteSteps = 0
    const last = (name: SeriesName): number => this.#minutesOf(name).at(-1) ?? 0
    const rates = { connections: last('connections'), senders: last('senders'), messages: last('messages') }
    this.#week.minute(this.#options.clock.now(), rates, this.#wasOverloaded)
    this.#wasOverloaded = false
  }

  /** Notes what is counted so far. */
  #mark(): void {
    const { metrics } = this.#options
    const ofKnown = (outcome: 'relayed' | 'shed'): number =>
      KNOWN.reduce((sum, standing) => sum + metrics.sessions.of(outcome, standing).value, 0)
    this.#steps.push({
      connections: metrics.connections.sum(),
      shed: metrics.sessions.sum((row) => row[0] === 'shed'),
      messages: metrics.messages.sum((row) => row[0] === 'accepted'),
      deferred: metrics.messages.sum((row) => row[0] === 'deferred'),
      known: ofKnown('relayed'),
      known_shed: ofKnown('shed'),
      known_refused: metrics.knownRefused.sum(([, result]) => result === 'for_good'),
    })
    if (this.#steps.length > KEPT + 1) this.#steps.shift()
    this.#ofReasons.push(this.#reasons.map(({ cells }) => sumOf(cells)))
    if (this.#ofReasons.length > KEPT + 1) this.#ofReasons.shift()
    this.#ofKnown.push(this.#knownCells.map(({ value }) => value))
    if (this.#ofKnown.length > KEPT + 1) this.#ofKnown.shift()
  }

  /** What came in each minute that ends with the latest step, or a whole number of minutes before it. */
  #minutesOf(name: SeriesName): number[] {
    const steps = this.#steps.length - 1
    const values: number[] = []
    for (let end = steps; end > 0; end -= STEPS) {
      const begin = Math.max(0, end - STEPS)
      values.unshift(
        name === 'senders'
          ? (this.#senders[end - 1] as number)
          : (this.#steps[end] as Record<Counted, number>)[name] - (this.#steps[begin] as Record<Counted, number>)[name],
      )
    }
    return values
  }

  #knownRows(): KnownRefusedRow[] {
    const first = this.#ofKnown[0]
    const lately = this.#ofKnown[Math.max(0, this.#ofKnown.length - 1 - 10 * STEPS)]
    return KNOWN_REFUSED_ROWS.map(([reason, result], i): KnownRefusedRow => {
      const now = this.#knownCells[i]?.value ?? 0
      const latest = this.#latestKnown.get(reason)
      const counts = { lastTenMinutes: now - (lately?.[i] ?? 0), lastHour: now - (first?.[i] ?? 0) }
      return { reason, result, ...counts, ...(latest !== undefined && { latest }) }
    })
      .filter(({ lastHour }) => lastHour > 0)
      .sort((a, b) => b.lastHour - a.lastHour)
  }

  #reasonRows(): ReasonRow[] {
    const last = this.#ofReasons.length - 1
    const minute = this.#ofReasons[Math.max(0, last - STEPS)]
    const first = this.#ofReasons[0]
    return this.#reasons
      .map(({ reason, mode, cells }, i) => {
        // What came since the latest step counts as well.
        const now = sumOf(cells)
        return { reason, mode, lastMinute: now - (minute?.[i] ?? 0), lastHour: now - (first?.[i] ?? 0) }
      })
      .filter(({ lastHour }) => lastHour > 0)
      .sort((a, b) => b.lastHour - a.lastHour)
  }
}

/** Not in the middle of a character. */
const shortened = (text: string): string =>
  text.length > LONGEST_KEY ? text.slice(0, LONGEST_KEY).replace(/[\ud800-\udbff]$/, '') : text
