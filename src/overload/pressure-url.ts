/**
 * Asks SPILLWAY_UPSTREAM_PRESSURE_URL every 5 s how full the queues of the mail servers are. What answers is trusted with
 * the level, and with nothing else: its answer is short and in time or is none, and it sends us nowhere else. A fault is
 * told once, and meanwhile the last reports count until they are too old (reported.ts).
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
/** Shorter than the time between two questions, so that there is never more than one. */
const ANSWER_MS = 3_000
const LONGEST_ANSWER = 65_536

export interface PressureUrlOptions {
  /** Those in force. */
  readonly settings: () => { readonly url: string | undefined; readonly upstreams: readonly string[] }
  readonly take: (report: PressureReport) => void
  readonly asked: Readonly<Record<'ok' | 'failed', Cell>>
  readonly log: Log
}

export class PressureUrl {
  readonly #options: PressureUrlOptions
  readonly #ending = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #isFailing = false

  constructor(options: PressureUrlOptions) {
    this.#options = options
  }

  start(): void {
    void this.#ask()
    this.#timer = setInterval(() => void this.#ask(), EVERY_MS)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#ending.abort()
  }

  async #ask(): Promise<void> {
    const { settings, take, asked, log } = this.#options
    const { url, upstreams } = settings()
    if (url === undefined) return
    const ending = this.#ending.signal
    try {
      for (const report of reportsIn(await answerOf(url, ending), upstreams)) take(report)
      asked.ok.value++
      if (this.#isFailing) log.info({}, 'SPILLWAY_UPSTREAM_PRESSURE_URL answers again')
      this.#isFailing = false
    } catch (error) {
      if (ending.aborted) return
      asked.failed.value++
      if (!this.#isFailing) log.warn({ err: messageOf(error) }, 'SPILLWAY_UPSTREAM_PRESSURE_URL has no answer for us')
      this.#isFailing = true
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
