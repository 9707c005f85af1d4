/** The listening sockets. Accepts nothing by itself: every socket goes, paused, to front/connection.ts. */
import { createServer, isIPv6, type Server, type Socket } from 'node:net'

export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/** Connections the kernel may hold for us; it is capped by net.core.somaxconn. */
const BACKLOG = 4096

export class Listener {
  readonly #servers: Server[] = []
  readonly #serve: (socket: Socket) => void
  readonly #failed: (error: Error) => void

  /** @param failed told of what a listening socket suffers later (EMFILE …); it goes on listening */
  constructor(serve: (socket: Socket) => void, failed: (error: Error) => void) {
    this.#serve = serve
    this.#failed = failed
  }

  /** @returns the addresses in use, with the ports the system chose for port 0. Rejects when one cannot be listened on. */
  async listen(addresses: readonly ListenAddress[]): Promise<readonly ListenAddress[]> {
    const bound: ListenAddress[] = []
    for (const { host, port } of addresses) {
      const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, this.#serve)
      this.#servers.push(server)
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        // Without ipv6Only, [::] takes the port of 0.0.0.0 as well.
        server.listen({ host, port, backlog: BACKLOG, ipv6Only: isIPv6(host) }, () => {
          server.off('error', reject)
          server.on('error', this.#failed)
          resolve()
        })
      })
      const address = server.address()
      bound.push({ host, port: typeof address === 'object' && address !== null ? address.port : port })
    }
    return bound
  }

  get listening(): boolean {
    return this.#servers.some((server) => server.listening)
  }

  /** Closes the listening sockets; connections go on. */
  close(): void {
    for (const server of this.#servers.splice(0)) server.close()
  }
}
