/**
 * Idle connections: no client holds them, and they are kept for a moment for the next one. A connection over which a client's
 * address was given is never kept. Each idle connection still counts among its server's connections.
 */
import type { Dialed } from '../smtp/dial.ts'
import type { Server } from './server.ts'

interface Kept {
  readonly dialed: Dialed
  readonly timer: NodeJS.Timeout
}

export class Idle {
  readonly #kept = new Map<Server, Kept[]>()
  readonly #idleMs: number
  readonly #freed: () => void

  /** @param idleMs how long each waits for the next client @param freed called after one was closed because no client took it */
  constructor(idleMs: number, freed: () => void) {
    this.#idleMs = idleMs
    this.#freed = freed
  }

  count(server: Server): number {
    return this.#kept.get(server)?.length ?? 0
  }

  add(server: Server, dialed: Dialed): void {
    const timer = setTimeout(() => {
      this.drop(server, dialed)
      this.#freed()
    }, this.#idleMs)
    timer.unref()
    const kept = this.#kept.get(server)
    if (kept === undefined) this.#kept.set(server, [{ dialed, timer }])
    else kept.push({ dialed, timer })
  }

  /** Takes the newest connection that is still good. Newer ones that are not are closed. */
  take(server: Server): Dialed | undefined {
    const kept = this.#kept.get(server)
    for (let last = kept?.pop(); last !== undefined; last = kept?.pop()) {
      clearTimeout(last.timer)
      if (last.dialed.smtp.settled) return last.dialed
      last.dialed.smtp.destroy()
      server.connections--
    }
    return undefined
  }

  /** Closes all connections to a server, or `only` that one. */
  drop(server: Server, only?: Dialed): void {
    const kept = this.#kept.get(server) ?? []
    const stay = kept.filter(({ dialed }) => only !== undefined && dialed !== only)
    if (stay.length === 0) this.#kept.delete(server)
    else this.#kept.set(server, stay)
    for (const each of kept) {
      if (stay.includes(each)) continue
      clearTimeout(each.timer)
      each.dialed.smtp.quit()
      server.connections--
    }
  }

  stop(): void {
    for (const server of [...this.#kept.keys()]) this.drop(server)
  }
}
