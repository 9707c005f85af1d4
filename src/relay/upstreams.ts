/**
 * The mail servers behind us: which are up, what they offer, and who may open a connection to which. Names are resolved
 * at each health round and every address is a server of its own; labels stay as the operator wrote them. A transaction
 * takes a slot at the server with the fewest connections, waits for one for a bounded time, and frees it itself.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Log } from '../telemetry/log.ts'
import type { ConnectResult, Metrics } from '../telemetry/metrics.ts'
import type { Distribution } from '../telemetry/series.ts'
import { type Dialed, type DialSettings, dial, type Extensions, UpstreamRefusal } from './dial.ts'
import { askWhetherRelay } from './relay-guard.ts'
import { seriesOf, type UpstreamSeries } from './series.ts'
import { UpstreamError } from './smtp-client.ts'
import { dialAsStranger } from './stranger.ts'

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
  /** Shared by all servers with this label. */
  readonly series: UpstreamSeries
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
  readonly metrics: Pick<
    Metrics,
    'upstreamSlotWait' | 'upstreamHealthChecks' | 'upstreamConnects' | 'upstreamReplies' | 'upstreamReplyDuration'
  >
  readonly log: Log
  /** Instead of `PATIENCE`, where somebody cannot wait that long. */
  readonly patience?: Partial<Patience>
  /** All addresses of a name; the system's way unless told. */
  readonly resolve?: (name: string) => Promise<readonly string[]>
}

/** How long things may take, in milliseconds, and how many may wait. */
export interface Patience {
  /** A transaction for a slot: short beside the client's 5 minutes for RCPT. */
  readonly slotMs: number
  /** Beyond this many, waiting is hopeless and costs memory. */
  readonly waiting: number
  /** An idle connection for the next client. */
  readonly idleMs: number
  /** A health check: a server that is slower to greet takes no mail. */
  readonly healthMs: number
  /** The start for the first round of health checks: the port is not kept closed for a server that hangs. */
  readonly startMs: number
  /** Between two questions of the relay guard, and after an answer that was no, or none yet. */
  readonly guardMs: number
  readonly guardAgainMs: number
}

const PATIENCE: Patience = {
  slotMs: 10_000,
  waiting: 1000,
  idleMs: 5000,
  healthMs: 30_000,
  startMs: 10_000,
  guardMs: 3_600_000,
  guardAgainMs: 60_000,
}
/** Failures in a row before a server leaves the rotation. */
const DOWN_AFTER = 2

/** Extensions that pass through us unchanged, and so may be offered where every server in use offers them. */
const RELAYABLE = ['SIZE', '8BITMIME', 'SMTPUTF8', 'DSN', 'ENHANCEDSTATUSCODES']

interface State {
  readonly server: Server
  readonly idle: { readonly dialed: Dialed; readonly timer: NodeJS.Timeout }[]
  failures: number
  /** performance.now() from which on the relay guard asks again; undefined: it was never answered. */
  guardNextAt: number | undefined
  openRelay: boolean
  checking: boolean
  /** It refused to hear of some client by XCLIENT, and has not taken XCLIENT since: health checks try it too. */
  doubted: boolean
  /** performance.now() from which on a client's refusal may call for a health check at once. */
  recheckNextAt: number
  /** Whether such a refusal was told in the log. */
  doubtSaid: boolean
  /** No longer among the addresses of its name. */
  gone: boolean
  /** What was last said of it in the log, so that it is said once. */
  said: string
}

interface Waiting {
  readonly avoid: Server | undefined
  /** Ends the waiting. */
  settle(outcome: Slot | NoUpstream): void
}

const systemResolve = async (name: string): Promise<readonly string[]> =>
  (await lookup(name, { all: true })).map(({ address }) => address)

export class Upstreams {
  readonly #options: UpstreamsOptions
  readonly #patience: Patience
  readonly #slotWait: Distribution
  /** Labels whose name is being resolved. */
  readonly #resolving = new Set<string>()
  /** By label: what was last said of its name, so that it is said once. */
  readonly #saidOfName = new Map<string, string>()
  #states: State[] = []
  #waiting: Waiting[] = []
  #offer: Extensions = new Map()
  #timer: NodeJS.Timeout | undefined
  #turn = 0
  #stopped = false

