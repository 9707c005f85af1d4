/**
 * Overload as the rest of the program sees it: the level, and what it means for a client. Once a second it takes a sample,
 * computes the pressure (pressure.ts) and the level (level.ts). What each level does is in levels.ts; which messages of strangers are
 * let in, in rationing.ts.
 *
 * SPILLWAY_OVERLOAD pins the level or switches it off; then the pressure is still measured and shown. While the check
 * `overload` is only observed, its refusals are counted, and nothing else that the level does is in force.
 */
import { type Client, isFriend, type OpenCounts, type Standing } from '../core/client.ts'
import type { Clock } from '../core/clock.ts'
import { stackOf } from '../core/errors.ts'
import type { Level, OverloadMode } from '../core/overload.ts'
import type { Envelope, Keys, Returns } from '../state/returns.ts'
import type { Log } from '../telemetry/log.ts'
import { CALM, type LevelState, nextLevel } from './level.ts'
import { boundsOf, idleMsAt, isRefusedAtBanner } from './levels.ts'
import { type Pressure, pressureOf, type Sample, type Targets } from './pressure.ts'
import { isRationed, PLAIN, Rationing, type RationingOptions, type ShedMessage } from './rationing.ts'
import { FRIENDS_MS, strangersMost } from './reserve.ts'
import type { Manner } from './returning.ts'

/** Read at each use: they may change from one moment to the next. */
export interface OverloadSettings extends Targets {
  readonly mode: OverloadMode
  /** The share of every capacity that is kept for known clients, 0 to 1. */
  readonly reserve: number
  readonly maxConnections: number
  /** False while the check `overload` is only observed. */
  readonly isEnforced: boolean
}

export interface OverloadOptions extends RationingOptions {
  readonly settings: OverloadSettings
  /** Takes a sample. @param lateMs by how much it comes later than a second after the last one */
  readonly sample: (lateMs: number) => Sample
  /** What was put off lately. */
  readonly returns: Pick<Returns, 'came' | 'spend' | 'keysOf' | 'note' | 'sweep'>
  /** Whether some messages are put off at level 0 as well (guesses.ts). */
  readonly isRationed?: () => boolean
  readonly clock: Clock
  readonly log: Log
}

/** Why a message or a client is put off, for the log. */
export type Shed = Partial<ShedMessage> & {
  readonly overloadLevel: Level
  /** The share of such messages that is let in at present, 0 to 1. */
  readonly share?: number
  /** Connections of strangers, and how many of them there may be, where that is the reason. */
  readonly used?: number
  readonly max?: number
}

export interface OverloadReport {
  readonly mode: OverloadMode
  readonly level: Level
  /** When the level began, in ms since the epoch. */
  readonly since: number
  readonly pressure: Pressure
}

/** How often a sample is taken, in milliseconds. */
export const EVERY_MS = 1000

const NOTHING: Sample = {
  pool: { slots: 0, wanted: [], servers: [] },
  reported: new Map(),
  connections: [],
  maxConnections: 1,
  loopMs: 0,
  memory: 0,
  globalLimits: 0,
}

export class Overload {
  readonly #options: OverloadOptions
  readonly #rationing: Rationing
  /** The level that the shares are for. */
  #rationed: Level = 0
  #state: LevelState = CALM
  #pressure: Pressure
  #told: { readonly level: Level; readonly since: number }
  #sampledAt: number
  #friendAt = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | undefined

  constructor(options: OverloadOptions) {
    this.#options = options
    const { clock } = options
    this.#rationing = new Rationing(options)
    this.#pressure = pressureOf(NOTHING, { latencyMs: 1, loopMs: 1 })
    this.#told = { level: 0, since: clock.now() }
    this.#sampledAt = clock.elapsed() - EVERY_MS
  }

  /** Takes a sample now, and one each second from now on. */
  start(): void {
    this.#tickFenced()
    this.#timer = setInterval(() => this.#tickFenced(), EVERY_MS)
    this.#timer.unref()
  }

  /** Mail goes on without a sample, at the level that there was. */
  #tickFenced(): void {
    try {
      this.tick()
    } catch (error) {
      this.#options.log.error({ err: stackOf(error) }, 'the overload level was not measured')
    }
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  get level(): Level {
    const { mode } = this.#options.settings
    if (mode === 'auto') return this.#state.level
    return mode === 'off' ? 0 : mode
  }

  /** The level that limits and timeouts go by: 0 while the check is only observed. */
  get enforced(): Level {
    return this.#options.settings.isEnforced ? this.level : 0
  }

  /** A client of this standing has connected. */
  met(standing: Standing): Standing {
    if (isFriend({ standing })) this.#friendAt = this.#options.clock.elapsed()
    return standing
  }

  /** The share of every capacity that strangers do not get at present, 0 to 1. */
  get reserve(): number {
    const { mode, isEnforced, reserve } = this.#options.settings
    const isKept = mode !== 'off' && isEnforced && this.#options.clock.elapsed() - this.#friendAt < FRIENDS_MS
    return isKept ? reserve : 0
  }

