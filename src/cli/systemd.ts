/**
 * Tells systemd how the service is (sd_notify(3)), if systemd wants to know. Node cannot write to a datagram socket of
 * the file system, so systemd's own program does it; it comes with every systemd.
 */
import { type ExecFileException, execFile } from 'node:child_process'
import type { Log } from '../telemetry/log.ts'

const PROGRAM = 'systemd-notify'
/** It waits until systemd has read what it wrote. */
const LONGEST_MS = 5000

/** Microseconds of CLOCK_MONOTONIC, by which systemd recognises the answer to its own request. */
const monotonic = (): bigint => process.hrtime.bigint() / 1000n

const whyNot = ({ code, message }: ExecFileException): string =>
  code === 'ENOENT'
    ? `there is no program ${PROGRAM} on PATH; install it (it is part of systemd), or write Type=exec in the unit and no WatchdogSec=`
    : message.trim()

export class Systemd {
  readonly #env: NodeJS.ProcessEnv
  readonly #log: Log
  /** One after the other: READY must not overtake RELOADING. */
  #telling: Promise<void> = Promise.resolve()
  #watchdog: NodeJS.Timeout | undefined
  #isTelling = false
  #hasFailed = false

  constructor(env: NodeJS.ProcessEnv, log: Log) {
    this.#env = env
    this.#log = log
  }

  /** The service serves. From now on the watchdog is told twice as often as it wants to be. */
  ready(): Promise<void> {
    const everyUs = Number(this.#env.WATCHDOG_USEC ?? 0)
    const isForUs = (this.#env.WATCHDOG_PID ?? String(process.pid)) === String(process.pid)
    if (everyUs > 0 && isForUs) this.#watchdog ??= setInterval(() => this.#alive(), everyUs / 2000).unref()
    return this.#tell('READY=1')
  }

  /** Calls `reload`, and tells when it begins and when it is over. */
  async during(reload: () => Promise<unknown>): Promise<void> {
    await this.#tell('RELOADING=1', `MONOTONIC_USEC=${monotonic()}`)
    try {
      await reload()
    } finally {
      await this.#tell('READY=1')
    }
  }

  stopping(): Promise<void> {
    return this.#tell('STOPPING=1')
  }

  #alive(): void {
    // One that hangs must not make them pile up.
    if (!this.#isTelling) void this.#tell('WATCHDOG=1')
  }

  #tell(...lines: readonly string[]): Promise<void> {
    if (!this.#env.NOTIFY_SOCKET) return Promise.resolve()
    this.#telling = this.#telling.then(() => this.#run(lines))
    return this.#telling
  }

  #run(lines: readonly string[]): Promise<void> {
    const { NOTIFY_SOCKET, PATH } = this.#env
    this.#isTelling = true
    return new Promise((resolve) => {
      // The rest of the environment may hold secrets.
      execFile(PROGRAM, lines, { env: { NOTIFY_SOCKET, PATH }, timeout: LONGEST_MS }, (error) => {
        this.#isTelling = false
        if (error !== null && !this.#hasFailed) {
          this.#hasFailed = true
          this.#log.warn({ err: whyNot(error) }, 'systemd cannot be told how the service is')
        }
        resolve()
      })
    })
  }
}
