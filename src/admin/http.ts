/**
 * The admin port: it serves metrics, health and the state of this node to the operator, over HTTP. Whatever is done to
 * it, it must not get in the way of mail. So its connections are few (connections.ts), each carries one request
 * (incoming.ts, request.ts) and one response, and callers share the work that takes long (rendering.ts).
 */
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createServer, type Server, type Socket } from 'node:net'
import type { AdminAddress } from '../config/admin-kind.ts'
import { ADMIN_CONNECTIONS } from '../config/machine-rules.ts'
import { messageOf, notTcp } from '../core/errors.ts'
import { canonical, sourceOf } from '../core/ip.ts'
import { Connection, Connections } from './connections.ts'
import { Incoming } from './incoming.ts'
import { listenAt, type Privately } from './local-socket.ts'
import type { Request } from './request.ts'
import { type Response, text } from './response.ts'
import { createRouter, LOCAL_SOCKET, type RouteParts } from './routes.ts'

export interface AdminParts extends RouteParts {
  /** Called with errors of the listening socket after it began to listen. */
  readonly failed: (error: Error) => void
  /**
   * Runs this with a mask for new files that leaves them to their owner and group (0117). Without it the socket in the file system has
   * another mode for a moment.
   */
  readonly privately?: Privately | undefined
  /** Called at most once a minute if connections were dropped to make room. @param source of the last one */
  readonly crowded: (dropped: number, source: string) => void
}

/** An `import` of node:http reads each of its exports, WebSocket too, and so loads Node's whole fetch: a tenth of the CPU time of a start. */
const { STATUS_CODES } = createRequire(import.meta.url)('node:http') as typeof import('node:http')

const SWEEP_MS = 500
const CROWDED_EVERY_MS = 60_000
/** How many octets a connection may send: a request, and what we ignore (a long body, more requests). */
const MOST_OCTETS = 65_536

const nothing = (): void => undefined

export class Admin {
  readonly #server: Server
  /** The socket in the file system. */
  readonly #local: Server
  readonly #parts: AdminParts
  readonly #answer: ReturnType<typeof createRouter>
  readonly #connections = new Connections(ADMIN_CONNECTIONS)
  #sweeping: NodeJS.Timeout | undefined
  #dropped = 0
  #crowdedAt = Number.NEGATIVE_INFINITY

  constructor(parts: AdminParts) {
    this.#parts = parts
    this.#answer = createRouter(parts)
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
      this.#accept(socket, socket.localAddress ?? ''),
    )
    this.#local = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket, LOCAL_SOCKET))
  }

  /** @param at an address, or the file descriptor of a socket that was opened for us @returns the address in use. Rejects if it cannot be listened on. */
  async listen(at: AdminAddress | { readonly fd: number }): Promise<AdminAddress> {
    const listening = await this.#listen(at)
    return 'socket' in at && at.socket !== undefined ? this.open(listening, at.socket) : listening
  }

  /** Listens at a socket in the file system too. @returns both addresses. Rejects if it cannot be listened on. */
  async open(listening: AdminAddress, socket: string): Promise<AdminAddress> {
    await listenAt(this.#local, socket, ADMIN_CONNECTIONS, this.#parts.privately)
    this.#local.on('error', this.#parts.failed)
    return { ...listening, socket }
  }

  /** One that listens already, because the socket in the file system could not be had, is tried again together with that. */
  async #listen(at: AdminAddress | { readonly fd: number }): Promise<AdminAddress> {
    const server = this.#server
    if (!server.listening) {
      const where = 'fd' in at ? { fd: at.fd } : { host: at.host, port: at.port }
      server.listen({ ...where, backlog: ADMIN_CONNECTIONS })
      await once(server, 'listening')
      server.on('error', this.#parts.failed)
      this.#sweeping = setInterval(() => this.#connections.sweep(this.#parts.clock.elapsed()), SWEEP_MS).unref()
    }
    const bound = server.address()
    if (bound === null || typeof bound === 'string') throw notTcp()
    const { address, port } = bound
    return { host: 'host' in at ? at.host : address, port }
  }

  /** Takes no more connections; those that are open end in their own way. */
  release(): void {
    this.#server.close()
    this.#local.close()
  }

  close(): void {
    clearInterval(this.#sweeping)
    this.release()
    this.#connections.dropAll()
  }

  /** @param local our address on the connection */
  #accept(socket: Socket, local: string): void {
    // A 'close' event follows and is handled below.
    socket.on('error', nothing)
    const source = local === LOCAL_SOCKET ? local : sourceOf(canonical(socket.remoteAddress ?? ''))
    const connection = new Connection(source, () => socket.destroy(), this.#parts.clock.elapsed())
    const dropped = this.#connections.admit(connection)
    if (dropped !== undefined) this.#crowded(dropped)
    if (dropped === connection) return
    socket.on('close', () => this.#connections.delete(connection))
    socket.on('finish', () => connection.sent())
    // A caller that closes its side before the request is complete wants nothing. After that it wants the response.
    socket.on('end', () => {
      if (connection.phase === 'asking') socket.destroy()
    })
    const incoming = new Incoming()
    let octets = 0
    socket.on('data', (chunk: Buffer) => {
      octets += chunk.length
      if (octets > MOST_OCTETS) socket.destroy()
      if (connection.phase !== 'asking') return
      const request = incoming.add(chunk)
      if (request === undefined) return
      connection.served(this.#parts.clock.elapsed())
      // What comes after the request waits in the kernel until the response is written.
      socket.pause()
      void this.#serve({ socket, local }, connection, request)
    })
  }

  async #serve(
    { socket, local }: { readonly socket: Socket; readonly local: string },
    connection: Connection,
    request: Request | Response,
  ): Promise<void> {
    let response: Response
    try {
      response = 'code' in request ? request : await this.#answer(request, local)
    } catch (error) {
      response = text(500, `failed: ${messageOf(error)}`)
    }
    if (socket.destroyed) return
    connection.answered()
    write(socket, response, this.#parts.clock.now(), 'code' in request || request.method !== 'HEAD')
    // Closing with unread data would reset the connection and lose the response (RFC 9112 section 9.6).
    socket.resume()
  }

  #crowded({ source }: Connection): void {
    this.#dropped++
    const now = this.#parts.clock.elapsed()
    if (now - this.#crowdedAt < CROWDED_EVERY_MS) return
    this.#crowdedAt = now
    this.#parts.crowded(this.#dropped, source)
    this.#dropped = 0
  }
}

/** Writes the response and closes our side: a connection carries no second request. */
function write(socket: Socket, { code, type, body, fields = [] }: Response, now: number, withBody: boolean): void {
  const head = [
    `HTTP/1.1 ${code} ${STATUS_CODES[code] ?? ''}`,
    `Date: ${new Date(now).toUTCString()}`,
    `Content-Type: ${type}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    'X-Content-Type-Options: nosniff',
    'Connection: close',
    ...fields,
  ]
  socket.cork()
  socket.write(`${head.join('\r\n')}\r\n\r\n`, 'latin1')
  if (withBody) socket.end(body)
  else socket.end()
}
