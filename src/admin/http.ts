/**
 * Towards the operator: metrics, health, and the state of this node as JSON. Never in the way of mail: it listens on a
 * port of its own, loopback by default; off loopback only what tells nothing of anybody answers without the token.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { messageOf } from '../core/errors.ts'
import { canonical, compile, parseNetwork } from '../core/ip.ts'

export interface AdminParts {
  readonly metrics: () => Promise<{ readonly type: string; readonly text: string }>
  /** Listening and not draining; upstreams that are down do not make it false: senders should hear 4xx, not a closed port. */
  readonly ready: () => boolean
  readonly status: () => Status
  readonly token: string | undefined
  /** Told of what the listening socket suffers later. */
  readonly failed: (error: Error) => void
}

export interface Status {
  readonly version: string
  readonly node: string
  readonly ready: boolean
  readonly uptimeSeconds: number
  readonly connectionsOpen: number
  readonly unknownGuard: boolean
  /** Absent where limits are counted in memory alone. */
  readonly redis?: { readonly up: boolean; readonly nodes: number }
  /** Every address of every mail server; a name that does not resolve stands here as it was written. */
  readonly upstreams: readonly (ConditionTold & {
    readonly upstream: string
    readonly address: string
    readonly up: boolean
    readonly connections: number
  })[]
}

/** How something we depend on is, since when, and why. Times as in ISO 8601. */
export interface ConditionTold {
  readonly state: string
  readonly since: string
  /** Of the last failure, in words; absent while all is well. */
  readonly error?: string
  readonly last_success?: string
}

const isLoopback = compile([parseNetwork('127.0.0.0/8'), parseNetwork('::1')])
const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/**
 * Loopback is the operator himself; others need the token.
 * @param local the address that was connected to
 * @param authorization the header; undefined: there is none
 */
export function mayRead(local: string, authorization: string | undefined, token: string | undefined): boolean {
  if (isLoopback(canonical(local))) return true
  const given = /^Bearer (.+)$/.exec(authorization ?? '')?.[1]
  return token !== undefined && given !== undefined && timingSafeEqual(digest(token), digest(given))
}

interface Answer {
  readonly code: number
  readonly type: string
  readonly body: string
}
const text = (code: number, body: string): Answer => ({ code, type: 'text/plain; charset=utf-8', body: `${body}\n` })
const json = (code: number, body: unknown): Answer => ({
  code,
  type: 'application/json; charset=utf-8',
  body: `${JSON.stringify(body, null, 2)}\n`,
})

export class Admin {
  readonly #server: Server
  readonly #parts: AdminParts

  constructor(parts: AdminParts) {
    this.#parts = parts
    this.#server = createServer((request, response) => {
      void this.#serve(request, response)
    })
  }

  /** @returns the address in use. Rejects when it cannot be listened on. */
  listen(address: { host: string; port: number }): Promise<{ host: string; port: number }> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(address, () => {
        this.#server.off('error', reject)
        this.#server.on('error', this.#parts.failed)
        const bound = this.#server.address()
        resolve({ host: address.host, port: typeof bound === 'object' && bound !== null ? bound.port : address.port })
      })
    })
  }

  close(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer
    try {
      answer = await this.#answer(request)
    } catch (error) {
      answer = text(500, `failed: ${messageOf(error)}`)
    }
    const { code, type, body } = answer
    response.writeHead(code, { 'content-type': type, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
    response.end(request.method === 'HEAD' ? undefined : body)
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    if (request.method !== 'GET' && request.method !== 'HEAD') return text(405, 'only GET and HEAD')
    const url = new URL(request.url ?? '/', 'http://spillway')
    const { metrics, ready, status } = this.#parts
    switch (url.pathname) {
      case '/metrics': {
        const { type, text: body } = await metrics()
        return { code: 200, type, body }
      }
      case '/livez':
        return text(200, 'ok')
      case '/readyz':
        return this.#readiness(url.searchParams, ready(), status())
      case '/api/v1/status':
        return mayRead(request.socket.localAddress ?? '', request.headers.authorization, this.#parts.token)
          ? json(200, status())
          : text(401, 'needs Authorization: Bearer and the admin token')
      default:
        return text(404, 'there is /metrics, /livez, /readyz and /api/v1/status')
    }
  }

  #readiness(query: URLSearchParams, ready: boolean, { upstreams, redis }: Status): Answer {
    const anyUp = upstreams.some(({ up }) => up)
    const good = ready && (!query.has('upstreams') || anyUp)
    const lines = [good ? 'ok' : ready ? 'no upstream is up' : 'not ready']
    if (query.has('verbose')) {
      lines.push(`listening and not draining: ${ready ? 'yes' : 'no'}`)
      for (const { upstream, address, ...how } of upstreams)
        lines.push(`upstream ${upstream} (${address}): ${inWords(how)}`)
      if (redis !== undefined) lines.push(`redis: ${redis.up ? 'up' : 'away'}, nodes: ${redis.nodes}`)
    }
    return text(good ? 200 : 503, lines.join('\n'))
  }
}

/** `down since 2026-11-21T21:00:00.000Z: connect ECONNREFUSED …; last success …` */
function inWords({ state, since, error, last_success }: ConditionTold): string {
  const why = error === undefined ? '' : `: ${error}`
  const success =
    state === 'up' ? '' : `; ${last_success === undefined ? 'never well before' : `last well ${last_success}`}`
  return `${state} since ${since}${why}${success}`
}
