/**
 * The connection to Redis, of whatever topology; the home of ioredis.
 *
 * Everything here fails fast: whoever asks has a client on the line and goes on without Redis rather than wait. So there
 * is no queue for commands while the connection is away, no command is sent a second time, and a connection on which no
 * answer comes is dropped. A command that was given up may still be carried out later: what is counted in Redis is counted
 * at least once.
 */
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { RedisAddress } from '../config/redis-kinds.ts'
import { within } from '../core/deadline.ts'
import type { Log } from '../telemetry/log.ts'

export type RedisClient = Redis | Cluster

export interface RedisLink {
  readonly client: RedisClient
  /** Whether commands can be sent now. */
  connected(): boolean
  /** Called when the connection is lost. One listener. */
  onLost(listener: () => void): void
  /** Called with what went wrong, in words, at every attempt to connect that fails. One listener. */
  onTrouble(listener: (reason: string) => void): void
  /** Ends all connections; resolves when they are closed. */
  close(): Promise<void>
}

export interface RedisLinkOptions {
  readonly address: RedisAddress
  /** How long an answer is waited for, in ms. */
  readonly timeoutMs: number
  readonly log: Log
}

const CONNECT_TIMEOUT_MS = 1000
const CLOSE_TIMEOUT_MS = 500
/** Waits between attempts to connect: 50 ms longer each time. Back within a second or two of the server. */
const retry = (times: number): number => Math.min(50 * times, 1000)

/** A client of the topology that the address names, which fails fast; it begins to connect at once. */
function clientOf(address: RedisAddress, timeoutMs: number): RedisClient {
  const { hosts, tls, username, password, db } = address
  const common = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls && { tls: {} }),
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: CLOSE_TIMEOUT_MS,
    // A server that hangs keeps its connections: they are given up, so that commands fail at once.
    socketTimeout: Math.max(300, 4 * timeoutMs),
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    disableClientInfo: true,
    // The master that was made a replica meanwhile: look for the one that took its place.
    reconnectOnError: (error: Error) => (error.message.startsWith('READONLY') ? 1 : false),
  } satisfies RedisOptions
  const fast = { enableOfflineQueue: false, enableAutoPipelining: true }
  if (address.topology === 'cluster') {
    return new Cluster([...hosts], {
      ...fast,
      redisOptions: common,
      clusterRetryStrategy: retry,
      // A node that is lost stays known, so that its commands fail at once and do not wander over the others.
      clusterNodeRetryStrategy: retry,
      // Certificates are made out to names, and addresses are told by the cluster; do not resolve them here.
      ...(tls && { dnsLookup: (host, done) => done(null, host) }),
      maxRedirections: 3,
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 0,
      slotsRefreshInterval: 1000,
      slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
    })
  }
  if (address.topology === 'sentinel') {
    return new Redis({
      ...common,
      ...fast,
      sentinels: [...hosts],
      name: address.master,
      db,
      retryStrategy: retry,
      sentinelRetryStrategy: retry,
      sentinelCommandTimeout: CONNECT_TIMEOUT_MS,
      ...(tls && { enableTLSForSentinelMode: true, sentinelTLS: {} }),
    })
  }
  const [{ host, port }] = hosts as [RedisAddress['hosts'][number]]
  return new Redis({ ...common, ...fast, host, port, db, retryStrategy: retry })
}

/** Starts to connect, and goes on trying until it is closed. Never throws because Redis is away. */
export function connectRedis({ address, timeoutMs, log }: RedisLinkOptions): RedisLink {
  const client = clientOf(address, timeoutMs)
  let lost = (): void => undefined
  let troubled = (_: string): void => undefined
  // The same error comes with every attempt; one line for each kind of it until the connection stands again.
  let told = ''
  client.on('error', (error: Error) => {
    const reason = causeOf(error)
    troubled(reason)
    if (reason === told) return
    told = reason
    log.warn({ err: reason }, 'connection to Redis failed')
  })
  client.on('ready', () => {
    told = ''
  })
  client.on('close', () => lost())
  client.on('end', () => lost())
  return {
    client,
    connected: () => client.status === 'ready',
    onLost(listener) {
      lost = listener
    },
    onTrouble(listener) {
      troubled = listener
    },
    close() {
      lost = () => undefined
      troubled = () => undefined
      const { status } = client
      const ended = new Promise<void>((resolve) => {
        client.once('end', resolve)
      })
      client.disconnect()
      // Between two attempts nothing is open, and no 'end' comes.
      if (status === 'end' || status === 'reconnecting') client.emit('end')
      return within(ended, CLOSE_TIMEOUT_MS, () => undefined)
    },
  }
}

/** Of several attempts at once (a name with several addresses, the nodes of a cluster) the error of one is told. */
function causeOf(error: Error & { readonly errors?: readonly Error[]; readonly lastNodeError?: Error }): string {
  const cause = error.lastNodeError ?? error.errors?.[0]
  return [error.message, cause?.message].filter(Boolean).join(': ') || String(error)
}
