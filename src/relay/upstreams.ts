/**
 * The mail servers behind us: which are up, what they offer, and who may open a connection to which. Names are resolved
 * at each health round and every address is a server of its own; labels stay as the operator wrote them. A transaction
 * takes a slot at the server with the fewest connections, waits for one for a bounded time, and frees it itself.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Log } from '../telemetry/log.ts'
import type { ConnectResult, Metrics } from '../telemetry/metrics.ts'
import { type Dialed, type DialSettings, dial, type Extensions, UpstreamRefusal } from './dial.ts'
import { isOpenRelay } from './relay-guard.ts'
import { UpstreamError } from './smtp-client.ts'

export interface UpstreamAddress {
  /** As the operator wrote it: the metric label. */
  readonly label: string
  readonly host: string
  readonly port: number
}

/** One address of one upstream. */
export interface Server {
  readonly label: string
  /** For dialling; `name` as the operator wrote it. */
  readonly host: string
  readonly port: number
  readonly name: string
  up: boolean
  extensions: Extensions
  /** Connections open, being opened, or kept. */
  connections: number
}

export class NoUpstream extends Error {
  readonly why: 'upstream_down' | 'upstream_full'
  constructor(why: NoUpstream['why']) {
    super(why)
    this.name = 'NoUpstream'
    this.why = why
  }
}

/** The right to hold one connection to `server`. */
export interface Slot {
  readonly server: Server
  /** An open connection of an earlier client, where that is allowed. */
  readonly kept: Dialed | undefined
  /** Frees the slot; once. */
  free(): void
  /** Leaves an open connection to the next client; frees the slot when nobody has come for it in 5 s. */
  keep(dialed: Dialed): void
}

export interface UpstreamsOptions {
  readonly addresses: readonly UpstreamAddress[]
  readonly maxConnections: number
  readonly healthIntervalMs: number
  /** Whether servers are asked if they relay for strangers before they are used. */
  readonly relayGuard: boolean
  readonly dial: DialSettings
  readonly metrics: Pick<Metrics, 'upstreamSlotWait' | 'upstreamHealthChecks'>
  readonly log: Log
}

/** How long a transaction waits for a slot, in milliseconds: short beside the client's 5 minutes for RCPT. */
const SLOT_WAIT_MS = 10_000
/** Beyond this, waiting is hopeless and costs memory. */
const MAX_WAITING = 1000
/** Failures in a row before a server leaves the rotation. */
const DOWN_AFTER = 2
const KEEP_IDLE_MS = 5000
const GUARD_EVERY_MS = 3_600_000
/** A health check that takes longer is a failure: a server that is this slow to greet takes no mail. */
const HEALTH_DEADLINE_MS = 30_000

/** Extensions that pass through us unchanged, and so may be offered where every server in use offers them. */
const RELAYABLE = ['SIZE', '8BITMIME', 'SMTPUTF8', 'DSN', 'ENHANCEDSTATUSCODES']

interface State {
  readonly server: Server
  readonly idle: { readonly dialed: Dialed; readonly timer: NodeJS.Timeout }[]
  failures: number
  /** performance.now() of the last answer to the relay guard; undefined: never asked. */
  guardedAt: number | undefined
  openRelay: boolean
  checking: boolean
  /** No longer among the addresses of its name. */
  gone: boolean
  /** What was last said of it in the log, so that it is said once. */
  said: string
}

interface Waiting {
  readonly avoid: Server | undefined
  resolve(slot: Slot): void
  reject(error: NoUpstream): void
  readonly timer: NodeJS.Timeout
}

export class Upstreams {
  readonly #options: UpstreamsOptions
  #states: State[] = []
  #waiting: Waiting[] = []
  #offer: Extensions = new Map()
  #timer: NodeJS.Timeout | undefined
  #turn = 0
  #stopped = false

  constructor(options: UpstreamsOptions) {
    this.#options = options
  }

