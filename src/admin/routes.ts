/**
 * What the admin port serves, one row per path. Whether a caller may have a response is decided in one place for all
 * rows.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { ReloadReport } from '../config/reload.ts'
import type { Clock } from '../core/clock.ts'
import { isLoopback } from '../core/ip.ts'
import { added, type BansParts, listing, removed } from './bans.ts'
import { type Explain, explained } from './explain.ts'
import { type FeedbackParts, feedbackGiven } from './feedback.ts'
import { isOwnHost, isSameOrigin } from './hosts.ts'
import type { NodesParts } from './nodes.ts'
import type { ObserveReport } from './observe.ts'
import { drained, levelPinned, type OrdersParts } from './orders.ts'
import { explainPage } from './page/explain-page.ts'
import { pageOf } from './page/page.ts'
import { type PressureParts, pressureReported } from './pressure.ts'
import { Rendering } from './rendering.ts'
import type { Request } from './request.ts'
import { json, type Response, text } from './response.ts'
import { readiness, type Status } from './status.ts'
import { topOf } from './top.ts'
import { verdictOf } from './verdict.ts'

export interface RouteParts extends PressureParts, FeedbackParts, BansParts, OrdersParts {
  readonly metrics: () => Promise<{ readonly type: string; readonly text: string }>
  readonly status: () => Status | Promise<Status>
  /** Undefined where nothing is tallied. */
  readonly observed?: () => ObserveReport | Promise<ObserveReport>
  /** Undefined where nobody could. */
  readonly explain?: Explain
  /** Undefined where nobody could. */
  readonly nodes?: NodesParts
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

type Answer = (request: Request) => Response | Promise<Response>

