/**
 * The mail servers behind us: their names and addresses, the rounds of health checks, and the extensions that all of them offer.
 * Names are resolved in each round, and every address is a server of its own. Labels stay as the operator wrote them.
 */
import type { UpstreamAddress } from '../../config/address-kinds.ts'
import { STANDINGS } from '../../core/client.ts'
import { Current } from '../../core/current.ts'
import { within } from '../../core/deadline.ts'
import { recordOf } from '../../core/record.ts'
import { type DialSettings, type Extensions, isSameWay, RELAYABLE } from '../smtp/dial.ts'
import { type Report, reportOf, reportsOf } from './conditions.ts'
import { Drained } from './drained.ts'
import { Draining } from './draining.ts'
import { Health } from './health.ts'
import { limitOf, newServer } from './new-server.ts'
import { offerOf } from './offer.ts'
import { PATIENCE, type Patience } from './patience.ts'
import type { PoolSettings } from './pool-settings.ts'
import { Resolution, systemResolve } from './resolution.ts'
import type { Server } from './server.ts'
import { ofStrangers } from './shares.ts'
import type { Slot } from './slot.ts'
import { Slots } from './slots.ts'
import type { UpstreamsOptions } from './upstreams-options.ts'

export class Upstreams {
  readonly #options: UpstreamsOptions
  readonly #settings: Current<PoolSettings>
  readonly #patience: Patience
  /** The connections to all of them. */
  readonly slots: Slots
  /** Those that get no new mail for a while, because the operator says so. */
  readonly drained: Drained
  readonly #resolution: Resolution
  readonly #draining: Draining
  #healths: readonly Health[] = []
  #servers: readonly Server[] = []
  #offer: Extensions | undefined
  #timer: NodeJS.Timeout | undefined
  /** Called whenever a server is judged to be up. */
  #firstUp: () => void = () => undefined
  #stopped = false

