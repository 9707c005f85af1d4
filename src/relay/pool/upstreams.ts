/**
 * The mail servers behind us: their names and addresses, the rounds of health checks, and the extensions that all of them offer.
 * Names are resolved in each round, and every address is a server of its own. Labels stay as the operator wrote them.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { UpstreamAddress } from '../../config/address-kinds.ts'
import type { Clock } from '../../core/clock.ts'
import { within } from '../../core/deadline.ts'
import { messageOf } from '../../core/errors.ts'
import type { Log } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import { type DialSettings, type Extensions, RELAYABLE } from '../smtp/dial.ts'
import type { Holder } from './fairness.ts'
import { Health } from './health.ts'
import { offerOf } from './offer.ts'
import { PATIENCE, type Patience } from './patience.ts'
import { seriesOf } from './series.ts'
import { type Condition, Server } from './server.ts'
import { type Slot, Slots } from './slots.ts'

export interface UpstreamsOptions {
  readonly addresses: readonly UpstreamAddress[]
  readonly maxConnections: number
  readonly healthIntervalMs: number
  /** How long a server may take to answer a health check, in milliseconds, before it counts as slow. */
  readonly healthTimeoutMs: number
  /** Whether servers are asked, before they are used, if they relay for strangers. */
  readonly relayGuard: boolean
  readonly dial: DialSettings
  readonly metrics: Pick<
    Metrics,
    'upstreamSlotWait' | 'upstreamHealthChecks' | 'upstreamConnects' | 'upstreamReplies' | 'upstreamReplyDuration'
  >
  readonly log: Log
  readonly clock: Clock
  /** Overrides `PATIENCE`, for callers that cannot wait that long. */
  readonly patience?: Partial<Patience>
  /** Finds all addresses of a name; by default as the system does. */
  readonly resolve?: (name: string) => Promise<readonly string[]>
}

const systemResolve = async (name: string): Promise<readonly string[]> =>
  (await lookup(name, { all: true })).map(({ address }) => address)

export class Upstreams {
  readonly #options: UpstreamsOptions
  readonly #patience: Patience
  readonly #slots: Slots
  /** Labels whose name is being resolved. */
  readonly #resolving = new Set<string>()
  /** The condition of each name that does not resolve at present, by label. */
  readonly #unresolved = new Map<string, Condition>()
  #healths: readonly Health[] = []
  #servers: readonly Server[] = []
  #offer: Extensions | undefined
  #timer: NodeJS.Timeout | undefined
  /** Called whenever a server is judged to be up. */
  #firstUp: () => void = () => undefined
  #stopped = false

