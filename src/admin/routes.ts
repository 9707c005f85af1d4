/**
 * What the admin port serves, one row per path. Whether a caller may have a response is decided in one place for all
 * rows.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { ReloadReport } from '../config/reload.ts'
import type { Clock } from '../core/clock.ts'
import { isLoopback } from '../core/ip.ts'
import { type FeedbackParts, feedbackGiven } from './feedback.ts'
import { isOwnHost } from './hosts.ts'
import { type PressureParts, pressureReported } from './pressure.ts'
import { Rendering } from './rendering.ts'
import type { Request } from './request.ts'
import { json, type Response, text } from './response.ts'
import { readiness, type Status } from './status.ts'

export interface RouteParts extends PressureParts, FeedbackParts {
  readonly metrics: () => Promise<{ readonly type: string; readonly text: string }>
  readonly status: () => Status | Promise<Status>
  /** Undefined if the settings cannot be read again. */
  readonly reload: ((by: string) => Promise<ReloadReport>) | undefined
  /** Lets another one take this one's place: gives up the admin port, takes no more clients, and ends when the sessions have. Undefined where nobody could. */
  readonly handOver?: () => void
  /** That in force; undefined: there is none, and nobody has it. */
  readonly token: () => string | undefined
  /** Host names and addresses of this port besides those of loopback, in lower case; those in force. */
  readonly names: () => readonly string[]
  readonly clock: Clock
}

interface Route {
  /** The response reveals nothing about anybody, so it is served off loopback without the token. */
  readonly isPublic: boolean
  /**
   * It changes something, and takes POST only. If there is a token, it is needed over loopback as well: any program on this
   * machine may call from there.
   */
  readonly writes?: true
  readonly answer: (request: Request) => Response | Promise<Response>
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/**
 * Over loopback the caller is the operator, and may read. Others need the token.
 * @param local our address on the connection
 * @param authorization the Authorization field; undefined if there is none
 */
export const mayUse = (local: string, authorization: string | undefined, token: string | undefined): boolean =>
  isLoopback(local) || isBearer(authorization, token)

function isBearer(authorization: string | undefined, token: string | undefined): boolean {
  const presented = /^Bearer (.+)$/.exec(authorization ?? '')?.[1]
  return token !== undefined && presented !== undefined && timingSafeEqual(digest(token), digest(presented))
}

const mayNotPost = ({ method }: Request): Response | undefined =>
  method === 'POST' ? text(405, 'only GET and HEAD', 'Allow: GET, HEAD') : undefined

/** A browser lets any page send a POST to 127.0.0.1, with a right Host. It adds the origin of the page; programs have none. */
function mayNotWrite({ method, origin }: Request): Response | undefined {
  if (method !== 'POST') return text(405, 'only POST', 'Allow: POST')
  return origin === undefined ? undefined : text(403, 'not for web pages: this request has an Origin')
}

const reloaded = (report: ReloadReport): Response =>
  json(report.result === 'ok' ? 200 : report.error === undefined ? 422 : 500, report)

const WRONG_HOST =
  'over loopback this port answers only to its own names (localhost, 127.0.0.1, [::1], SPILLWAY_HOSTNAME), so that no web page ' +
  'can ask it through a browser under a name of its own; SPILLWAY_ADMIN_HOSTS takes others'

/** @returns a function that answers requests; it rejects only if the route does */
export function createRouter(parts: RouteParts): (request: Request, local: string) => Promise<Response> {
  const { status, token, names, reload, handOver } = parts
  const metrics = new Rendering(async () => {
    const { type, text: body } = await parts.metrics()
    return { code: 200, type, body: Buffer.from(body) }
  }, parts.clock)
  const routes = new Map<string, Route>([
    ['/metrics', { isPublic: true, answer: () => metrics.get() }],
    ['/livez', { isPublic: true, answer: () => text(200, 'ok') }],
    ['/readyz', { isPublic: true, answer: async ({ query }) => readiness(query, await status()) }],
    ['/api/v1/status', { isPublic: false, answer: async () => json(200, await status()) }],
  ])
  if (reload !== undefined) {
    const answer = async ({ path }: Request): Promise<Response> => reloaded(await reload(`POST ${path}`))
    routes.set('/api/v1/reload', { isPublic: false, writes: true, answer })
  }
  routes.set('/api/v1/pressure', {
    isPublic: false,
    writes: true,
    answer: (request) => pressureReported(request, parts),
  })
  routes.set('/api/v1/feedback', {
    isPublic: false,
    writes: true,
    answer: (request) => feedbackGiven(request, parts),
  })
  if (handOver !== undefined) {
    const answer = (): Response => {
      handOver()
      return json(202, { handedOver: true })
    }
    routes.set('/api/v1/handover', { isPublic: false, writes: true, answer })
  }
  const paths = [...routes.keys()]
  return async (request, local) => {
    const { host, authorization } = request
    // An HTTP/1.0 request need not name a host, and browsers send no HTTP/1.0.
    if (isLoopback(local) && host !== undefined && !isOwnHost(host, names())) return text(421, WRONG_HOST)
    const route = routes.get(request.path)
    if (route === undefined) return text(404, `there is ${paths.slice(0, -1).join(', ')} and ${paths.at(-1)}`)
    const wrong = route.writes ? mayNotWrite(request) : mayNotPost(request)
    if (wrong !== undefined) return wrong
    const wanted = token()
    const may = route.isPublic || mayUse(local, authorization, wanted)
    const isUnasked = route.writes === true && wanted !== undefined && !isBearer(authorization, wanted)
    if (!may || isUnasked) {
      return text(401, 'needs Authorization: Bearer and the admin token', 'WWW-Authenticate: Bearer')
    }
    return route.answer(request)
  }
}
