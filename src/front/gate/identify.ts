/**
 * Who is it? The address the socket has, or the one a listed balancer gives in its PROXY header; with it the source, the
 * neighbourhood and the standing under which everything else judges. Headers of others are bytes like any other.
 */
import type { Socket } from 'node:net'
import type { Client, Standing } from '../../core/client.ts'
import { canonical, type Endpoint, familyOf, netOf, sourceOf } from '../../core/ip.ts'
import type { Log } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import { type ProxyHeader, parseProxyHeader } from './proxy-protocol.ts'

export interface IdentifyParts {
  readonly isBalancer: (ip: string) => boolean
  readonly isTrusted: (ip: string) => boolean
  readonly newId: (now: number) => string
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly metrics: Pick<Metrics, 'balancerProbes' | 'balancerErrors'>
  readonly log: Log
  /** How long a balancer may take for its header, in milliseconds. Default: HEADER_DEADLINE_MS. */
  readonly headerDeadlineMs?: number
}

/** `probe`: a balancer's own health check, which is nobody's connection. `bad`: a balancer without a valid header. */
export type Identity =
  | { readonly kind: 'client'; readonly client: Client; readonly direct: boolean }
  | { readonly kind: 'bad'; readonly client: Client }
  | { readonly kind: 'probe' }

export type Identify = (socket: Socket) => Identity | Promise<Identity> | undefined

/** How long a balancer may take for its header. */
const HEADER_DEADLINE_MS = 5000

class IdentifiedClient implements Client {
  readonly id: string
  readonly ip: string
  readonly port: number
  readonly family: 4 | 6
  readonly source: string
  readonly net: string
  readonly connectedAt: number
  readonly standing: Standing
  readonly #local: Socket | Endpoint

  /** @param local where the client connected to, or the socket that knows it */
  constructor(id: string, ip: string, port: number, connectedAt: number, standing: Standing, local: Socket | Endpoint) {
    this.id = id
    this.ip = ip
    this.port = port
    this.family = familyOf(ip)
    this.source = sourceOf(ip)
    this.net = netOf(ip)
    this.connectedAt = connectedAt
    this.standing = standing
    this.#local = local
  }

  /** Asked of the system only where somebody wants to know: a refused client's is never looked at. */
  get local(): Endpoint {
    const local = this.#local
    if ('ip' in local) return local
    return { ip: canonical(local.localAddress ?? '0.0.0.0'), port: local.localPort ?? 0 }
  }
}

export function createIdentify(parts: IdentifyParts): Identify {
  const { isBalancer, isTrusted, newId, now, metrics, log, headerDeadlineMs = HEADER_DEADLINE_MS } = parts

  const clientAt = (ip: string, port: number, local: Socket | Endpoint): Client => {
    const connectedAt = now()
    return new IdentifiedClient(newId(connectedAt), ip, port, connectedAt, isTrusted(ip) ? 'trusted' : 'new', local)
  }

  return (socket) => {
    const address = socket.remoteAddress
    // Gone before we looked.
    if (address === undefined) return undefined
    const ip = canonical(address)
    const port = socket.remotePort ?? 0
    if (!isBalancer(ip)) return { kind: 'client', client: clientAt(ip, port, socket), direct: true }
    return readHeader(socket, headerDeadlineMs).then((header): Identity => {
      if (header.state === 'ok') {
        const { source, destination, local } = header
        if (local) {
          metrics.balancerProbes.inc()
          return { kind: 'probe' }
        }
        if (source === undefined) return { kind: 'client', client: clientAt(ip, port, socket), direct: false }
        return { kind: 'client', client: clientAt(source.ip, source.port, destination ?? socket), direct: false }
      }
      if (header.state === 'silent') {
        metrics.balancerProbes.inc()
        return { kind: 'probe' }
      }
      metrics.balancerErrors.inc()
      log.warn({ ip, why: header.why }, 'balancer sent no valid PROXY header')
      return { kind: 'bad', client: clientAt(ip, port, socket) }
    })
  }
}

type Heard = Exclude<ProxyHeader, { state: 'more' }> | { readonly state: 'silent' }

/** Reads the header and puts what came behind it back into the socket. Never rejects. */
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
