/**
 * Towards the operator: metrics, health and the state of this node, over HTTP. Nothing that is done to this port may hold
 * mail up. Its connections are few (visits.ts), each carries one request (request.ts) and one answer, and the only answer
 * that costs much is shared (rendering.ts).
 */
import { STATUS_CODES } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'
import { ADMIN_CONNECTIONS } from '../config/machine-rules.ts'
import { messageOf } from '../core/errors.ts'
import { canonical, sourceOf } from '../core/ip.ts'
import { type Answer, text } from './answer.ts'
import { hopeless, type Request, readRequest } from './request.ts'
import { createAnswers, type RouteParts } from './routes.ts'
import { Visit, Visits } from './visits.ts'

export interface AdminParts extends RouteParts {
  /** Called when the listening socket fails later on. */
  readonly failed: (error: Error) => void
  /** Called at most once a minute: how many connections were closed to make room, and the source of the last one. */
  readonly crowded: (dropped: number, source: string) => void
}

const SWEEP_MS = 500
const CROWDED_EVERY_MS = 60_000
/** Octets a connection may send in all: the head of a request and what is ignored (a body, further requests). */
const MOST_OCTETS = 65_536

const nothing = (): void => undefined

export class Admin {
  readonly #server: Server
  readonly #parts: AdminParts
  readonly #answer: ReturnType<typeof createAnswers>
  readonly #visits = new Visits(ADMIN_CONNECTIONS)
  #sweeping: NodeJS.Timeout | undefined
  #dropped = 0
  #crowdedAt = Number.NEGATIVE_INFINITY

  constructor(parts: AdminParts) {
    this.#parts = parts
    this.#answer = createAnswers(parts)
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket))
  }

  /** @returns the address in use. Rejects when it cannot be listened on. */
  listen(address: { host: string; port: number }): Promise<{ host: string; port: number }> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ ...address, backlog: ADMIN_CONNECTIONS }, () => {
        this.#server.off('error', reject)
        this.#server.on('error', this.#parts.failed)
        this.#sweeping = setInterval(() => this.#visits.sweep(this.#parts.clock.elapsed()), SWEEP_MS).unref()
        const bound = this.#server.address()
        resolve({ host: address.host, port: typeof bound === 'object' && bound !== null ? bound.port : address.port })
      })
    })
  }

  close(): void {
    clearInterval(this.#sweeping)
    this.#server.close()
    this.#visits.dropAll()
  }

  #accept(socket: Socket): void {
    // 'close' follows, and that is enough.
    socket.on('error', nothing)
    const source = sourceOf(canonical(socket.remoteAddress ?? ''))
    const visit = new Visit(source, () => socket.destroy(), this.#parts.clock.elapsed())
    const dropped = this.#visits.admit(visit)
    if (dropped !== undefined) this.#crowded(dropped)
    if (dropped === visit) return
    socket.on('close', () => this.#visits.delete(visit))
    socket.on('finish', () => visit.sent())
    // A client that half-closes after its request still wants the answer.
    socket.on('end', () => {
      if (visit.stage === 'asking') socket.destroy()
    })
    let head = ''
    let octets = 0
    socket.on('data', (chunk: Buffer) => {
      octets += chunk.length
      if (octets > MOST_OCTETS) socket.destroy()
      if (visit.stage !== 'asking') return
      // RFC 9112 section 2.2: empty lines before a request are ignored.
      head = (head + chunk.toString('latin1')).replace(/^[\r\n]+/, '')
      const end = /\r?\n\r?\n/.exec(head)?.index
      const begun = head.slice(0, end)
      const wrong = hopeless(begun)
      if (end === undefined && wrong === undefined) return
      head = ''
      visit.served(this.#parts.clock.elapsed())
      // Whatever follows stays in the kernel until the answer is on its way.
      socket.pause()
      void this.#serve(socket, visit, wrong ?? readRequest(begun))
    })
  }

  async #serve(socket: Socket, visit: Visit, request: Request | Answer): Promise<void> {
    let answer: Answer
    try {
      answer = 'code' in request ? request : await this.#answer(request, socket.localAddress ?? '')
    } catch (error) {
      answer = text(500, `failed: ${messageOf(error)}`)
    }
    if (socket.destroyed) return
    visit.answered()
    write(socket, answer, this.#parts.clock.now(), 'code' in request || request.method === 'GET')
    // Closing with data unread would reset the connection, and the answer could be lost (RFC 9112 section 9.6).
    socket.resume()
  }

  #crowded({ source }: Visit): void {
    this.#dropped++
    const now = this.#parts.clock.elapsed()
    if (now - this.#crowdedAt < CROWDED_EVERY_MS) return
    this.#crowdedAt = now
    this.#parts.crowded(this.#dropped, source)
    this.#dropped = 0
  }
}

/** Sends the answer and closes our side: a connection carries one request. */
function write(socket: Socket, { code, type, body, fields = [] }: Answer, now: number, withBody: boolean): void {
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