  /** Why a client is to be turned away at the banner; undefined: it is not. */
  atBanner(client: Pick<Client, 'standing'>, open: Pick<OpenCounts, 'strangers'>): Shed | undefined {
    const { level } = this
    if (isRefusedAtBanner(level, client.standing)) return AT_BANNER[level]
    if (isFriend(client)) return undefined
    const { reserve } = this
    if (reserve === 0) return undefined
    const used = open.strangers
    const max = strangersMost(this.#options.settings.maxConnections, reserve)
    return used > max ? { overloadLevel: level, used, max } : undefined
  }

  /**
   * Asked at each MAIL: is the message put off already, because no recipient would get it in (rationing.ts)?
   * @param from '' for the null sender @param manner see returning.ts; asked only while a share is let in
   */
  atMail(client: Pick<Client, 'standing' | 'net' | 'domain'>, from: string, manner: () => Manner): Shed | undefined {
    this.#catchUp()
    // While it is only observed, its recipient is asked about, and one answer counts.
    if (client.standing !== 'new' || from === '' || !this.#options.settings.isEnforced) return undefined
    return this.#shed('new', this.#rationing.atMail(client, from, manner))
  }

  /**
   * Asked once for each message, with its first recipient that is not exempt.
   * @param manner see returning.ts; asked only while a share is let in
   * @returns why it is put off; undefined: it is let in
   */
  atRcpt(
    client: Pick<Client, 'standing' | 'net' | 'domain'>,
    envelope: Envelope,
    manner: () => Manner = () => PLAIN,
  ): Shed | undefined {
    const { standing } = client
    this.#catchUp()
    if (isRationed(standing)) return this.#shed(standing, this.#rationing.atRcpt(standing, client, envelope, manner))
    const { level } = this
    return boundsOf(level, standing).most > 0 ? undefined : { overloadLevel: level, share: this.share(standing) }
  }

  /** A reload may have pinned another level since the last sample. */
  #catchUp(): void {
    if (this.level !== this.#rationed) this.#ration(this.level, 0)
  }

  #shed(standing: Standing, shed: ShedMessage | undefined): Shed | undefined {
    return shed && { overloadLevel: this.level, share: this.share(standing), ...shed }
  }

  /**
   * A message that was asked about was put off, here or later, by us or by a mail server.
   * @param envelope `to` is '' where no recipient was heard
   * @returns what it is to be noted by when its client has left, so that it goes first when it comes back; undefined: it is not
   */
  keysOfPutOff(client: Pick<Client, 'standing' | 'net' | 'domain'>, envelope: Envelope): Keys | undefined {
    const mayBePutOff = this.enforced > 0 || (this.#options.settings.isEnforced && this.#options.isRationed?.())
    return mayBePutOff && isRationed(client.standing) ? this.#rationing.keysOf(client, envelope) : undefined
  }

  /** A client has left in order. @param putOff what keysOfPutOff returned for each of its messages */
  left({ net }: Pick<Client, 'net'>, putOff: readonly Keys[]): void {
    for (const keys of putOff) this.#options.returns.note(net, keys)
  }

  /** The share of the messages of a standing that is let in at present, 0 to 1. */
  share(standing: Standing): number {
    const { level } = this
    if (isRefusedAtBanner(level, standing)) return 0
    return isRationed(standing) ? this.#rationing.share(standing) : boundsOf(level, standing).most
  }

  /** How long a client may be silent in a session that begins now, in milliseconds. @param usual IDLE_TIMEOUT */
  idleMs({ standing }: Pick<Client, 'standing'>, usual: number): number {
    return idleMsAt(this.enforced, standing, usual)
  }

  report(): OverloadReport {
    const { mode } = this.#options.settings
    return { mode, level: this.level, since: this.#told.since, pressure: this.#pressure }
  }

  /** Called once a second. */
  tick(): void {
    const { settings, sample, clock, returns } = this.#options
    const now = clock.elapsed()
    const passed = now - this.#sampledAt
    this.#sampledAt = now
    const { mode } = settings
    this.#pressure = pressureOf(sample(passed - EVERY_MS), settings)
    this.#state = mode === 'auto' ? nextLevel(this.#state, this.#pressure.value, now) : CALM
    const { level } = this
    this.#ration(level, passed / 1000)
    if (level !== this.#told.level) this.#tell(level)
    returns.sweep()
  }

  /** Decides which share of the strangers is let in. @param seconds since the last time; 0: only the level has changed */
  #ration(level: Level, seconds: number): void {
    this.#rationed = level
    this.#rationing.set(level, this.#pressure.value, seconds, this.#options.settings.mode !== 'auto')
  }

  #tell(level: Level): void {
    const { settings, clock, log } = this.#options
    const before = this.#told.level
    this.#told = { level, since: clock.now() }
    const { value, signal, slowest, fullest } = this.#pressure
    const { mode } = settings
    const why = {
      ...{ overloadLevel: level, before, mode, signal, pressure: Math.round(value * 100) / 100 },
      ...(signal === 'upstream_latency' && slowest !== undefined && { upstream: slowest.upstream }),
      ...(signal === 'reported_queue' && fullest !== undefined && { upstream: fullest.upstream }),
    }
    if (level > before) log.warn(why, 'the overload level has risen')
    else log.info(why, 'the overload level has fallen')
  }
}

/** Made in advance, for a flood of clients that are turned away. */
const AT_BANNER: Readonly<Record<Level, Shed>> = {
  0: { overloadLevel: 0 },
  1: { overloadLevel: 1 },
  2: { overloadLevel: 2 },
  3: { overloadLevel: 3 },
  4: { overloadLevel: 4 },
}
