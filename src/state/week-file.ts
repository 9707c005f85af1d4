/**
 * Keeps what is normal in each hour of the week (telemetry/traffic/week.ts) in a file of its own beside the history of clients, a line for
 * each of the 168 hours. It is written once an hour, when there is something new, to a file beside it that then takes its place. It is read
 * at the start, in the background. A file that is not ours is told and left alone; one of ours that was cut off is begun anew.
 */
import { randomBytes } from 'node:crypto'
import { readFile, rename, stat, unlink, writeFile } from 'node:fs/promises'
import { within } from '../core/deadline.ts'
import { messageOf, unlessGone } from '../core/errors.ts'
import type { Log } from '../telemetry/log.ts'
import { HOURS, type LearntHour, type Week } from '../telemetry/traffic/week.ts'
import { hourIn, LONGEST_HOUR, textOfHour } from '../telemetry/traffic/week-text.ts'

const HEAD = 'spillway week 1'
const LOOK_MS = 60_000
const STOP_MS = 5000
const LARGEST = (HOURS + 2) * (LONGEST_HOUR + 1)

export interface WeekFileOptions {
  /** Of the history of clients. */
  readonly historyPath: string
  readonly week: Week
  readonly log: Log
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** By default a minute. */
  readonly lookMs?: number
}

export class WeekFile {
  readonly #options: WeekFileOptions
  readonly #path: string
  #timer: NodeJS.Timeout | undefined
  #busy: Promise<void> = Promise.resolve()
  /** The latest hour that the file tells of. It is another one where there is something new, and an earlier one after a clock that was ahead. */
  #written = 0
  #isForeign = false

  constructor(options: WeekFileOptions) {
    this.#options = options
    this.#path = `${options.historyPath}.week`
  }

  /** Reads it in the background, and begins to write it now and then. */
  start(): void {
    this.#next(() => this.#read(), 'cannot be read: it begins anew')
    this.#timer ??= setInterval(() => this.#look(), this.#options.lookMs ?? LOOK_MS).unref()
  }

  /** Writes what is new. Never rejects. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#look()
    await within(this.#busy, STOP_MS, () => undefined)
  }

  /** Resolves when what was begun is over. Never rejects. */
  get settled(): Promise<void> {
    return this.#busy
  }

  #look(): void {
    this.#next(() => this.#write(), 'cannot be written')
  }

  #next(work: () => Promise<void>, failure: string): void {
    const { log } = this.#options
    this.#busy = this.#busy.then(work).catch((error: unknown) => {
      log.warn({ path: this.#path, err: messageOf(error) }, `what is normal in an hour of the week ${failure}`)
    })
  }

  async #read(): Promise<void> {
    const { week, now, log } = this.#options
    const found = await stat(this.#path).catch(unlessGone)
    if (found === undefined) return
    // Until it is known to be ours it is not written either.
    this.#isForeign = true
    if (!found.isFile()) throw new Error('it is no regular file')
    if (found.size > LARGEST) throw new Error(`it is larger than ${LARGEST} bytes`)
    const [head, ...lines] = (await readFile(this.#path, 'latin1')).split('\n')
    if (head !== HEAD) throw new Error(`its first line is not "${HEAD}"; it is left as it is`)
    this.#isForeign = false
    const hours = lines.flatMap((line) => hourIn(line) ?? [])
    if (lines.at(-2) !== `end ${hours.length}`) throw new Error('it is not whole')
    for (const each of hours) week.hear(each, now())
    this.#written = latestOf(hours)
    log.info({ path: this.#path, hours: hours.length }, 'what is normal in an hour of the week was read')
  }

  async #write(): Promise<void> {
    const latest = latestOf(this.#options.week.all())
    if (this.#isForeign || latest === 0 || latest === this.#written) return
    const all = this.#options.week.all().map((each) => textOfHour(each))
    const beside = `${this.#path}.new.${randomBytes(4).toString('hex')}`
    try {
      await writeFile(beside, `${[HEAD, ...all, `end ${all.length}`].join('\n')}\n`, { mode: 0o600, flush: true })
      await rename(beside, this.#path)
    } catch (error) {
      await unlink(beside).catch(() => undefined)
      throw error
    }
    this.#written = latest
  }
}

const latestOf = (hours: readonly LearntHour[]): number => Math.max(0, ...hours.map(({ hour }) => hour))