  constructor(options: UpstreamsOptions) {
    this.#options = options
    this.#patience = { ...PATIENCE, ...options.patience }
    this.#slotWait = options.metrics.upstreamSlotWait.of()
  }

  /** Checks all servers once, so that what they offer is known before the first client asks; then goes on by itself. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#round(), this.#options.healthIntervalMs)
    this.#timer.unref()
    let late: NodeJS.Timeout | undefined
    const patience = new Promise<void>((resolve) => {
      late = setTimeout(resolve, this.#patience.startMs)
    })
    await Promise.race([this.#round(), patience])
    clearTimeout(late)
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    for (const state of this.#states) this.#dropIdle(state)
    for (const waiting of [...this.#waiting]) waiting.settle(new NoUpstream('upstream_down'))
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
   * @param given aborted when it is not wanted any more
   * @throws NoUpstream when none is up, or none came free in time
   */
  async slot(avoid?: Server, given?: AbortSignal): Promise<Slot> {
    const started = performance.now()
    try {
      return await (this.#free(avoid) ?? this.#wait(avoid, given))
    } finally {
      this.#slotWait.observe((performance.now() - started) / 1000)
    }
  }

  /** Learns from a client's connection what a health check would have found. */
  report(server: Server, error: unknown): void {
    const state = this.#states.find((each) => each.server === server)
    if (state === undefined || this.#stopped) return
    if (isXclient(error)) {
      this.#doubt(state, error)
      return
    }
    if (error === undefined) state.doubted = false
    // The common case, with nothing to learn from it.
    if (error === undefined && server.up && state.failures === 0) return
    this.#judge(state, error)
  }

  /**
   * A refused XCLIENT may be meant for the client (a Postfix with smtpd_delay_reject=no and an access list) or for us, so
   * that every client would be refused. The server is asked about somebody else before it is left; at once, but whatever
   * clients do, not more than once in a health interval.
   */
  #doubt(state: State, error: UpstreamRefusal): void {
    state.doubted = true
    if (!state.doubtSaid) {
      state.doubtSaid = true
      const { label, host, port } = state.server
      const fields = { upstream: label, address: `${host}:${port}` }
      this.#options.log.warn(fields, `upstream refused XCLIENT for a client, who hears 451: ${error.message}`)
    }
    const now = performance.now()
    if (state.gone || state.checking || now < state.recheckNextAt) return
    state.recheckNextAt = now + this.#options.healthIntervalMs
    void this.#check(state)
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
      if (!idle.dialed.smtp.settled) {
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
          if (!dialed.smtp.settled || !server.up || this.#stopped) {
            dialed.smtp.quit()
            server.connections--
            return
          }
          const timer = setTimeout(() => this.#dropIdle(state, dialed), this.#patience.idleMs)
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

  #wait(avoid: Server | undefined, given: AbortSignal | undefined): Promise<Slot> {
    if (this.#waiting.length >= this.#patience.waiting) throw new NoUpstream('upstream_full')
    return new Promise((resolve, reject) => {
      const settle = (outcome: Slot | NoUpstream): void => {
        clearTimeout(timer)
        given?.removeEventListener('abort', giveUp)
        const at = this.#waiting.indexOf(waiting)
        if (at >= 0) this.#waiting.splice(at, 1)
        if (outcome instanceof NoUpstream) reject(outcome)
        else resolve(outcome)
      }
      const giveUp = (): void => settle(new NoUpstream('upstream_full'))
      const timer = setTimeout(giveUp, this.#patience.slotMs)
      given?.addEventListener('abort', giveUp)
      const waiting: Waiting = { avoid, settle }
      this.#waiting.push(waiting)
    })
  }

  /** In the order they came, but nobody waits behind one who must not have the server that has room. */
  #serveWaiting(): void {
    if (this.#waiting.length === 0) return
    const full = new Set<Server | undefined>()
    for (const waiting of [...this.#waiting]) {
      if (full.has(waiting.avoid)) continue
      let outcome: Slot | NoUpstream | undefined
      try {
        outcome = this.#free(waiting.avoid)
      } catch {
        outcome = new NoUpstream('upstream_down')
      }
      if (outcome !== undefined) waiting.settle(outcome)
      else if (waiting.avoid === undefined) return
      else full.add(waiting.avoid)
    }
  }

  /** A name that takes long to resolve holds up nobody: the addresses it had are checked meanwhile. */
  async #round(): Promise<void> {
    await Promise.all(
      this.#options.addresses.map(async (address) => {
        await this.#resolve(address)
        if (this.#stopped) return
        const mine = this.#states.filter(({ server, gone }) => server.label === address.label && !gone)
        await Promise.all(mine.map((state) => this.#check(state)))
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
        this.#saidOfName.delete(label)
      } catch (error) {
        const message = `name of upstream not resolved: ${(error as Error).message}`
        if (this.#saidOfName.get(label) !== message) this.#options.log.warn({ upstream: label }, message)
        this.#saidOfName.set(label, message)
        return
      } finally {
        this.#resolving.delete(label)
      }
    }
    const mine = this.#states.filter(({ server }) => server.label === label)
    const series = seriesOf(this.#options.metrics, label)
    for (const address of addresses) {
      if (mine.some(({ server }) => server.host === address)) continue
      const found = { label, host: address, port, name: host, series }
      this.#states.push({
        server: { ...found, up: false, extensions: new Map(), connections: 0 },
        idle: [],
        failures: 0,
        guardNextAt: undefined,
        openRelay: false,
        checking: false,
        doubted: false,
        recheckNextAt: 0,
        doubtSaid: false,
        gone: false,
        said: '',
      })
    }
    for (const state of mine) {
      state.gone = !addresses.includes(state.server.host)
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
      const deadline = performance.now() + this.#patience.healthMs
      const { smtp, extensions } = await dial(server, settings, undefined, deadline)
      smtp.quit()
      if (settings.clientIp === 'xclient' && !extensions.has('XCLIENT')) {
        throw new UpstreamRefusal('xclient', {
          code: 550,
          lines: ['XCLIENT is not offered to us; with Postfix, add this node to smtpd_authorized_xclient_hosts'],
        })
      }
      server.extensions = extensions
      if (state.doubted) {
        await askWhetherXclient(server, settings, deadline)
        state.doubted = false
      }
      if (relayGuard && performance.now() >= (state.guardNextAt ?? 0)) {
        const { healthMs, guardMs, guardAgainMs } = this.#patience
        const answer = await askWhetherRelay(server, settings, performance.now() + healthMs)
        // Put off is no answer: what was known before holds on.
        if (answer !== 'put-off') state.openRelay = answer === 'relays'
        state.guardNextAt = performance.now() + (answer === 'refuses' ? guardMs : guardAgainMs)
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
        this.#dropIdle(state)
        const why = 'takes mail for foreign domains from any client: it would be an open relay through us'
        this.#say(state, 'error', `upstream not used: it ${why}`)
      } else if (state.guardNextAt !== undefined || !this.#options.relayGuard) {
        server.up = true
        this.#say(state, 'info', 'upstream is up')
      }
    } else if (state.failures >= DOWN_AFTER || !server.up || (state.doubted && isXclient(error))) {
      server.up = false
      this.#dropIdle(state)
      this.#say(state, 'warn', `upstream is down: ${(error as Error).message}`)
    }
    this.#learnOffer()
    this.#serveWaiting()
  }

  #say(state: State, level: 'info' | 'warn' | 'error', msg: string): void {
    if (state.said === msg) return
    state.said = msg
    const { label, host, port } = state.server
    this.#options.log[level]({ upstream: label, address: `${host}:${port}` }, msg)
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

const isXclient = (error: unknown): error is UpstreamRefusal =>
  error instanceof UpstreamRefusal && error.phase === 'xclient'

/** Returns where XCLIENT is taken. @throws UpstreamError, UpstreamRefusal */
async function askWhetherXclient(server: Server, settings: DialSettings, deadline: number): Promise<void> {
  try {
    const { smtp } = await dialAsStranger(server, settings, deadline)
    smtp.quit()
  } catch (error) {
    // Its own EHLO the server took just before: what it refuses here is a stranger's name, and no XCLIENT.
    if (!(error instanceof UpstreamRefusal && error.phase === 'ehlo')) throw error
  }
}

export function connectResult(error: unknown): ConnectResult {
  if (error instanceof UpstreamRefusal) return 'refused'
  return error instanceof UpstreamError && error.fault === 'timeout' ? 'timeout' : 'failed'
}
