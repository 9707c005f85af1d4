/**
 * The connection to Redis, of any topology; the home of ioredis.
 *
 * Everything here fails fast, so that what is told of a lost connection is no more than one pipeline. There is no queue for
 * commands while the connection is down, no command is sent a second time, and a connection that gives no answer is dropped.
 * A command that was given up may still be carried out later; whoever repeats it must be able to say so (limiter.ts).
 */
import { createRequire } from 'node:module'
import type { Cluster, Redis, RedisOptions } from 'ioredis'
import type { RedisAddress } from '../config/redis-kinds.ts'
import { within } from '../core/deadline.ts'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../telemetry/log.ts'

export type RedisClient = Redis | Cluster

export interface RedisLink {
  readonly client: RedisClient
  /** Whether commands can be sent. */
  connected(): boolean
  /** Calls the listener when commands can be sent, also again. There is one listener. */
  onReady(listener: () => void): void
  /** Sets the only listener. It is called when the connection is lost. */
  onLost(listener: () => void): void
  /** Sets the only listener. It is called at every failed attempt to connect, with what went wrong in words. */
  onTrouble(listener: (reason: string) => void): void
  /** Ends all connections. Resolves when they are closed. */
  close(): Promise<void>
}

export interface RedisLinkOptions {
  readonly address: RedisAddress
  /** How long to wait for an answer, in ms. */
  readonly timeoutMs: number
  readonly log: Log
}

const CONNECT_TIMEOUT_MS = 1000
const CLOSE_TIMEOUT_MS = 500
/**
 * The wait before the next attempt to connect: 50 ms longer each time, so that we are back a second or two after the
 * server.
 */
const retry = (times: number): number => Math.min(50 * times, 1000)

const require = createRequire(import.meta.url)

/** A client of the topology that the address names. It fails fast, and begins to connect at once. */
function clientOf(address: RedisAddress, timeoutMs: number): RedisClient {
  // Only a node that uses Redis loads it: it is a seventh of the CPU time of a start.
  const { Cluster, Redis } = require('ioredis') as typeof import('ioredis')
  const { hosts, tls, username, password, db } = address
  const common = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls && { tls: {} }),
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: CLOSE_TIMEOUT_MS,
    // A server that hangs keeps its connections open. They are given up, so that commands fail at once.
    socketTimeout: Math.max(300, 4 * timeoutMs),
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    disableClientInfo: true,
    // The master has become a replica: look for the server that took its place.
    reconnectOnError: (error: Error) => (error.message.startsWith('READONLY') ? 1 : false),
  } satisfies RedisOptions
  const fast = { enableOfflineQueue: false, enableAutoPipelining: true }
  if (address.topology === 'cluster') {
    return new Cluster([...hosts], {
      ...fast,
      redisOptions: common,
      clusterRetryStrategy: retry,
      // A lost node stays known, so that its commands fail at once and do not wander to the other nodes.
      clusterNodeRetryStrategy: retry,
      // Certificates are made out to names, and the cluster tells the addresses. Do not resolve them here.
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

/** Starts to connect, and keeps trying until it is closed. It never throws because Redis is away. */
export function connectRedis({ address, timeoutMs, log }: RedisLinkOptions): RedisLink {
  const client = clientOf(address, timeoutMs)
  let ready = (): void => undefined
  let lost = (): void => undefined
  let troubled = (_: string): void => undefined
  // Every attempt brings the same error. Each kind is logged once until the connection is up again.
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
    ready()
  })
  client.on('close', () => lost())
  client.on('end', () => lost())
  return {
    client,
    connected: () => client.status === 'ready',
    onReady(listener) {
      ready = listener
    },
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
      // Between two attempts nothing is open, so that no 'end' event comes.
      if (status === 'end' || status === 'reconnecting') client.emit('end')
      return within(ended, CLOSE_TIMEOUT_MS, () => undefined)
    },
  }
}

/**
 * If several attempts failed at once (a name with several addresses, the nodes of a cluster), one of their errors is
 * told.
 */
function causeOf(error: Error & { readonly errors?: readonly Error[]; readonly lastNodeError?: Error }): string {
  const cause = error.lastNodeError ?? error.errors?.[0]
  const reason = [error.message, cause?.message].filter(Boolean).join(': ') || String(error)
  return withoutArguments(reason)
}

/** A server, or a proxy, that does not know a command repeats what came with it: a password, or the secret of tickets. */
const withoutArguments = (message: string): string => message.replace(/,? *with args beginning with:.*/s, '')

/** As messageOf does, without what a server repeats of a command. */
export const redisMessageOf = (error: unknown): string => withoutArguments(messageOf(error))
