/** The listening sockets. They read nothing: every accepted socket is passed, paused, to front/connection.ts. */
import { type AddressInfo, createServer, isIPv6, type ListenOptions, type Server, type Socket } from 'node:net'
import { notTcp } from '../../core/errors.ts'

export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/** How many connections the kernel may queue for us. net.core.somaxconn caps it. */
const BACKLOG = 4096
/** The first turn may be the rest of one whose sockets have been read already. */
const EMPTY_TURNS = 2

/**
 * A kernel without IPv6 answers socket(2) with the first. If IPv6 is only switched off, bind(2) may answer with the
 * second.
 */
const NO_IPV6: ReadonlySet<string | undefined> = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL'])

/**
 * Rejects if somebody listens on one of these addresses already, as listen() would (EADDRINUSE). With SO_REUSEPORT a bind succeeds beside
 * any program of the same user that has set it too, such as HAProxy, and each gets a part of the clients. Each address is bound for a
 * moment.
 */
export async function ensureFree(addresses: readonly ListenAddress[]): Promise<void> {
  for (const { host, port } of addresses) {
    if (port === 0) continue
    const server = createServer((socket) => socket.destroy())
    await new Promise<void>((resolve, reject) => {
      // Whatever else is wrong shows when it is listened on.
      server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? reject(error) : resolve()))
      server.listen({ host, port, ipv6Only: isIPv6(host), exclusive: true }, () => server.close(() => resolve()))
    })
  }
}

export class Listener {
  readonly #servers: Server[] = []
  readonly #serve: (socket: Socket) => void
  readonly #failed: (error: Error) => void
  readonly #sharesPorts: boolean
  #isHeldOpen = false

  /**
   * @param failed called with later errors of a listening socket (EMFILE …), which goes on listening
   * @param sharesPorts other processes listen on the same addresses, and the kernel spreads connections over all of them
   * (SO_REUSEPORT)
   */
  constructor(serve: (socket: Socket) => void, failed: (error: Error) => void, sharesPorts = false) {
    this.#serve = serve
    this.#failed = failed
    this.#sharesPorts = sharesPorts
  }

  /**
   * @param leaveOut called for each IPv6 address that is left out because this machine has no IPv6; if it is not given,
   * such an address is an error like any other
   * @returns the addresses in use, with the ports that the system chose for port 0. Rejects if an address cannot be
   * listened on, or if none is left. close() closes those bound before.
   */
  async listen(
    addresses: readonly ListenAddress[],
    leaveOut?: (address: ListenAddress, error: NodeJS.ErrnoException) => void,
  ): Promise<readonly ListenAddress[]> {
    const bound: ListenAddress[] = []
    let missing: NodeJS.ErrnoException | undefined
    for (const address of addresses) {
      try {
        bound.push(await this.#bind(address))
      } catch (error) {
        missing = error as NodeJS.ErrnoException
        if (leaveOut === undefined || !isIPv6(address.host) || !NO_IPV6.has(missing.code)) throw error
        leaveOut(address, missing)
      }
    }
    if (bound.length === 0 && missing !== undefined) throw missing
    return bound
  }

  /** Listens on sockets that were opened and bound by somebody else. @param fds their file descriptors */
  async adopt(fds: readonly number[]): Promise<readonly ListenAddress[]> {
    this.#isHeldOpen = true
    return Promise.all(fds.map((fd) => this.#open({ fd })))
  }

  #bind({ host, port }: ListenAddress): Promise<ListenAddress> {
    // Without ipv6Only, [::] takes the port of 0.0.0.0 as well.
    return this.#open({ host, port, ipv6Only: isIPv6(host), reusePort: this.#sharesPorts })
  }

  async #open(at: ListenOptions & { readonly fd?: number }): Promise<ListenAddress> {
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, this.#serve)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ ...at, backlog: BACKLOG }, () => {
        server.off('error', reject)
        server.on('error', this.#failed)
        resolve()
      })
    })
    this.#servers.push(server)
    const bound = server.address() as AddressInfo | string | null
    if (bound === null || typeof bound === 'string') throw notTcp()
    const { address, port } = bound
    return { host: at.host ?? address, port }
  }

  get listening(): boolean {
    return this.#servers.some((server) => server.listening)
  }

  /**
   * Takes the connections that wait in the kernel's queue, and closes the listening sockets right after that: the kernel
   * resets those that are still waiting when its socket is closed, and those whose handshake is under way then
   * (net.ipv4.tcp_migrate_req has another socket on the same address take them). At a socket that somebody else holds open
   * they wait on.
   */
  async closeEmpty(): Promise<void> {
    if (this.#isHeldOpen) {
      this.close()
      return
    }
    let taken = 0
    const count = (): void => void taken++
    for (const server of this.#servers) server.on('connection', count)
    // A turn of the event loop takes one connection of each socket (libuv 1.45 and later). In a flood others come meanwhile, but
    // after so many turns all that waited at the beginning are taken.
    let empty = 0
    for (let turn = 0; empty < EMPTY_TURNS && turn < BACKLOG; turn++) {
      const before = taken
      await new Promise((resolve) => setImmediate(resolve))
      empty = taken === before ? empty + 1 : 0
    }
    this.close()
  }

  /** Closes the listening sockets; connections go on. */
  close(): void {
    for (const server of this.#servers.splice(0)) server.close()
  }
}