  constructor(options: UpstreamsOptions) {
    const { clock, log, metrics, resolve = systemResolve } = options
    this.#options = options
    this.#settings = new Current<PoolSettings>(options)
    this.#patience = { ...PATIENCE, ...options.patience }
    this.#draining = new Draining(log)
    this.#resolution = new Resolution({ resolve, isWanted: (label) => this.#isWanted(label), log, now: clock.now })
    this.slots = new Slots({
      servers: () => this.#servers,
      isAnyExpected: () => this.#settings.value.addresses.some(({ label }) => this.#isExpected(label)),
      max: ({ limit }) => limit,
      reserve: options.reserve ?? (() => 0),
      isUsable: ({ settings }) => this.isCurrent(settings),
      released: (server) => {
        if (server.state === 'draining' && server.connections === 0) this.#forgetDrained()
      },
      waitMs: this.#patience.slotMs,
      waiting: this.#patience.waiting,
      idleMs: this.#patience.idleMs,
      elapsed: clock.elapsed,
      waited: metrics.upstreamSlotWait.of(),
      queued: recordOf(STANDINGS, (standing) => metrics.admissionWait.of(standing)),
    })
    this.drained = new Drained({
      servers: () => [...this.#servers, ...this.#draining.servers],
      taken: (server) => this.slots.letGo(server),
      changed: () => this.#changed(),
    })
  }

  /**
   * Checks all servers, now and then at intervals. Resolves when one is up, so that its extensions are known before the first
   * client asks; when all have been found not to be up; or after a moment, so that a server that hangs does not keep the port
   * closed.
   */
  async start(): Promise<void> {
    this.#schedule()
    const firstUp = new Promise<void>((resolve) => {
      this.#firstUp = resolve
    })
    await within(Promise.race([this.#round(), firstUp]), this.#patience.startMs, () => undefined)
  }

  /**
   * From now on these settings are in force. Servers that are new are checked, and then used. Servers that are gone get nothing
   * more, and are forgotten when their last connection is closed. If servers are reached in another way than before, each is
   * checked again before it gets more. What is under way goes on as it began.
   */
  apply(next: PoolSettings): void {
    const before = this.#settings.value
    this.#settings.swap(next)
    this.#resolution.forget()
    const isAnew = !isSameWay(before.dial, next.dial) || (next.relayGuard && !before.relayGuard)
    const removed = this.#healths.filter(({ server, gone }) => !this.#isWanted(server.label) || (isAnew && gone))
    const stay = this.#healths.filter((health) => !removed.includes(health))
    for (const health of isAnew ? this.#healths : removed) health.stop()
    // Clients look for another server as soon as theirs is no longer up. They must find none that is not to be used.
    this.#know(isAnew ? [] : stay)
    for (const { server } of removed) this.#draining.add(server)
    if (isAnew) this.#know(stay.map(({ server }) => this.#newHealth(server.forget())))
    this.#publish()
    for (const { server } of [...removed, ...(isAnew ? stay : [])]) this.slots.letGo(server)
    if (next.connections.ceiling < before.connections.ceiling)
      for (const server of this.#servers) this.slots.dropIdle(server)
    this.#forgetDrained()
    this.#changed()
    if (this.#timer === undefined || this.#stopped) return
    if (next.healthIntervalMs !== before.healthIntervalMs) this.#schedule()
    if (isAnew || this.#settings.value.addresses.some(({ label }) => this.#isExpected(label))) void this.#round()
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    this.slots.stop()
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
    return limitOf(this.#of(label), this.#settings.value.connections)
  }

  /** How many of them strangers may hold. */
  strangersLimit(label: string): number {
    const { reserve = () => 0 } = this.#options
    return this.#of(label).reduce((sum, server) => sum + ofStrangers(server, server.limit, reserve()), 0)
  }

  servers(): readonly Server[] {
    return this.#servers
  }

  /** Each address of each server, and each name that has no address. Servers that are no longer among the settings come last. */
  conditions(): readonly Report[] {
    const now = this.#options.clock.now()
    const inUse = this.#settings.value.addresses.flatMap((address) => {
      const servers = this.#healths.map(({ server }) => server).filter(({ label }) => label === address.label)
      return reportsOf(address, servers, this.#resolution.failure(address.label), now)
    })
    return [...inUse, ...this.#draining.servers.map(reportOf)]
  }

  /** Whether new connections are still opened under these settings, or in the same way. */
  isCurrent(dial: DialSettings): boolean {
    return isSameWay(dial, this.#settings.value.dial)
  }

  /** Whether a connection may carry no further transaction, however well it is. */
  isOutdated({ slot, settings }: { readonly slot: Slot; readonly settings: DialSettings }): boolean {
    return slot.server.isLeaving || !this.isCurrent(settings)
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
    return [...this.#servers, ...this.#draining.servers].filter((server) => server.label === label)
  }

  #isWanted(label: string): boolean {
    return this.#settings.value.addresses.some((each) => each.label === label)
  }

  /** Whether the addresses of a server are about to be known. */
  #isExpected(label: string): boolean {
    if (this.drained.has(label)) return false
    return this.#resolution.failure(label) === undefined && !this.#healths.some(({ server }) => server.label === label)
  }

  #schedule(): void {
    clearInterval(this.#timer)
    this.#timer = setInterval(() => void this.#round(), this.#settings.value.healthIntervalMs).unref()
  }

  /** A name that takes long to resolve holds up no other, and the addresses it had are checked meanwhile. */
  async #round(): Promise<void> {
    this.#forgetGone()
    await Promise.all(
      this.#settings.value.addresses.map(async (address) => {
        await this.#resolve(address)
        if (this.#stopped) return
        const mine = this.#healths.filter(({ server, gone }) => server.label === address.label && !gone)
        await Promise.all(mine.map((health) => health.check()))
      }),
    )
  }

  async #resolve(address: UpstreamAddress): Promise<void> {
    const addresses = await this.#resolution.addressesOf(address)
    if (addresses === undefined || !this.#isWanted(address.label)) {
      // Those that waited for this server need not wait any longer.
      this.slots.serve()
      return
    }
    const mine = this.#healths.filter(({ server }) => server.label === address.label)
    const fresh = addresses
      .filter((host) => mine.every(({ server }) => server.host !== host))
      .map((host) => this.#newHealth(this.#serverAt(address, host)))
    this.#know([...this.#healths, ...fresh])
    for (const health of mine) {
      health.gone = !addresses.includes(health.server.host)
      if (!health.gone) continue
      health.server.become('down', 'its name does not resolve to this address any more')
      this.slots.dropIdle(health.server)
    }
    this.#forgetGone()
  }

  /** A new server, or the one that was there before and still has connections: they count. */
  #serverAt({ label, port, host: name }: UpstreamAddress, host: string): Server {
    const before = this.#draining.takeBack(label, host)
    if (before !== undefined) return this.drained.tell(before.forget())
    const bounds = () => this.#settings.value.connections
    const { isPressed = () => false } = this.#options
    const around = { ...this.#options, bounds, isPressed, servers: () => this.#servers }
    return this.drained.tell(newServer({ label, host, port, name }, around))
  }

  #newHealth(server: Server): Health {
    const { metrics, log, clock } = this.#options
    const { healthMs, guardMs, guardAgainMs } = this.#patience
    return new Health(server, {
      settings: this.#settings,
      clock,
      checkMs: healthMs,
      guardMs,
      guardAgainMs,
      metrics,
      log,
      judged: () => {
        if (server.up) this.#firstUp()
        else this.slots.dropIdle(server)
        this.#changed()
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

  #forgetDrained(): void {
    if (this.#draining.forget()) this.#publish()
  }

  /** Tells the metrics which servers there are. */
  #publish(): void {
    const wanted = this.#settings.value.addresses.map(({ label }) => label)
    this.#options.metrics.setUpstreams(wanted, [
      ...new Set([...wanted, ...this.#draining.servers.map(({ label }) => label)]),
    ])
  }

  /** Other servers are used than before, or they offer something else. */
  #changed(): void {
    const inUse = this.#servers.filter(({ up }) => up).map(({ extensions }) => extensions)
    if (inUse.length > 0) this.#offer = offerOf(inUse)
    this.slots.serve()
  }
}
