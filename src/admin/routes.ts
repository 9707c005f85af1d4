/** What the admin port answers: one row a path. Host and token are checked once, for all of them. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { isLoopback } from '../core/ip.ts'
import { type Answer, json, text } from './answer.ts'
import { createIsOwnHost } from './hosts.ts'
import { Rendering } from './rendering.ts'
import type { Request } from './request.ts'
import { readiness, type Status } from './status.ts'

export interface RouteParts {
  readonly metrics: () => Promise<{ readonly type: string; readonly text: string }>
  readonly status: () => Status
  readonly token: string | undefined
  /** Names and addresses of this port besides those of loopback, in lower case. */
  readonly names: readonly string[]
  readonly clock: Clock
}

interface Route {
  /** Answered off loopback without the token: it says nothing about anybody. */
  readonly open: boolean
  readonly answer: (request: Request) => Answer | Promise<Answer>
}

const digest = (given: string): Buffer => createHash('sha256').update(given).digest()

/**
 * Whoever comes over loopback is the operator; others need the token.
 * @param local the address that was connected to
 * @param authorization the Authorization field
 */
export function mayRead(local: string, authorization: string | undefined, token: string | undefined): boolean {
  if (isLoopback(local)) return true
  const given = /^Bearer (.+)$/.exec(authorization ?? '')?.[1]
  return token !== undefined && given !== undefined && timingSafeEqual(digest(token), digest(given))
}

const WRONG_HOST =
  'over loopback this port answers only to its own names (localhost, 127.0.0.1, [::1], SPILLWAY_HOSTNAME), so that no web page ' +
  'can ask it through a browser under a name of its own; SPILLWAY_ADMIN_HOSTS takes others'

/** @returns a function that answers requests; it rejects only where a route fails */
export function createAnswers(parts: RouteParts): (request: Request, local: string) => Promise<Answer> {
  const { status, token } = parts
  const metrics = new Rendering(async () => {
    const { type, text: body } = await parts.metrics()
    return { code: 200, type, body: Buffer.from(body) }
  }, parts.clock)
  const routes: ReadonlyMap<string, Route> = new Map<string, Route>([
    ['/metrics', { open: true, answer: () => metrics.get() }],
    ['/livez', { open: true, answer: () => text(200, 'ok') }],
    ['/readyz', { open: true, answer: ({ query }) => readiness(query, status()) }],
    ['/api/v1/status', { open: false, answer: () => json(200, status()) }],
  ])
  const paths = [...routes.keys()]
  const isOwnHost = createIsOwnHost(parts.names)
  return async (request, local) => {
    const { host, authorization } = request
    // Without a Host it is HTTP/1.0, which no browser speaks.
    if (isLoopback(local) && host !== undefined && !isOwnHost(host)) return text(421, WRONG_HOST)
    const route = routes.get(request.path)
    if (route === undefined) return text(404, `there is ${paths.slice(0, -1).join(', ')} and ${paths.at(-1)}`)
    if (!route.open && !mayRead(local, authorization, token)) {
      return text(401, 'needs Authorization: Bearer and the admin token', 'WWW-Authenticate: Bearer')
    }
    return route.answer(request)
  }
}