  /** Checks all servers once, so that what they offer is known before the first client asks; then goes on by itself. */
  async start(): Promise<void> {
    await this.#round()
    if (this.#stopped) return
    this.#timer = setInterval(() => void this.#round(), this.#options.healthIntervalMs)
    this.#timer.unref()
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    for (const state of this.#states) this.#dropIdle(state)
    for (const waiting of this.#waiting.splice(0)) this.#giveUp(waiting, 'upstream_down')
  }

  /** What every server in use offers, of what passes through us; the last known while none is up. */
  get offer(): Extensions {
    return this.#offer
  }

  get anyUp(): boolean {
    return this.#states.some(({ server }) => server.up)
  }

  isUp(label: string): boolean {
    return this.#states.some(({ server }) => server.label === label && server.up)
  }

  connections(label: string): number {
    return this.#states.reduce((sum, { server }) => (server.label === label ? sum + server.connections : sum), 0)
  }

  servers(): readonly Server[] {
    return this.#states.map(({ server }) => server)
  }

  /**
   * A slot at the server with the fewest connections, another than `avoid`.
   * @throws NoUpstream when none is up, or none came free in time
   */
  async slot(avoid?: Server): Promise<Slot> {
    const started = performance.now()
    try {
      return await (this.#free(avoid) ?? this.#wait(avoid))
    } finally {
      this.#options.metrics.upstreamSlotWait.of().observe((performance.now() - started) / 1000)
    }
  }

  /** Learns from a client's connection what a health check would have found. */
  report(server: Server, error: unknown): void {
    const state = this.#states.find((each) => each.server === server)
    if (state !== undefined && !this.#stopped) this.#judge(state, error)
  }

  #usable(avoid: Server | undefined): State[] {
    return this.#states.filter(({ server }) => server.up && server !== avoid)
  }

  #free(avoid: Server | undefined): Slot | undefined {
    const usable = this.#usable(avoid)
    if (usable.length === 0) throw new NoUpstream('upstream_down')
    this.#turn++
    let best: State | undefined
    for (let i = 0; i < usable.length; i++) {
      const state = usable[(i + this.#turn) % usable.length] as State
      const room = state.idle.length > 0 || state.server.connections < this.#options.maxConnections
      const busy = state.server.connections - state.idle.length
      if (room && (best === undefined || busy < best.server.connections - best.idle.length)) best = state
    }
    return best && this.#take(best)
  }

  #take(state: State): Slot {
    const { server } = state
    let kept: Dialed | undefined
    for (let idle = state.idle.pop(); idle !== undefined && kept === undefined; idle = state.idle.pop()) {
      clearTimeout(idle.timer)
      if (idle.dialed.smtp.ended || idle.dialed.smtp.unasked) {
        idle.dialed.smtp.destroy()
        server.connections--
      } else {
        kept = idle.dialed
        break
      }
    }
    if (kept === undefined) server.connections++
    let held = true
    const release = (act: () => void): void => {
      if (!held) return
      held = false
      act()
      this.#serveWaiting()
      this.#forgetGone()
    }
    return {
      server,
      kept,
      free: () => release(() => server.connections--),
      keep: (dialed) =>
        release(() => {
          if (dialed.smtp.ended || !server.up || this.#stopped) {
            dialed.smtp.quit()
            server.connections--
            return
          }
          const timer = setTimeout(() => this.#dropIdle(state, dialed), KEEP_IDLE_MS)
          timer.unref()
          state.idle.push({ dialed, timer })
        }),
    }
  }

  #dropIdle(state: State, only?: Dialed): void {
    for (let i = state.idle.length - 1; i >= 0; i--) {
      const { dialed, timer } = state.idle[i] as State['idle'][number]
      if (only !== undefined && dialed !== only) continue
      state.idle.splice(i, 1)
      clearTimeout(timer)
      dialed.smtp.quit()
      state.server.connections--
    }
    this.#serveWaiting()
  }

  #wait(avoid: Server | undefined): Promise<Slot> {
    if (this.#waiting.length >= MAX_WAITING) throw new NoUpstream('upstream_full')
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const at = this.#waiting.indexOf(waiting)
        if (at >= 0) this.#waiting.splice(at, 1)
        this.#giveUp(waiting, 'upstream_full')
      }, SLOT_WAIT_MS)
      const waiting: Waiting = { avoid, resolve, reject, timer }
      this.#waiting.push(waiting)
    })
  }

