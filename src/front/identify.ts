/**
 * Who is it? The address the socket has, or the one a listed balancer gives in its PROXY header; with it the source, the
 * neighbourhood and the standing under which everything else judges. Headers of others are bytes like any other.
 */
import type { Socket } from 'node:net'
import type { Client, Standing } from '../core/client.ts'
import { canonical, type Endpoint, familyOf, netOf, sourceOf } from '../core/ip.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { type ProxyHeader, parseProxyHeader } from './proxy-protocol.ts'

export interface IdentifyParts {
  readonly isBalancer: (ip: string) => boolean
  readonly isTrusted: (ip: string) => boolean
  readonly newId: (now: number) => string
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly metrics: Pick<Metrics, 'balancerProbes' | 'balancerErrors'>
  readonly log: Log
}

/** `probe`: a balancer's own health check, which is nobody's connection. `bad`: a balancer without a valid header. */
export type Identity =
  | { readonly kind: 'client'; readonly client: Client; readonly direct: boolean }
  | { readonly kind: 'bad'; readonly client: Client }
  | { readonly kind: 'probe' }

export type Identify = (socket: Socket) => Identity | Promise<Identity> | undefined

/** How long a balancer may take for its header. */
export const HEADER_DEADLINE_MS = 5000

export function createIdentify(parts: IdentifyParts): Identify {
  const { isBalancer, isTrusted, newId, now, metrics, log } = parts

  const clientAt = (ip: string, port: number, local: () => Endpoint): Client => {
    const connectedAt = now()
    const standing: Standing = isTrusted(ip) ? 'trusted' : 'new'
    return {
      id: newId(connectedAt),
      ip,
      port,
      family: familyOf(ip),
      source: sourceOf(ip),
      net: netOf(ip),
      connectedAt,
      standing,
      // Asked of the system only where somebody wants to know: a refused client's is never looked at.
      get local() {
        return local()
      },
    }
  }
  const localOf = (socket: Socket) => (): Endpoint => ({
    ip: canonical(socket.localAddress ?? '0.0.0.0'),
    port: socket.localPort ?? 0,
  })

  return (socket) => {
    const address = socket.remoteAddress
    // Gone before we looked.
    if (address === undefined) return undefined
    const ip = canonical(address)
    const port = socket.remotePort ?? 0
    if (!isBalancer(ip)) return { kind: 'client', client: clientAt(ip, port, localOf(socket)), direct: true }
    return readHeader(socket).then((header): Identity => {
      if (header.state === 'ok') {
        const { source, destination, local } = header
        if (local) {
          metrics.balancerProbes.inc()
          return { kind: 'probe' }
        }
        const end = destination === undefined ? localOf(socket) : () => destination
        if (source === undefined) return { kind: 'client', client: clientAt(ip, port, localOf(socket)), direct: false }
        return { kind: 'client', client: clientAt(source.ip, source.port, end), direct: false }
      }
      if (header.state === 'silent') {
        metrics.balancerProbes.inc()
        return { kind: 'probe' }
      }
      metrics.balancerErrors.inc()
      log.warn({ ip, why: header.why }, 'balancer sent no valid PROXY header')
      return { kind: 'bad', client: clientAt(ip, port, localOf(socket)) }
    })
  }
}

type Heard = Exclude<ProxyHeader, { state: 'more' }> | { readonly state: 'silent' }

/** Reads the header and puts what came behind it back into the socket. Never rejects. */
function readHeader(socket: Socket): Promise<Heard> {
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
    const timer = setTimeout(
      () => settle({ state: 'bad', why: `no header in ${HEADER_DEADLINE_MS} ms` }),
      HEADER_DEADLINE_MS,
    )
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
