/**
 * What checks in observe mode would have refused, against what the mail servers then said of the same sessions. Each session counts
 * once for each check. Of senders whose mail was accepted the table of each check has a fixed number: senders with a better standing
 * push out others and are never pushed out by them, so that a flood of strangers whose mail is accepted hides no known sender.
 */
import { type Client, STANDINGS, type Standing } from '../../core/client.ts'
import { CHECK_NAMES, type CheckName, type ReasonName } from '../../core/reasons.ts'
import { recordOf } from '../../core/record.ts'
import { HEARD, type Heard, type Metrics } from '../metrics.ts'
import type { Cell } from '../series.ts'
import {
  type CheckTally,
  higher,
  inOrder,
  MOST_SENDERS,
  type ObservedSender,
  type ObservedUse,
  PEAKS,
  type Peak,
  rankOf,
  type Tallied,
} from './report.ts'

const LONGEST_HELO = 255

/** A piece of a longer string would keep all of that in memory. */
const clipped = (text: string): string => Buffer.from(text.slice(0, LONGEST_HELO)).toString()

const isPeakOf = (standing: Standing): standing is Peak['standing'] => PEAKS.some((each) => each === standing)

/** A session that is over. */
export interface Observed {
  /** The checks that would have refused it; undefined: none. */
  readonly observed: ReadonlySet<CheckName | ReasonName> | undefined
  readonly uses: ReadonlyMap<CheckName, ObservedUse> | undefined
  /** As the client said it. */
  readonly helo: string | undefined
  readonly accepted: boolean
  readonly heardNo: boolean
}

interface Row {
  standing: Standing
  helo: string | undefined
  count: number
  /** What of the count was inherited (heavy-hitters.ts). */
  inherited: number
  last: number
}

/** The senders that come most, as far as they have room: Space-Saving within each standing. */
class Senders {
  readonly #rows = new Map<string, Row>()
  #more = false

  get more(): boolean {
    return this.#more
  }

  note(source: string, standing: Standing, helo: string | undefined, now: number): void {
    const row = this.#rows.get(source) ?? this.#room(source, standing)
    if (row === undefined) return
    row.standing = standing
    row.helo = helo
    row.count++
    row.last = now
  }

  list(): ObservedSender[] {
    return inOrder(
      [...this.#rows].map(([source, { standing, helo, count, inherited, last }]) => ({
        ...{ source, standing, sessions: count - inherited, last },
        ...(helo !== undefined && { helo }),
      })),
    )
  }

  /** @returns undefined if all that are there have a better standing */
  #room(source: string, standing: Standing): Row | undefined {
    let inherited = 0
    if (this.#rows.size >= MOST_SENDERS) {
      this.#more = true
      const [least, row] = this.#least()
      if (rankOf(row.standing) < rankOf(standing)) return undefined
      this.#rows.delete(least)
      if (row.standing === standing) inherited = row.count
    }
    const made: Row = { standing, helo: undefined, count: inherited, inherited, last: 0 }
    this.#rows.set(source, made)
    return made
  }

  #least(): readonly [string, Row] {
    return [...this.#rows].reduce((least, each) => {
      const [{ standing: a, count: n }, { standing: b, count: m }] = [least[1], each[1]]
      return rankOf(b) > rankOf(a) || (a === b && m < n) ? each : least
    })
  }
}

interface OfCheck {
  readonly check: CheckName
  readonly cells: Readonly<Record<Heard, Readonly<Record<Standing, Cell>>>>
  readonly senders: Senders
  readonly peaks: Map<Standing, Peak>
}

export interface ObservedTallyOptions {
  readonly metrics: Pick<Metrics, 'observeWouldRefuse'>
  /** In milliseconds since 1970. */
  readonly now: () => number
}

export class ObservedTally {
  readonly #now: () => number
  readonly #since: number
  readonly #checks: ReadonlyMap<string, OfCheck>

  constructor({ metrics, now }: ObservedTallyOptions) {
    this.#now = now
    this.#since = now()
    const cell = (check: CheckName, heard: Heard) =>
      recordOf(STANDINGS, (standing) => metrics.observeWouldRefuse.of(check, heard, standing))
    this.#checks = new Map(
      CHECK_NAMES.map((check) => {
        const cells = recordOf(HEARD, (heard) => cell(check, heard))
        return [check, { check, cells, senders: new Senders(), peaks: new Map() }]
      }),
    )
  }

  /** A session is over, and the mail servers have said their last word about it. */
  ended({ source, standing }: Pick<Client, 'source' | 'standing'>, session: Observed): void {
    const { observed, uses, accepted, heardNo } = session
    if (observed === undefined) return
    const heard: Heard = accepted ? 'accepted' : heardNo ? 'refused' : 'none'
    const helo = accepted && session.helo ? clipped(session.helo) : undefined
    for (const name of observed) {
      const of = this.#checks.get(name)
      if (of === undefined) continue
      of.cells[heard][standing].value++
      if (!accepted) continue
      of.senders.note(source, standing, helo, this.#now())
      const use = uses?.get(of.check)
      if (use !== undefined && isPeakOf(standing))
        of.peaks.set(standing, higher(of.peaks.get(standing), { ...use, source, standing }))
    }
  }

  report(): Tallied {
    const checks = [...this.#checks.values()].map(({ check, cells, senders, peaks }): CheckTally => {
      const heard = recordOf(HEARD, (each) => recordOf(STANDINGS, (standing) => cells[each][standing].value))
      const inTurn = PEAKS.flatMap((standing) => peaks.get(standing) ?? [])
      return { check, heard, senders: senders.list(), more: senders.more, peaks: inTurn }
    })
    const hasAny = ({ heard }: CheckTally): boolean =>
      HEARD.some((each) => STANDINGS.some((standing) => heard[each][standing] > 0))
    return { since: this.#since, checks: checks.filter(hasAny) }
  }
}
