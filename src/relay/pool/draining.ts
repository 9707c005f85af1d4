/**
 * Servers that are no longer among the settings but still have connections. They get nothing new and are asked nothing. Each is
 * forgotten when its last connection is closed.
 */
import type { Log } from '../../telemetry/log.ts'
import { placeOf, type Server } from './server.ts'

export class Draining {
  readonly #log: Log
  #servers: readonly Server[] = []

  constructor(log: Log) {
    this.#log = log
  }

  get servers(): readonly Server[] {
    return this.#servers
  }

  add(server: Server): void {
    this.#servers = [...this.#servers, server]
    this.#log.info(
      { ...placeOf(server), connections: server.connections },
      'upstream removed: it gets no more mail, and what it has goes on to its end',
    )
    server.become('draining', 'it is no longer used: what it has goes on to its end')
  }

  /** The server is among the settings again. */
  takeBack(label: string, host: string): Server | undefined {
    const found = this.#servers.find((server) => server.label === label && server.host === host)
    this.#servers = this.#servers.filter((server) => server !== found)
    return found
  }

  /** @returns whether there was one without a connection */
  forget(): boolean {
    const ended = this.#servers.filter(({ connections }) => connections === 0)
    this.#servers = this.#servers.filter(({ connections }) => connections > 0)
    for (const server of ended) this.#log.info(placeOf(server), 'upstream removed: no connection is left')
    return ended.length > 0
  }
}