  #giveUp(waiting: Waiting, why: NoUpstream['why']): void {
    clearTimeout(waiting.timer)
    waiting.reject(new NoUpstream(why))
  }

  #serveWaiting(): void {
    while (this.#waiting.length > 0) {
      const first = this.#waiting[0] as Waiting
      let slot: Slot | undefined
      try {
        slot = this.#free(first.avoid)
      } catch {
        this.#waiting.shift()
        this.#giveUp(first, 'upstream_down')
        continue
      }
      if (slot === undefined) return
      this.#waiting.shift()
      clearTimeout(first.timer)
      first.resolve(slot)
    }
  }

  async #round(): Promise<void> {
    await this.#resolve()
    await Promise.all(this.#states.filter((state) => !state.gone).map((state) => this.#check(state)))
  }

  async #resolve(): Promise<void> {
    for (const { label, host, port } of this.#options.addresses) {
      let addresses = [host]
      if (isIP(host) === 0) {
        try {
          addresses = [...new Set((await lookup(host, { all: true })).map(({ address }) => address))]
        } catch (error) {
          this.#say(label, 'warn', `name of upstream not resolved: ${(error as Error).message}`)
          continue
        }
      }
      const mine = this.#states.filter(({ server }) => server.label === label)
      for (const state of mine) state.gone = !addresses.includes(state.server.host)
      for (const address of addresses) {
        if (mine.some(({ server }) => server.host === address)) continue
        const server = { label, host: address, port, name: host, up: false, extensions: new Map(), connections: 0 }
        const fresh = { failures: 0, guardedAt: undefined, openRelay: false, checking: false, gone: false, said: '' }
        this.#states.push({ server, idle: [], ...fresh })
      }
    }
    for (const state of this.#states) {
      if (!state.gone) continue
      state.server.up = false
      this.#dropIdle(state)
    }
    this.#forgetGone()
  }

  #forgetGone(): void {
    if (this.#states.some((state) => state.gone && state.server.connections === 0)) {
      this.#states = this.#states.filter((state) => !state.gone || state.server.connections > 0)
    }
  }

  async #check(state: State): Promise<void> {
    if (state.checking) return
    state.checking = true
    const { dial: settings, relayGuard, metrics } = this.#options
    const { server } = state
    try {
      const deadline = performance.now() + HEALTH_DEADLINE_MS
      const { smtp, extensions } = await dial(server, settings, undefined, deadline)
      smtp.quit()
      if (settings.clientIp === 'xclient' && !extensions.has('XCLIENT')) {
        throw new UpstreamRefusal('xclient', {
          code: 550,
          lines: ['XCLIENT is not offered to us; with Postfix, add this node to smtpd_authorized_xclient_hosts'],
        })
      }
      server.extensions = extensions
      if (relayGuard && (state.guardedAt === undefined || performance.now() - state.guardedAt > GUARD_EVERY_MS)) {
        state.openRelay = await isOpenRelay(server, settings, performance.now() + HEALTH_DEADLINE_MS)
        state.guardedAt = performance.now()
      }
      metrics.upstreamHealthChecks.inc(server.label, 'ok')
      this.#judge(state, undefined)
    } catch (error) {
      metrics.upstreamHealthChecks.inc(server.label, connectResult(error))
      this.#judge(state, error)
    } finally {
      state.checking = false
    }
  }

  /** @param error undefined: it answered as it should */
  #judge(state: State, error: unknown): void {
    const { server } = state
    state.failures = error === undefined ? 0 : state.failures + 1
    if (state.gone) return
    if (error === undefined) {
      if (state.openRelay) {
        server.up = false
        const why = 'takes mail for foreign domains from any client: it would be an open relay through us'
        this.#say(server.label, 'error', `upstream not used: it ${why}`, state)
      } else if (state.guardedAt !== undefined || !this.#options.relayGuard) {
        server.up = true
        this.#say(server.label, 'info', 'upstream is up', state)
      }
    } else if (state.failures >= DOWN_AFTER || !server.up) {
      server.up = false
      this.#dropIdle(state)
      this.#say(server.label, 'warn', `upstream is down: ${(error as Error).message}`, state)
    }
    this.#learnOffer()
    this.#serveWaiting()
  }

  #say(upstream: string, level: 'info' | 'warn' | 'error', msg: string, state?: State): void {
    if (state !== undefined) {
      if (state.said === msg) return
      state.said = msg
    }
    this.#options.log[level]({ upstream, ...(state && { address: `${state.server.host}:${state.server.port}` }) }, msg)
  }

  #learnOffer(): void {
    const inUse = this.#states.filter(({ server }) => server.up).map(({ server }) => server.extensions)
    const [first, ...others] = inUse
    if (first === undefined) return
    const offer = new Map<string, string>()
    for (const keyword of RELAYABLE) {
      if (!inUse.every((each) => each.has(keyword))) continue
      offer.set(keyword, keyword === 'SIZE' ? smallestSize([first, ...others]) : '')
    }
    this.#offer = offer
  }
}

/** RFC 1870 section 4: a SIZE without a number, or 0, is no limit. */
function smallestSize(all: readonly Extensions[]): string {
  const limits = all.map((each) => Number(each.get('SIZE') ?? 0)).filter((size) => size > 0)
  return limits.length === 0 ? '0' : String(Math.min(...limits))
}

export function connectResult(error: unknown): ConnectResult {
  if (error instanceof UpstreamRefusal) return 'refused'
  return error instanceof UpstreamError && error.fault === 'timeout' ? 'timeout' : 'failed'
}
