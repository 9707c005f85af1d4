/** Reads logs of mail servers, of whatever kind each line is, and the plain form `ip,accepted,rejected,last`. */
import { EximReader } from './exim.ts'
import { type Dated, dated } from './log-time.ts'
import type { LogReader } from './observation.ts'
import { PostfixReader } from './postfix.ts'
import { SendmailReader } from './sendmail.ts'
import { Tallies } from './tallies.ts'

/** Seconds since the epoch, or a date (RFC 3339). */
const PLAIN = /^([0-9a-fA-F.:]+),([0-9]{1,9}),([0-9]{1,9}),(?:([0-9]{9,10})|([0-9]{4}-[0-9]{2}-[0-9]{2}(?:T\S+)?))\s*$/

export interface LearnedLines {
  /** All lines, those that showed something of a client, and those that are neither a log's nor plain. */
  readonly lines: number
  readonly used: number
  readonly foreign: number
}

export class Learner {
  readonly tallies = new Tallies()
  readonly #now: number
  readonly #readers: readonly LogReader[] = [new PostfixReader(), new EximReader(), new SendmailReader()]
  #lines = 0
  #used = 0
  #foreign = 0

  /** @param now ms since the epoch */
  constructor(now: number) {
    this.#now = now
  }

  get counts(): LearnedLines {
    return { lines: this.#lines, used: this.#used, foreign: this.#foreign }
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

  #logged({ at, text }: Dated): boolean {
    for (const reader of this.#readers) {
      const seen = reader.line(text)
      if (seen !== undefined) return this.tallies.add(seen, at)
    }
    return false
  }

  #plain(line: string): boolean {
    const [, ip, accepted, rejected, seconds, date] = PLAIN.exec(line) ?? []
    if (ip === undefined) return false
    const last = seconds === undefined ? Date.parse(date ?? '') : Number(seconds) * 1000
    return !Number.isNaN(last) && this.tallies.addCounts(ip, Number(accepted), Number(rejected), last)
  }
}
