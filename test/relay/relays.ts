/**
 * The relay without the front: upstreams, and clients' relays towards them, with patience short enough for tests. What
 * the front does (parsing, replies) is not in the way here, and a client can be made to leave at any moment.
 */

import type { UpstreamAddress } from '../../src/config/address-kinds.ts'
import { type Clock, SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { Current } from '../../src/core/current.ts'
import { netOf, sourceOf } from '../../src/core/ip.ts'
import type { Name } from '../../src/dns/names.ts'
import type { Patience } from '../../src/relay/pool/patience.ts'
import type { PoolSettings } from '../../src/relay/pool/pool-settings.ts'
import type { Server } from '../../src/relay/pool/server.ts'
import type { Slot } from '../../src/relay/pool/slot.ts'
import { Turn } from '../../src/relay/pool/turn.ts'
import { Upstreams } from '../../src/relay/pool/upstreams.ts'
import type { UpstreamsOptions } from '../../src/relay/pool/upstreams-options.ts'
import type { ClientAttributes } from '../../src/relay/smtp/client-attributes.ts'
import type { DialSettings } from '../../src/relay/smtp/dial.ts'
import type { Answer } from '../../src/relay/transaction/answer.ts'
import { type Budgets, Relay, type RelaySettings } from '../../src/relay/transaction/relay.ts'
import type { Fields, Log } from '../../src/telemetry/log.ts'
import { createMetrics, type Metrics } from '../../src/telemetry/metrics.ts'
import { eventually } from '../support/app.ts'
import { OF_PROCESS } from '../support/of-process.ts'
import type { Upstream } from '../support/upstream.ts'

export interface RelaysOptions {
  readonly dial?: Partial<DialSettings>
  readonly settings?: Partial<Omit<RelaySettings, 'dial'>>
  readonly budgets?: Partial<Budgets>
  readonly patience?: Partial<Patience>
  readonly maxConnections?: number
  readonly relayGuard?: boolean
  readonly healthIntervalMs?: number
  readonly healthTimeoutMs?: number
  readonly resolve?: UpstreamsOptions['resolve']
  readonly addresses?: readonly UpstreamAddress[]
  readonly name?: Name
  /** Of the pool. */
  readonly clock?: Clock
}

export interface Relays {
  readonly upstreams: Upstreams
  /** What the upstreams obey at the start. */
  readonly pool: PoolSettings
  readonly metrics: Metrics
  readonly told: { level: string; msg: string; fields: Fields }[]
  /** A client's relay; `ip` and `helo` as its upstream is to see them. */
  client(helo?: string, ip?: string): Relay
  /** A slot without a relay, for somebody at `source`. */
  slot(avoid?: Server, source?: string, given?: AbortSignal, slow?: boolean): Promise<Slot>
  /** Connections held to all upstreams: slots in use, and kept ones. */
  held(): number
  /** Leaves with every client, and stops. */
  stop(): Promise<void>
}

export const attributesOf = (
  helo = 'client.example',
  ip = '198.51.100.7',
  more: Partial<ClientAttributes> = {},
): ClientAttributes => ({
  client: {
    id: 'K7Q2M9XWTA',
    ip,
    port: 40_123,
    family: ip.includes(':') ? 6 : 4,
    source: sourceOf(ip),
    net: netOf(ip),
    local: { ip: '192.0.2.25', port: 25 },
  },
  helo,
  esmtp: true,
  tls: undefined,
  ...more,
})

export const dialSettings = (more: Partial<DialSettings> = {}, name: Name = { kind: 'none' }): DialSettings => ({
  clientIp: 'none',
  tls: 'off',
  hostname: 'mx.test.example',
  connectTimeoutMs: 1000,
  replyTimeoutMs: 2000,
  names: async () => name,
  elapsed: SYSTEM_CLOCK.elapsed,
  ...more,
})

export async function startRelays(servers: readonly Upstream[], options: RelaysOptions = {}): Promise<Relays> {
  const told: Relays['told'] = []
  const tell =
    (level: string) =>
    (fields: Fields, msg: string): void => {
      told.push({ level, msg, fields })
    }
  const log: Log = {
    debug: tell('debug'),
    info: tell('info'),
    warn: tell('warn'),
    error: tell('error'),
    flush: () => undefined,
  }
  const addresses =
    options.addresses ??
    servers.map(({ address, port }) => ({ label: address, host: address.slice(0, address.lastIndexOf(':')), port }))
  const metrics = createMetrics({
    ...{ version: 'test', upstreams: addresses.map(({ label }) => label) },
    ofProcess: OF_PROCESS,
  })
  const dial = dialSettings(options.dial, options.name)
  const pool: PoolSettings = {
    addresses,
    connections: { floor: options.maxConnections ?? 50, ceiling: options.maxConnections ?? 50 },
    healthIntervalMs: options.healthIntervalMs ?? 60_000,
    healthTimeoutMs: options.healthTimeoutMs ?? 5000,
    relayGuard: options.relayGuard ?? false,
    dial,
  }
  const upstreams = new Upstreams({
    ...pool,
    metrics,
    log,
    clock: options.clock ?? SYSTEM_CLOCK,
    ...(options.patience && { patience: options.patience }),
    ...(options.resolve && { resolve: options.resolve }),
  })
  await upstreams.start()
  // It starts with the first server that is up; most tests want to know of all.
  if (options.patience?.startMs === undefined) {
    const isTold = (): boolean => upstreams.servers().every(({ state }) => state !== 'unknown')
    await eventually(isTold, (told) => told)
  }
  const clients: Relay[] = []
  return {
    upstreams,
    pool,
    metrics,
    told,
    client(helo, ip) {
      const attributes = attributesOf(helo, ip)
      const relay = new Relay(
        {
          upstreams,
          settings: new Current<RelaySettings>({
            dial,
            dataTimeoutMs: 660_000,
            bareNewline: 'normalize',
            trace: false,
            hostname: 'mx.test.example',
            ...options.settings,
            ...(options.budgets && { budgets: options.budgets }),
          }),
          metrics,
          log,
          clock: { ...SYSTEM_CLOCK, now: () => Date.UTC(2026, 10, 21, 21, 0, 0) },
        },
        { attributes, typesSlowly: false, standing: 'new' },
      )
      clients.push(relay)
      return relay
    },
    slot: (avoid, source = '198.51.100.7', given, slow = false) =>
      upstreams.slots.take(
        { source, net: netOf(source), slow, standing: 'new', turn: new Turn(0), giveWay: () => undefined },
        avoid,
        given && (() => given),
      ),
    held: () => upstreams.conditions().reduce((sum, { connections }) => sum + connections, 0),
    async stop() {
      await Promise.all(clients.map((client) => client.close()))
      upstreams.stop()
    },
  }
}

export const MAIL = { mailLine: 'MAIL FROM:<a@sender.example>', needs: [] }
export const RCPT = 'RCPT TO:<anna@example.test>'
export const BODY = Buffer.from('Subject: test\r\n\r\nhello\r\n')

/** An answer as a client would read it: code and lines, or the reason of our refusal. */
export const read = (answer: Answer): string =>
  answer.kind === 'reply' ? [answer.reply.code, ...answer.reply.lines].join(' ') : `refused: ${answer.refusal.reason}`

/** A whole message; the answer to the first command that was not granted, or to the dot. */
export async function send(relay: Relay, body: Buffer = BODY, rcpt = RCPT): Promise<string> {
  const taken = await relay.rcpt(MAIL, rcpt)
  if (relay.accepted === 0) {
    relay.reset()
    return read(taken)
  }
  const go = await relay.data()
  if (go.kind !== 'reply' || go.reply.code !== 354) {
    relay.reset()
    return read(go)
  }
  await relay.write(body)
  const { answer } = await relay.end()
  relay.reset()
  return read(answer)
}
