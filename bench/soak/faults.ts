// What happens to everything around the program, and to its workers, while it runs.

import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RedisServer } from '../../test/services/redis.ts'
import type { RecordingServer } from '../../test/soak/mail-server.ts'
import { AS_OPERATOR } from '../processes.ts'
import { DENIED } from './nuisances.ts'

export interface FaultParts {
  readonly servers: readonly [RecordingServer, RecordingServer]
  readonly redis: RedisServer
  readonly admin: number
  readonly envFile: string
}

/** The settings that reloads change, as the program starts with them and as each second reload has them. */
export const envText = ([first, second]: FaultParts['servers'], other: boolean): string =>
  [
    `SPILLWAY_UPSTREAMS=${other ? first.address : `${first.address},${second.address}`}`,
    `SPILLWAY_DENY=${DENIED}${other ? ',127.11.0.0/16' : ''}`,
    `SPILLWAY_LIMIT_NET_CONNECTIONS=${other ? 5000 : 6000}/1m`,
    '',
  ].join('\n')

/** Of one dot in two thousand. Many a crash finds such a message past its dot. */
const LATE_MS = 25_000
const RELOAD_MS = 10_000
const UPSTREAM_MS = 12_000
const REDIS_MS = 20_000
const KILL_MS = 60_000

/** While it is away, its port may be the other end of somebody's connection for some seconds. */
async function restarted(redis: RedisServer): Promise<void> {
  for (let left = 30; ; left--) {
    try {
      return await redis.restart()
    } catch (error) {
      if (left === 0 || !/Address already in use/.test(String(error))) throw error
      await sleep(1_000)
    }
  }
}

export class Faults {
  readonly #parts: FaultParts
  readonly #stop = new AbortController()
  readonly #loops: Promise<void>[] = []
  /** When a worker was killed, by Date.now(). */
  readonly kills: number[] = []
  readonly counts = { reloads: 0, upstream: 0, redis: 0 }
  /** Reloads that did not succeed, in words. */
  readonly failed: string[] = []
  #deferring = false
  /** What went wrong here, and not in the program. */
  #broken: unknown

  constructor(parts: FaultParts) {
    this.#parts = parts
  }

  start(): void {
    const { servers } = this.#parts
    let dots = 0
    for (const server of servers) {
      server.atDot = () => {
        dots++
        if (this.#deferring) return 'deferred'
        if (dots % 2000 === 0) return { afterMs: LATE_MS }
        return { afterMs: dots % 20 === 0 ? 500 : 0 }
      }
    }
    this.#every(RELOAD_MS, (i) => this.#reload(i % 2 === 0))
    this.#every(UPSTREAM_MS, (i) => this.#trouble(i))
    this.#every(REDIS_MS, (i) => this.#redis(i))
    this.#every(KILL_MS, () => this.#kill(), KILL_MS / 2)
  }

  /** Ends what is under way, and leaves everything around the program well, with the settings of its start. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#loops)
    if (this.#broken !== undefined) throw this.#broken
    await this.#reload(false)
  }

  #every(ms: number, run: (i: number) => Promise<void>, first = ms): void {
    const { signal } = this.#stop
    const loop = async (): Promise<void> => {
      for (let i = 0; !signal.aborted; i++) {
        await sleep(i === 0 ? first : ms, undefined, { signal }).catch(() => undefined)
        if (!signal.aborted) await run(i)
      }
    }
    const broken = (error: unknown): void => {
      this.#broken ??= error
    }
    this.#loops.push(loop().catch(broken))
  }

  async #reload(other: boolean): Promise<void> {
    const { envFile, servers, admin } = this.#parts
    writeFileSync(envFile, envText(servers, other))
    this.counts.reloads++
    const response = await fetch(`http://127.0.0.1:${admin}/api/v1/reload`, { method: 'POST', headers: AS_OPERATOR })
    const text = await response.text()
    if (response.status !== 200) this.failed.push(`${response.status} ${text.slice(0, 200)}`)
  }

  async #trouble(i: number): Promise<void> {
    const [first, second] = this.#parts.servers
    this.counts.upstream++
    const kinds = [
      async () => first.hang(3_000),
      async () => {
        this.#deferring = true
        await sleep(2_000)
        this.#deferring = false
      },
      async () => first.crash(1_500),
      async () => {
        first.hang(2_000)
        await second.crash(500)
      },
    ]
    await kinds[i % kinds.length]?.()
  }

  async #redis(i: number): Promise<void> {
    const { redis } = this.#parts
    this.counts.redis++
    if (i % 3 === 0) {
      redis.freeze()
      await sleep(3_000)
      redis.thaw()
    } else if (i % 3 === 1) {
      await redis.kill()
      await sleep(2_000)
      await restarted(redis)
    } else await restarted(redis)
  }

  /** Always the second, so that the memory of the first is that of the whole time. */
  async #kill(): Promise<void> {
    const text = await (await fetch(`http://127.0.0.1:${this.#parts.admin}/api/v1/status`)).text()
    const { workers } = JSON.parse(text) as { workers: { worker: number; pid: number; up: boolean }[] }
    const second = workers.find(({ worker, up }) => worker === 2 && up)
    if (second === undefined) return
    this.kills.push(Date.now())
    process.kill(second.pid, 'SIGKILL')
  }
}
