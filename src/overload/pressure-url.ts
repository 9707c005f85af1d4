/**
 * Asks SPILLWAY_UPSTREAM_PRESSURE_URL how full the queues of the mail servers are: every 5 s, and every second while one is more than half
 * full, or would be within 5 s if it went on to grow as it has since the answer before. A flood fills a queue within seconds, and each
 * second in which nobody sees that is mail that the queue has too much. What answers is trusted with the level, and with nothing else: its
 * answer is short and in time or is none, and it sends us nowhere else. A fault is told once, and meanwhile the last reports count until
 * they are too old (reported.ts).
 *
 * There is never more than one question, and whoever takes long to answer has as long a rest before the next: what is slow because
 * it has too much to do is not asked more often. So is what has failed, which is asked every 5 s.
 */
import { createRequire } from 'node:module'
import { messageOf } from '../core/errors.ts'
import type { PressureReport } from '../core/overload.ts'
import type { Log } from '../telemetry/log.ts'
import type { Cell } from '../telemetry/series.ts'
import { reportsIn } from './reported.ts'

const require = createRequire(import.meta.url)
/** Node's client for it, loaded when it is first used (admin/http.ts says why). */
const clientOf = (url: string): Pick<typeof import('node:http'), 'get'> =>
  require(new URL(url).protocol === 'https:' ? 'node:https' : 'node:http')

const EVERY_MS = 5_000
/** From here on each second counts: the levels begin at 0.8. */
const NEAR = 0.5
const NEAR_EVERY_MS = 1_000
const TICK_MS = 1_000
const ANSWER_MS = 3_000
const LONGEST_ANSWER = 65_536

export interface PressureUrlOptions {
  /** Those in force. */
  readonly settings: () => { readonly url: string | undefined; readonly upstreams: readonly string[] }
  readonly take: (report: PressureReport) => void
  readonly asked: Readonly<Record<'ok' | 'failed', Cell>>
  readonly log: Log
  /** A clock that never goes back, in ms. */
  readonly elapsed: () => number
}

export class PressureUrl {
  readonly #options: PressureUrlOptions
  readonly #ending = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #isFailing = false
  /** When the next question is due; never while one is open. */
  #dueAt = 0
  /** The highest value of the last answer. */
  #last: { readonly value: number; readonly at: number } | undefined

  constructor(options: PressureUrlOptions) {
    this.#options = options
  }

  start(): void {
    void this.#goOn()
    this.#timer = setInterval(() => {
      // A timer may be a little early.
      if (this.#options.elapsed() >= this.#dueAt - TICK_MS / 2) void this.#goOn()
    }, TICK_MS)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#ending.abort()
  }

  /** Asks, and plans the next question. */
  async #goOn(): Promise<void> {
    const { elapsed } = this.#options
    const began = elapsed()
    this.#dueAt = Number.POSITIVE_INFINITY
    const value = await this.#ask()
    const now = elapsed()
    const everyMs = value !== undefined && this.#soon(value, now) > NEAR ? NEAR_EVERY_MS : EVERY_MS
    this.#last = value === undefined ? undefined : { value, at: now }
    this.#dueAt = Math.max(began + everyMs, now + (now - began))
  }

  /** What the value would be after EVERY_MS if it went on to rise as it has since the last answer. */
  #soon(value: number, now: number): number {
    const { value: before, at } = this.#last ?? { value, at: now }
    return value + (Math.max(0, value - before) * EVERY_MS) / Math.max(NEAR_EVERY_MS, now - at)
  }

  /** @returns the highest value of the answer; undefined: there is none */
  async #ask(): Promise<number | undefined> {
    const { settings, take, asked, log } = this.#options
    const { url, upstreams } = settings()
    if (url === undefined) return undefined
    const ending = this.#ending.signal
    try {
      const reports = reportsIn(await answerOf(url, ending), upstreams)
      for (const report of reports) take(report)
      asked.ok.value++
      if (this.#isFailing) log.info({}, 'SPILLWAY_UPSTREAM_PRESSURE_URL answers again')
      this.#isFailing = false
      return Math.max(0, ...reports.map(({ value }) => value))
    } catch (error) {
      if (ending.aborted) return undefined
      asked.failed.value++
      if (!this.#isFailing) log.warn({ err: messageOf(error) }, 'SPILLWAY_UPSTREAM_PRESSURE_URL has no answer for us')
      this.#isFailing = true
      return undefined
    }
  }
}

/** Rejects if there is no whole answer with 200 in time. Redirects are not followed. */
function answerOf(url: string, ending: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const late = AbortSignal.timeout(ANSWER_MS)
    const signal = AbortSignal.any([late, ending])
    const failed = (error: Error): void =>
      reject(late.aborted ? new Error(`no whole answer within ${ANSWER_MS / 1000} s`) : error)
    const { get } = clientOf(url)
    const options = { agent: false, signal, headers: { Accept: 'application/json, text/plain' } }
    const asking = get(url, options, (response) => {
      if (response.statusCode !== 200) {
        response.destroy()
        reject(new Error(`it answers ${response.statusCode}`))
        return
      }
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > LONGEST_ANSWER)
          response.destroy(new Error(`its answer is longer than ${LONGEST_ANSWER} octets`))
      })
      response.on('end', () => resolve(text))
      response.on('error', failed)
    })
    asking.on('error', failed)
  })
}
