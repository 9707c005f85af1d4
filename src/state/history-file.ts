/**
 * Keeps the history of clients in a file, for a start without Redis: who has ever sent a good message, as past-text.ts writes
 * it. It is written every five minutes and at the stop, to a file beside it that then takes its place, so that there is always
 * a whole one. It is read once, at the start, and only if its first line and its last are as they should be: a file that was cut
 * off or is another one is told and passed over.
 *
 * Both happen in parts, so that clients do not wait.
 */
import { open, readFile, rename, stat, unlink } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { within } from '../core/deadline.ts'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../telemetry/log.ts'
import { type History, PARTS } from './history.ts'
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

export interface HistoryFileOptions {
  readonly path: string
  readonly history: History
  readonly log: Log
  /** By default five minutes. */
  readonly everyMs?: number
}

export class HistoryFile {
  readonly #options: HistoryFileOptions
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined

  constructor(options: HistoryFileOptions) {
    this.#options = options
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
    await within(this.#read(), START_MS).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      log.warn({ path, err: messageOf(error) }, 'the history of clients cannot be read: it begins anew')
    })
  }

  async #read(): Promise<void> {
    const { path, history, log } = this.#options
    const { size } = await stat(path)
    if (size > LARGEST) throw new Error(`it is larger than ${LARGEST} bytes`)
    const lines = (await readFile(path, 'latin1')).split('\n')
    const end = lines.at(-2)
    const count = lines.length - 3
    if (lines[0] !== HEAD || lines.at(-1) !== '' || end !== `end ${count}`) throw new Error('it is not a whole history')
    let bad = 0
    for (let i = 1; i <= count; i++) {
      const [key, past] = [lines[i]!.slice(0, 16), pastIn(lines[i]!.slice(17))]
      if (isKey(key) && past !== undefined) history.hear(key, past)
      else bad++
      if (i % LINES === 0) await setImmediate()
    }
    log.info({ path, clients: count - bad, ...(bad > 0 && { bad }) }, 'the history of clients was read')
  }

  /** Never rejects. */
  write(): Promise<void> {
    const { path, log } = this.#options
    this.#writing ??= this.#write(`${path}.new`)
      .catch((error: unknown) => log.warn({ path, err: messageOf(error) }, 'the history of clients cannot be written'))
      .finally(() => {
        this.#writing = undefined
      })
    return this.#writing
  }

  async #write(beside: string): Promise<void> {
    const { path, history } = this.#options
    // Clients' addresses are nobody else's affair.
    const file = await open(beside, 'w', 0o600)
    try {
      let count = 0
      await file.write(`${HEAD}\n`)
      for (let part = 0; part < PARTS; part++) {
        let lines = ''
        history.each(part, (key, past) => {
          lines += `${key} ${textOf(past)}\n`
          count++
        })
        await file.write(lines)
      }
      await file.write(`end ${count}\n`)
      await file.sync()
    } catch (error) {
      await unlink(beside).catch(() => undefined)
      throw error
    } finally {
      await file.close()
    }
    await rename(beside, path)
  }
}
