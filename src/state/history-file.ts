/**
 * Keeps the history of clients in a file, for a start without Redis, or with one that is empty or away: who has ever sent a good message,
 * clients and domains, and in which neighbourhoods addresses were bad lately, as past-text.ts writes it. It is written every five minutes
 * and at the stop, to a file beside it that then takes its place, so that there is always a whole one. It is read once, at the start, and
 * only if its first line and its last are as they should be: a file that was cut off or is another one is told and passed over.
 *
 * What could not be read is never overwritten: it is moved aside first, and if it cannot be moved, nothing is written. Nor is
 * anything written before the file was read to its end.
 *
 * Reading and writing happen in parts, so that clients do not wait.
 */
import { randomBytes } from 'node:crypto'
import { type FileHandle, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { within } from '../core/deadline.ts'
import { messageOf, unlessGone } from '../core/errors.ts'
import type { Log } from '../telemetry/log.ts'
import { isDomainKey } from './domains.ts'
import { type History, PARTS } from './history.ts'
import { entryOf, isNetKey, netIn } from './neighbourhoods.ts'
import type { Past } from './past.ts'
import { isKey, pastIn, textOf } from './past-text.ts'

const HEAD = 'spillway history 1'
const EVERY_MS = 300_000
/** Two million clients take less. */
const LARGEST = 256 * 1024 * 1024
/** Lines that are read at a time: a few milliseconds. */
const LINES = 5000
/** A mount that hangs keeps nobody from starting, nor from stopping. */
const START_MS = 30_000
const STOP_MS = 5000
/** Nobody takes so long to write a file. */
const LEFT_MS = 3_600_000
const NO_FILE = 'it is no regular file'

export interface HistoryFileOptions {
  readonly path: string
  readonly history: History
  readonly log: Log
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** By default five minutes. */
  readonly everyMs?: number
}

export class HistoryFile {
  readonly #options: HistoryFileOptions
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #reading: Promise<void> = Promise.resolve()
  /** What is written before it takes its place. After a take-over two processes may write at once. */
  readonly #beside: string
  /** Whether there is something that could not be read. */
  #isUnread = false

  constructor(options: HistoryFileOptions) {
    this.#options = options
    this.#beside = `${options.path}.new.${randomBytes(4).toString('hex')}`
  }

  /** Begins to write it now and then. */
  start(): void {
    this.#timer ??= setInterval(() => void this.write(), this.#options.everyMs ?? EVERY_MS).unref()
  }

  /** Writes it for the last time. Never rejects. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    const last = async (): Promise<void> => {
      await this.#writing
      await this.write()
    }
    await within(last(), STOP_MS, () => undefined)
  }

  /** Learns what it holds. A file that is not there is no mistake. Never rejects. */
  async read(): Promise<void> {
    const { path, log } = this.#options
    const reading = async (): Promise<void> => {
      await this.#clear().catch(() => undefined)
      await this.load().catch((error: unknown) => {
        this.#isUnread = true
        log.warn({ path, err: messageOf(error) }, 'the history of clients cannot be read: it begins anew')
      })
    }
    this.#reading = reading()
    await within(this.#reading, START_MS, () =>
      log.warn({ path }, 'the history of clients is read so slowly that nobody waits'),
    )
  }

  /** As read(), but takes as long as it takes, and rejects if the file cannot be read. */
  async load(): Promise<void> {
    const { path, history, log } = this.#options
    const found = await stat(path).catch(unlessGone)
    if (found === undefined) return
    if (!found.isFile()) throw new Error(NO_FILE)
    if (found.size > LARGEST) throw new Error(`it is larger than ${LARGEST} bytes`)
    const lines = (await readFile(path, 'latin1')).split('\n')
    const end = lines.at(-2)
    const count = lines.length - 3
    if (lines[0] !== HEAD || lines.at(-1) !== '' || end !== `end ${count}`) throw new Error('it is not a whole history')
    let bad = 0
    let domains = 0
    let networks = 0
    for (let i = 1; i <= count; i++) {
      const line = lines[i]!
      const space = line.indexOf(' ')
      const [key, past] = [line.slice(0, space), pastIn(line.slice(space + 1))]
      if (!isKey(key) || past === undefined) bad++
      else if (isNetKey(key)) {
        history.nets.hear(netIn(key, past))
        networks++
      } else {
        history.hear(key, past)
        if (isDomainKey(key)) domains++
      }
      if (i % LINES === 0) await setImmediate()
    }
    log.info(
      { path, clients: count - bad - domains - networks, domains, networks, ...(bad > 0 && { bad }) },
      'the history of clients was read',
    )
  }

  /** Never rejects. */
  write(): Promise<void> {
    const { path, log } = this.#options
    this.#writing ??= this.save()
      .catch((error: unknown) => log.warn({ path, err: messageOf(error) }, 'the history of clients cannot be written'))
      .finally(() => {
        this.#writing = undefined
      })
    return this.#writing
  }

  /** As write(), but rejects if it cannot be written. */
  async save(): Promise<void> {
    const beside = this.#beside
    await this.#reading
    if (this.#isUnread) await this.#setAside()
    // Clients' addresses are nobody else's affair.
    const file = await open(beside, 'w', 0o600)
    try {
      await this.#writeTo(file)
      await file.sync()
    } catch (error) {
      await unlink(beside).catch(() => undefined)
      throw error
    } finally {
      await file.close()
    }
    await rename(beside, this.#options.path)
  }

  /** Removes what processes have left that were killed while they wrote. */
  async #clear(): Promise<void> {
    const { path, now } = this.#options
    const folder = dirname(path)
    for (const name of await readdir(folder)) {
      if (!name.startsWith(`${basename(path)}.new.`)) continue
      const left = join(folder, name)
      if (now() - (await stat(left)).mtimeMs > LEFT_MS) await unlink(left)
    }
  }

  /** What was set aside before gives way. */
  async #setAside(): Promise<void> {
    const { path, log } = this.#options
    const found = await stat(path).catch(unlessGone)
    if (found?.isFile() === false) throw new Error(NO_FILE)
    if (found !== undefined) {
      const aside = `${path}.unreadable`
      await rename(path, aside)
      log.warn({ path, aside }, 'the history of clients that could not be read was moved')
    }
    this.#isUnread = false
  }

  async #writeTo(file: FileHandle): Promise<void> {
    const { history } = this.#options
    let count = 0
    await file.write(`${HEAD}\n`)
    for (let part = 0; part < PARTS; part++) {
      let lines = ''
      const add = (key: string, past: Past): void => {
        lines += `${key} ${textOf(past)}\n`
        count++
      }
      history.each(part, add)
      history.nets.each(part, PARTS, (net) => add(...entryOf(net)))
      await file.write(lines)
    }
    await file.write(`end ${count}\n`)
  }
}
