/**
 * Identifies the client: by the address of the socket, or by the address that a listed balancer gives in its PROXY
 * header. The source, the neighbourhood and the standing, by which everything else judges the client, follow from the
 * address. A header from anybody else is never believed: see front/session/foreign-header.ts.
 *
 * Some headers name no client: version 2 LOCAL, UNSPEC and UNIX, version 1 UNKNOWN, and a header of either version
 * whose source is the balancer's own address, as HAProxy's checks write it. For these the specification tells the
 * receiver to use the addresses of the connection (proxy-protocol.txt sections 2.1 and 2.2), which are the balancer's.
 * Such a connection is the balancer's health probe. If it were taken for a client's, a balancer that does not know its
 * clients would send everybody's mail as its own, past limits and lists, and the mail servers might take it for mail
 * from a relay.
 */
import type { Socket } from 'node:net'
import { type Client, isFriend, type Standing } from '../../core/client.ts'
import { canonical, type Endpoint, familyOf, netOf, sourceOf } from '../../core/ip.ts'
import type { ClientAddress } from '../../overload/standing.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import type { BalancerWarnings } from './balancer-warnings.ts'
import { type ProxyHeader, parseProxyHeader } from './proxy-protocol.ts'

export interface IdentifyParts {
  readonly isBalancer: (ip: string) => boolean
  /** See overload/standing.ts. */
  readonly standingOf: (address: ClientAddress) => Standing
  /** The key of its limits, where that is not its source; see Client in core/client.ts. */
  readonly countedAs: (address: ClientAddress) => string | undefined
  /** The domain of an address, as far as it is known already. */
  readonly domainOf: (ip: string) => string | undefined
  /** Whether it carries everybody's mail. */
  readonly isRelay: (ip: string) => boolean
  readonly newId: (now: number) => string
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly metrics: Pick<Metrics, 'balancerProbes' | 'balancerErrors' | 'standingsRaised'>
  readonly warnings: Pick<BalancerWarnings, 'noHeader'>
  /** How long a balancer may take to send its header, in milliseconds. Default: HEADER_DEADLINE_MS. */
  readonly headerDeadlineMs?: number
}

/**
 * `probe`: a balancer's own health check, which belongs to no client; `ip` is the
 * balancer's. `bad`: a balancer without a valid header; `why` is for the log.
 */
export type Identity =
  | { readonly kind: 'client'; readonly client: Client }
  | { readonly kind: 'bad'; readonly client: Client; readonly why: string }
  | { readonly kind: 'probe'; readonly ip: string }

/** @returns undefined if the client is gone already */
export type Identify = (socket: Socket) => Identity | Promise<Identity> | undefined

const HEADER_DEADLINE_MS = 5000

/** What is needed of a client. */
type ClientParts = Pick<
  IdentifyParts,
  'standingOf' | 'countedAs' | 'domainOf' | 'isRelay' | 'newId' | 'now' | 'metrics'
>

class IdentifiedClient implements Client {
  readonly id: string
  readonly ip: string
  readonly port: number
  readonly family: 4 | 6
  readonly source: string
  readonly net: string
  standing: Standing
  countedAs: string | undefined
  domain: string | undefined
  readonly isRelay: boolean
  readonly isDirect: boolean
  readonly #parts: ClientParts
  readonly #local: Socket | Endpoint

  /**
   * @param local the address that the client connected to, or the socket that knows it
   * @param isDirect whether the address is that of the socket
   */
  constructor(parts: ClientParts, { ip, port }: Endpoint, local: Socket | Endpoint, isDirect: boolean) {
    const { standingOf, countedAs, domainOf, isRelay, newId, now } = parts
    this.id = newId(now())
    this.ip = ip
    this.port = port
    this.family = familyOf(ip)
    this.source = sourceOf(ip)
    this.net = netOf(ip)
    this.domain = domainOf(ip)
    this.standing = standingOf(this)
    this.countedAs = countedAs(this)
    this.isRelay = isRelay(ip)
    this.isDirect = isDirect
    this.#parts = parts
    this.#local = local
  }

  /**
   * Called before a message is judged. A new client may become seen, and a known one may no longer be known if its network has turned meanwhile: what
   * was taken or charged for it so far is the same for both, or is given back by the value that was taken.
   */
  lookAgain(): void {
    if (this.standing === 'known') {
      const { standingOf, countedAs } = this.#parts
      this.countedAs = countedAs(this)
      if (this.countedAs !== undefined) this.standing = standingOf(this)
      return
    }
    if (this.domain !== undefined || (this.standing !== 'new' && this.standing !== 'seen') || this.isRelay) return
    const { domainOf, standingOf, metrics } = this.#parts
    this.domain = domainOf(this.ip)
    if (this.domain === undefined || this.standing !== 'new' || !isFriend({ standing: standingOf(this) })) return
    this.standing = 'seen'
    metrics.standingsRaised.inc()
  }

  /** The system is asked only when somebody needs the address. Nobody does for a refused client. */
  get local(): Endpoint {
    const local = this.#local
    if ('ip' in local) return local
    return { ip: canonical(local.localAddress ?? '0.0.0.0'), port: local.localPort ?? 0 }
  }
}

export function createIdentify(parts: IdentifyParts): Identify {
  const { isBalancer, metrics, warnings, headerDeadlineMs = HEADER_DEADLINE_MS } = parts

  /** @param own address and port of the balancer's side of the connection */
  const behind = (own: Endpoint, socket: Socket, header: Heard): Identity => {
    if (header.state === 'bad') {
      metrics.balancerErrors.inc()
      warnings.noHeader(own.ip, header.why)
      return { kind: 'bad', client: new IdentifiedClient(parts, own, socket, false), why: header.why }
    }
    const source = header.state === 'ok' && !header.local ? header.source : undefined
    if (header.state === 'silent' || source === undefined || source.ip === own.ip) {
      metrics.balancerProbes.inc()
      return { kind: 'probe', ip: own.ip }
    }
    const client = new IdentifiedClient(parts, source, header.destination ?? socket, false)
    return { kind: 'client', client }
  }

  return (socket) => {
    const address = socket.remoteAddress
    // The client left before we looked.
    if (address === undefined) return undefined
    const own = { ip: canonical(address), port: socket.remotePort ?? 0 }
    if (!isBalancer(own.ip)) return { kind: 'client', client: new IdentifiedClient(parts, own, socket, true) }
    return readHeader(socket, headerDeadlineMs).then((header) => behind(own, socket, header))
  }
}

type Heard = Exclude<ProxyHeader, { state: 'more' }> | { readonly state: 'silent' }

/** Reads the header and puts back into the socket what came after it. Never rejects. */
function readHeader(socket: Socket, deadlineMs: number): Promise<Heard> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0)
    const settle = (heard: Heard): void => {
      clearTimeout(timer)
      socket.off('data', read)
      socket.off('end', ended)
      socket.off('close', ended)
      socket.pause()
      resolve(heard)
    }
    const timer = setTimeout(() => settle({ state: 'bad', why: `no header in ${deadlineMs} ms` }), deadlineMs)
    const ended = (): void =>
      settle(bytes.length === 0 ? { state: 'silent' } : { state: 'bad', why: 'closed within the header' })
    const read = (chunk: Buffer): void => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
      const header = parseProxyHeader(bytes)
      if (header.state === 'more') return
      settle(header)
      if (header.state === 'ok' && header.length < bytes.length) socket.unshift(bytes.subarray(header.length))
    }
    socket.on('data', read)
    socket.once('end', ended)
    socket.once('close', ended)
    socket.resume()
  })
}
