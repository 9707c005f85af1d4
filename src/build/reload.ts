/**
 * Reloads: reads the settings again and puts in force what can change while the program runs, all or nothing. One reload
 * follows the other, a second apart.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { hashOf, type Merged, merge, type Reading, type ReloadReport, type Reread } from '../config/reload.ts'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** Whoever may ask for reloads can ask without end, and each takes a thread of its own and some milliseconds of ours. */
const APART_MS = 1000

export interface ReloaderOptions {
  /** What is in force at the start. */
  readonly reading: Reading
  /** Reads the settings again. It does not hold up the event loop. */
  readonly reread: (() => Promise<Reread>) | undefined
  /** Puts the settings in force, as a whole. If it throws or rejects, those before must still be in force. */
  readonly apply: (reading: Reading) => void | Promise<void>
  /** Whatever follows files by itself reads them now; also if the settings are not taken. Never rejects. */
  readonly follow: () => Promise<void>
  readonly metrics: Pick<Metrics, 'reloads' | 'settingsInfo' | 'settingsStale'>
  readonly log: Log
}

export interface SettingsState {
  readonly hash: string
  /** Settings that had other values than those in force, at the last reload without a mistake. */
  readonly needsRestart: readonly string[]
}

export class Reloader {
  readonly #options: ReloaderOptions
  #reading: Reading
  #state: SettingsState
  #running: Promise<unknown> = Promise.resolve()
  /** The next reload, which has not begun yet. Whoever asks meanwhile shares it. */
  #next: Promise<ReloadReport> | undefined

  constructor(options: ReloaderOptions) {
    this.#options = options
    this.#reading = options.reading
    this.#state = this.#publish([])
  }

  state(): SettingsState {
    return this.#state
  }

  /** @param by who asked for it, for the log. Never rejects. */
  reload(by: string): Promise<ReloadReport> {
    if (this.#next === undefined) {
      this.#next = this.#running.then(() => {
        this.#next = undefined
        return this.#reload(by)
      })
      this.#running = this.#next.then(() => sleep(APART_MS, undefined, { ref: false }))
    }
    return this.#next
  }

  async #reload(by: string): Promise<ReloadReport> {
    const { reread, apply, follow, metrics } = this.#options
    let report: ReloadReport
    try {
      if (reread === undefined) throw new Error('there is nothing to read the settings from')
      const again = await reread()
      if ('reading' in again) {
        const merged = merge(this.#reading, again.reading)
        await apply(merged.reading)
        report = this.#taken(by, merged)
      } else report = this.#refused(by, again)
    } catch (error) {
      report = this.#failed(by, messageOf(error))
    }
    metrics.reloads.inc(report.result)
    metrics.settingsStale.of().value = report.result === 'ok' ? 0 : 1
    await follow()
    return report
  }

  #taken(by: string, { reading, changed, needsRestart }: Merged): ReloadReport {
    const { log } = this.#options
    const known = new Set(this.#reading.warnings)
    this.#reading = reading
    this.#state = this.#publish(needsRestart.map(({ setting }) => setting))
    for (const warning of reading.warnings) if (!known.has(warning)) log.warn({}, warning)
    const { hash } = this.#state
    log.info({ by, changed, hash }, changed.length === 0 ? 'settings read again: none has changed' : 'settings changed')
    for (const { setting, before, read } of needsRestart)
      log.warn({ setting, before, read }, `${setting} needs a restart: until then its old value stays in force`)
    return { result: 'ok', hash, changed, needsRestart, mistakes: [] }
  }

  #refused(by: string, { mistakes }: Exclude<Reread, { reading: Reading }>): ReloadReport {
    const { log } = this.#options
    for (const { name, value, origin, expected } of mistakes)
      log.error({ setting: name, value, origin, expected }, `${name} is wrong: correct it and reload again`)
    log.error({ by, mistakes: mistakes.length }, 'reload failed: all settings stay as they were')
    return { result: 'failed', hash: this.#state.hash, changed: [], needsRestart: [], mistakes }
  }

  #failed(by: string, error: string): ReloadReport {
    this.#options.log.error({ by, err: error }, 'reload failed: all settings stay as they were; reload again')
    return { result: 'failed', hash: this.#state.hash, changed: [], needsRestart: [], mistakes: [], error }
  }

  #publish(needsRestart: readonly string[]): SettingsState {
    const hash = hashOf(this.#reading)
    this.#options.metrics.settingsInfo.replace([[[hash], 1]])
    return { hash, needsRestart }
  }
}
