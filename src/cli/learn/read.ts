/** Reads logs of mail servers, of whatever kind each line is, and the plain form `ip,accepted,rejected,last`. */
import { isIP } from 'node:net'
import { canonical } from '../../core/ip.ts'
import { DAY_MS } from '../../core/time.ts'
import type { Lesson } from '../../state/past.ts'
import { EximReader } from './exim.ts'
import { type Dated, dated } from './log-time.ts'
import type { LogReader } from './observation.ts'
import { PostfixReader } from './postfix.ts'
import { SendmailReader } from './sendmail.ts'

/** Seconds since the epoch, or a date (RFC 3339), with the time or without. */
const PLAIN = /^([0-9a-fA-F.:]+),([0-9]{1,9}),([0-9]{1,9}),(?:([0-9]{9,10})|([0-9]{4}-[0-9]{2}-[0-9]{2}(?:T\S+)?))\s*$/
/**
 * A date alone is read as noon UTC, which is on that day wherever it was written. A message came half a day before or after at
 * most. Midnight would take up to half its weight from what was bad today, by the evening.
 */
const NOON = 'T12:00:00Z'
const GOOD: Lesson = { good: 1, bad: 0 }
const BAD: Lesson = { good: 0, bad: 1 }

/** @param ip canonical @param at ms since the epoch, never in the future @param name forward-confirmed, if the log says it */
export type Learn = (ip: string, lesson: Lesson, at: number, name: string | undefined) => void

export interface LinesRead {
  /** All lines, those that showed something of a client, and those that are neither a log's nor plain. */
  readonly lines: number
  readonly used: number
  readonly foreign: number
  /** Those of the foreign ones that were too long to be read. */
  readonly long: number
}

export class LogLines {
  readonly #learn: Learn
  readonly #now: number
  readonly #days: number
  readonly #readers: readonly LogReader[] = [new PostfixReader(), new EximReader(), new SendmailReader()]
  #lines = 0
  #used = 0
  #foreign = 0
  #long = 0

  /** @param now ms since the epoch @param days over which the messages of a plain line came: KNOWN_DAYS */
  constructor(learn: Learn, now: number, days: number) {
    this.#learn = learn
    this.#now = now
    this.#days = days
  }

  get read(): LinesRead {
    return { lines: this.#lines, used: this.#used, foreign: this.#foreign, long: this.#long }
  }

  line(line: string): void {
    if (line === '' || line.startsWith('#')) return
    this.#lines++
    const at = dated(line, this.#now)
    if (at === undefined) {
      if (this.#plain(line)) this.#used++
      else this.#foreign++
    } else if (this.#logged(at)) this.#used++
  }

  /** A line was too long to be read. */
  tooLong(): void {
    this.#lines++
    this.#foreign++
    this.#long++
  }

  #logged({ at, text }: Dated): boolean {
    for (const reader of this.#readers) {
      const seen = reader.line(text)
      if (seen !== undefined) return this.#note(seen.ip, seen.isGood ? GOOD : BAD, at, seen.name)
    }
    return false
  }

  /**
   * A plain line says when the last message came. The first half of all is taken to have come KNOWN_DAYS before: before now, if that
   * is still to come, or the client would have fewer days behind it than the line says.
   */
  #plain(line: string): boolean {
    const [, ip = '', accepted, rejected, seconds, date = ''] = PLAIN.exec(line) ?? []
    const told =
      seconds === undefined ? Date.parse(date.includes('T') ? date : `${date}${NOON}`) : Number(seconds) * 1000
    if (isIP(ip) === 0 || Number.isNaN(told)) return false
    const last = Math.min(told, this.#now)
    const [good, bad] = [Number(accepted), Number(rejected)]
    const early = { good: Math.floor(good / 2), bad: Math.floor(bad / 2) }
    this.#note(ip, early, last - this.#days * DAY_MS)
    return this.#note(ip, { good: good - early.good, bad: bad - early.bad }, last)
  }

  #note(ip: string, lesson: Lesson, at: number, name?: string): boolean {
    if (isIP(ip) === 0) return false
    this.#learn(canonical(ip), lesson, Math.min(at, this.#now), name)
    return true
  }
}