  constructor(options: UpstreamsOptions) {
    this.#options = options
    const patience = { ...PATIENCE, ...options.patience }
    this.#patience = patience
    this.#slots = new Slots({
      servers: () => this.#servers,
      max: options.maxConnections,
      waitMs: patience.slotMs,
      waiting: patience.waiting,
      idleMs: patience.idleMs,
      elapsed: options.clock.elapsed,
      waited: options.metrics.upstreamSlotWait.of(),
    })
  }

  /**
   * Checks all servers, now and then at intervals. Resolves when one is up, so that its extensions are known before the first
   * client asks; when all have been found not to be up; or after a moment, so that a server that hangs does not keep the port
   * closed.
   */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#round(), this.#options.healthIntervalMs)
    this.#timer.unref()
    const firstUp = new Promise<void>((resolve) => {
      this.#firstUp = resolve
    })
    await within(Promise.race([this.#round(), firstUp]), this.#patience.startMs, () => undefined)
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    this.#slots.stop()
  }

  /**
   * The extensions that every server in use offers, of those that pass through us; while no server is up, the last known.
   * Undefined: no server has been up yet.
   */
  get offer(): Extensions | undefined {
    return this.#offer
  }

  isUp(label: string): boolean {
    return this.#servers.some((server) => server.label === label && server.up)
  }

  connections(label: string): number {
    return this.#of(label).reduce((sum, { connections }) => sum + connections, 0)
  }

  /** Connections that may be held to all addresses of this label together. */
  limit(label: string): number {
    return this.#options.maxConnections * Math.max(1, this.#of(label).length)
  }

  servers(): readonly Server[] {
    return this.#servers
  }

  /** The condition of each address of each server, and of each name that has no address. Addresses are `host:port`. */
  conditions(): readonly {
    readonly upstream: string
    readonly address: string
    readonly connections: number
    readonly condition: Condition
  }[] {
    return this.#options.addresses.flatMap(({ label, host, port }) => {
      const servers = this.#of(label)
      const unresolved = this.#unresolved.get(label)
      if (servers.length === 0) {
        const condition = unresolved ?? {
          state: 'unknown',
          since: this.#options.clock.now(),
          error: undefined,
          lastSuccess: undefined,
        }
        return [{ upstream: label, address: `${host}:${port}`, connections: 0, condition }]
      }
      return servers.map((server) => ({
        upstream: label,
        address: `${server.host}:${server.port}`,
        connections: server.connections,
        condition: server.condition,
      }))
    })
  }

  /** Whether any client waits for a slot. */
  get wanted(): boolean {
    return this.#slots.wanted
  }

  /** See Slots.takeBeside. */
  slotBeside(server: Server, holder: Holder): Slot | undefined {
    return this.#slots.takeBeside(server, holder)
  }

  /** See Slots.take. */
  slot(holder: Holder, avoid?: Server, signal?: () => AbortSignal): Promise<Slot> {
    return this.#slots.take(holder, avoid, signal)
  }

  /** Learns from a client's connection what a health check would have found. */
  report(server: Server, error: unknown, source = ''): void {
    if (!this.#stopped) this.#healths.find((each) => each.server === server)?.report(error, source)
  }

  /** Learns that a client's MAIL was answered. */
  served(server: Server): void {
    this.#healths.find((each) => each.server === server)?.served()
  }

  /** Learns which extensions a client's connection was offered. */
  offered(server: Server, extensions: Extensions): void {
    const lacks = RELAYABLE.some((keyword) => server.extensions.has(keyword) && !extensions.has(keyword))
    if (lacks && !this.#stopped) this.#healths.find((each) => each.server === server)?.lacking()
  }

  #of(label: string): readonly Server[] {
    return this.#servers.filter((server) => server.label === label)
  }

  /** A name that takes long to resolve holds up no other, and the addresses it had are checked meanwhile. */
  async #round(): Promise<void> {
    this.#forgetGone()
    await Promise.all(
      this.#options.addresses.map(async (address) => {
        await this.#resolve(address)
        if (this.#stopped) return
        const mine = this.#healths.filter(({ server, gone }) => server.label === address.label && !gone)
        await Promise.all(mine.map((health) => health.check()))
      }),
    )
  }

  async #resolve({ label, host, port }: UpstreamAddress): Promise<void> {
    let addresses: readonly string[] = [host]
    if (isIP(host) === 0) {
      if (this.#resolving.has(label)) return
      this.#resolving.add(label)
      try {
        addresses = [...new Set(await (this.#options.resolve ?? systemResolve)(host))]
        if (addresses.length === 0) throw new Error('it has no address')
        this.#unresolved.delete(label)
      } catch (error) {
        this.#notResolved(label, messageOf(error))
        return
      } finally {
        this.#resolving.delete(label)
      }
    }
    const mine = this.#healths.filter(({ server }) => server.label === label)
    const series = seriesOf(this.#options.metrics, label)
    const fresh = addresses
      .filter((address) => mine.every(({ server }) => server.host !== address))
      .map((address) => new Server({ label, host: address, port, name: host, series, now: this.#options.clock.now }))
      .map((server) => this.#newHealth(server))
    this.#know([...this.#healths, ...fresh])
    for (const health of mine) {
      health.gone = !addresses.includes(health.server.host)
      if (!health.gone) continue
      health.server.become('down', 'its name does not resolve to this address any more')
      this.#slots.dropIdle(health.server)
    }
    this.#forgetGone()
  }

  /** The addresses found earlier stay good: they are used and checked as before. */
  #notResolved(label: string, why: string): void {
    const error = `name of upstream not resolved: ${why}`
    const before = this.#unresolved.get(label)
    if (before?.error !== error) this.#options.log.warn({ upstream: label }, error)
    const since = before?.since ?? this.#options.clock.now()
    this.#unresolved.set(label, { state: 'down', since, error, lastSuccess: undefined })
  }

  #newHealth(server: Server): Health {
    const { dial, relayGuard, healthIntervalMs, healthTimeoutMs, metrics, log, clock } = this.#options
    const { healthMs, guardMs, guardAgainMs } = this.#patience
    return new Health(server, {
      dial,
      relayGuard,
      intervalMs: healthIntervalMs,
      timeoutMs: healthTimeoutMs,
      clock,
      checkMs: healthMs,
      guardMs,
      guardAgainMs,
      metrics,
      log,
      judged: () => {
        if (server.up) this.#firstUp()
        else this.#slots.dropIdle(server)
        this.#learnOffer()
        this.#slots.serve()
      },
    })
  }

  #know(healths: readonly Health[]): void {
    this.#healths = healths
    this.#servers = healths.map(({ server }) => server)
  }

  /** An address that its name no longer has is counted until its last connection is closed. */
  #forgetGone(): void {
    if (this.#healths.some(({ gone, server }) => gone && server.connections === 0)) {
      this.#know(this.#healths.filter(({ gone, server }) => !gone || server.connections > 0))
    }
  }

  #learnOffer(): void {
    const inUse = this.#servers.filter(({ up }) => up).map(({ extensions }) => extensions)
    if (inUse.length > 0) this.#offer = offerOf(inUse)
  }
}