interface Route {
  /** The response reveals nothing about anybody, so it is served off loopback without the token. */
  readonly isPublic?: true
  /**
   * It is for a person with a browser, which asks for the token as a password if it is told to. It then sends it by itself, for pages of
   * other sites as well: so nothing else takes it.
   */
  readonly asksPassword?: true
  /** It is a page, to which others may lead: it puts together nothing dear then. */
  readonly isPage?: true
  /** For GET and HEAD. */
  readonly read?: Answer
  /** It changes something, and needs the token over loopback as well: any program on this machine may call from there. Without a token nothing is changed. */
  readonly write?: { readonly method: 'POST' | 'DELETE'; readonly answer: Answer }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/** In place of our address on a connection to the socket in the file system: whoever may open that is the operator. */
export const LOCAL_SOCKET = 'unix'

/**
 * Over loopback the caller is the operator, and may read. Others need the token.
 * @param local our address on the connection
 * @param authorization the Authorization field; undefined if there is none
 * @param takesPassword whether a browser's password will do
 */
export const mayUse = (
  local: string,
  authorization: string | undefined,
  token: string | undefined,
  takesPassword = false,
): boolean =>
  local === LOCAL_SOCKET ||
  isLoopback(local) ||
  isBearer(authorization, token) ||
  (takesPassword && isPassword(authorization, token))

function isBearer(authorization: string | undefined, token: string | undefined): boolean {
  const presented = /^Bearer (.+)$/.exec(authorization ?? '')?.[1]
  return token !== undefined && presented !== undefined && timingSafeEqual(digest(token), digest(presented))
}

/** What a browser sends when its user was asked for a password: any name, and the token. It is for reading only, because it comes by itself. */
function isPassword(authorization: string | undefined, token: string | undefined): boolean {
  const encoded = /^Basic ([A-Za-z0-9+/]+=*)$/.exec(authorization ?? '')?.[1]
  const password = Buffer.from(encoded ?? '', 'base64')
    .toString('utf8')
    .split(/:(.*)/s, 2)[1]
  return token !== undefined && password !== undefined && timingSafeEqual(digest(token), digest(password))
}

/** What the request wants of this path, or why it may not have it. */
function wanted(route: Route, request: Request): { readonly answer: Answer } | Response {
  const { isPublic, isPage, read, write } = route
  const { method, origin, host, authorization, isOfOtherSite, isLed } = request
  const reads = method === 'GET' || method === 'HEAD'
  const answer = reads ? read : write?.method === method ? write.answer : undefined
  if (answer === undefined) {
    const allowed = [...(read === undefined ? [] : ['GET', 'HEAD']), ...(write === undefined ? [] : [write.method])]
    return text(405, `only ${allowed.join(', ').replace(/, ([^,]*)$/, ' and $1')}`, `Allow: ${allowed.join(', ')}`)
  }
  // A browser lets any page send a POST to 127.0.0.1, with a right Host. It adds the origin of the page; programs have none, and
  // our own page has ours.
  if (!reads && origin !== undefined && !isSameOrigin(origin, host))
    return text(403, 'not for web pages of others: this request has an Origin')
  // It may send a GET as well, or lead a window here. It cannot read the answer, but it could have long ones put together, over and over.
  const isUnwanted = isOfOtherSite || (isLed && !isPage)
  if (isUnwanted && !isPublic && !/^Bearer /.test(authorization ?? ''))
    return text(403, 'not for web pages of other sites')
  return { answer }
}

const reloaded = (report: ReloadReport): Response =>
  json(report.result === 'ok' ? 200 : report.error === undefined ? 422 : 500, report)

const withVerdict = (status: Status, now: number) => ({ verdict: verdictOf(status, now), ...status })

const WRONG_HOST =
  'over loopback this port answers only to its own names (localhost, 127.0.0.1, [::1], SPILLWAY_HOSTNAME), so that no web page ' +
  'can ask it through a browser under a name of its own; SPILLWAY_ADMIN_HOSTS takes others'

const NO_TOKEN =
  'this node has no token, and without one nothing is changed over this port: set SPILLWAY_ADMIN_TOKEN_FILE and reload (SIGHUP), or ' +
  'open a socket beside it (SPILLWAY_ADMIN_LISTEN=127.0.0.1:9025,unix:/run/spillway/admin.sock)'

const BANS = '/api/v1/bans'
const ALLOW = '/api/v1/allow'

function routesOf(parts: RouteParts): Map<string, Route> {
  const { status, reload, handOver, bans, observed, explain, nodes } = parts
  const { allowed } = bans
  const metrics = new Rendering(async () => {
    const { type, text: body } = await parts.metrics()
    return { code: 200, type, body: Buffer.from(body) }
  }, parts.clock)
  const told = new Rendering(async () => json(200, withVerdict(await status(), parts.clock.now())), parts.clock)
  const [bansListed, allowedListed] = [listing(bans, 'bans', parts.clock), listing(allowed, 'allowed', parts.clock)]
  const posted = (answer: Answer): Route => ({ write: { method: 'POST', answer } })
  const page = new Rendering(() => pageOf(parts, { explains: routes.has('/explain') }), parts.clock)
  const routes: Map<string, Route> = new Map<string, Route>([
    ['/', { read: () => page.get(), asksPassword: true, isPage: true }],
    ['/metrics', { isPublic: true, read: () => metrics.get() }],
    ['/livez', { isPublic: true, read: () => text(200, 'ok') }],
    ['/readyz', { isPublic: true, read: async ({ query }) => readiness(query, await status()) }],
    ['/api/v1/status', { read: () => told.get() }],
    ['/api/v1/top', { read: (request) => topOf(request, status) }],
    ['/api/v1/pressure', posted((request) => pressureReported(request, parts))],
    ['/api/v1/feedback', posted((request) => feedbackGiven(request, parts))],
    ['/api/v1/drain', posted((request) => drained(request, 'drain', parts))],
    ['/api/v1/undrain', posted((request) => drained(request, 'undrain', parts))],
    ['/api/v1/level', posted((request) => levelPinned(request, parts))],
    [BANS, { ...posted((request) => added(request, bans)), read: bansListed }],
    [ALLOW, { ...posted((request) => added(request, allowed)), read: allowedListed }],
  ])
  if (observed !== undefined) routes.set('/api/v1/observe', { read: async () => json(200, await observed()) })
  if (explain !== undefined) {
    routes.set('/api/v1/explain', { read: (request) => explained(request, explain), asksPassword: true })
    routes.set('/explain', { read: (request) => explainPage(request, explain), asksPassword: true, isPage: true })
  }
  if (nodes !== undefined) {
    routes.set('/api/v1/nodes', { read: async () => json(200, await nodes.status()) })
    routes.set('/api/v1/nodes/bans', { read: async () => json(200, await nodes.bans()) })
  }
  if (reload !== undefined)
    routes.set(
      '/api/v1/reload',
      posted(async ({ path }) => reloaded(await reload(`POST ${path}`))),
    )
  if (handOver !== undefined)
    routes.set(
      '/api/v1/handover',
      posted(() => {
        handOver()
        return json(202, { handedOver: true })
      }),
    )
  return routes
}

/** What follows /api/v1/bans/ and /api/v1/allow/ is an address or a network, which has a slash. */
function entriesOf({ bans }: RouteParts): (path: string) => Route | undefined {
  const entry = (at: string, list: Parameters<typeof removed>[1]): Route => ({
    write: { method: 'DELETE', answer: ({ path }) => removed(path.slice(at.length + 1), list) },
  })
  const ofBans = entry(BANS, bans)
  const ofAllowed = entry(ALLOW, bans.allowed)
  return (path) => (path.startsWith(`${BANS}/`) ? ofBans : path.startsWith(`${ALLOW}/`) ? ofAllowed : undefined)
}

/** @returns a function that answers requests; it rejects only if the route does */
export function createRouter(parts: RouteParts): (request: Request, local: string) => Promise<Response> {
  const { token, names } = parts
  const routes = routesOf(parts)
  const entryAt = entriesOf(parts)
  const paths = [...routes.keys()]
  return async (request, local) => {
    const { host, authorization, path } = request
    // An HTTP/1.0 request need not name a host, and browsers send no HTTP/1.0.
    if (isLoopback(local) && host !== undefined && !isOwnHost(host, names())) return text(421, WRONG_HOST)
    const route = entryAt(path) ?? routes.get(path)
    if (route === undefined) return text(404, `there is ${paths.slice(0, -1).join(', ')} and ${paths.at(-1)}`)
    const found = wanted(route, request)
    if ('code' in found) return found
    const secret = token()
    const may = route.isPublic || mayUse(local, authorization, secret, route.asksPassword)
    const isProven = local === LOCAL_SOCKET || isBearer(authorization, secret)
    const isUnproven = found.answer !== route.read && !isProven
    if (may && isUnproven && secret === undefined) return text(403, NO_TOKEN)
    if (!may || isUnproven) {
      const how = route.asksPassword
        ? 'Basic realm="spillway: any name, and the admin token", charset="UTF-8"'
        : 'Bearer'
      return text(401, 'needs Authorization: Bearer and the admin token', `WWW-Authenticate: ${how}`)
    }
    return found.answer(request)
  }
}
