/**
 * Whether one server is in rotation. It is checked at intervals (checkup.ts), and what clients' connections show counts as well.
 * It leaves the rotation after two failures in a row, one of which may be that it left a client without a reply. It comes back
 * with its first good answer.
 *
 * A server that does not answer in time may hang, or may only be slow: one with DNS trouble greets after 20 seconds, and then
 * takes mail. So it first becomes slow, which means that it is used only if no other server has room. It becomes down when a
 * check has failed.
 */
import type { Clock } from '../../core/clock.ts'
import { messageOf } from '../../core/errors.ts'
import type { Log } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import { UpstreamRefusal } from '../smtp/dial.ts'
import { isOurs, UpstreamError } from '../smtp/upstream-error.ts'
import { Checkup, type CheckupOptions, isMailRefusal, isXclientRefusal, xclientTrouble } from './checkup.ts'
import { connectResult, placeOf, type Server } from './server.ts'

export interface HealthOptions extends CheckupOptions {
  readonly metrics: Pick<Metrics, 'upstreamHealthChecks'>
  readonly log: Log
  /** Called after each judgement. */
  readonly judged: (server: Server) => void
}

const CLOSED_ADVICE =
  '. It takes mail by TLS, or after a login, only, and our TLS with it does not come about (SPILLWAY_UPSTREAM_TLS)'
const OPEN_RELAY =
  'takes mail for foreign domains from any client: it would be an open relay through us. With Postfix, take this node out of mynetworks, or let it hear who the client is (SPILLWAY_UPSTREAM_CLIENT_IP)'
/** Failures in a row before a server leaves the rotation. */
const DOWN_AFTER = 2
/**
 * A server is slow when it has made clients of this many sources wait in vain, with no client served in between. If it is only
 * one client, that client may be the cause, with a sender whose DNS hangs.
 */
const SLOW_AFTER = 3
/** How long it then counts as slow, whatever it answers to our checks, in milliseconds. */
const SLOW_FOR_MS = 10_000

export class Health {
  readonly server: Server
  /** Its name no longer has this address: it is not used, and is kept only until its connections are closed. */
  gone = false
  readonly #options: HealthOptions
  readonly #elapsed: Clock['elapsed']
  readonly #checkup: Checkup
  readonly #stop = new AbortController()
  #failures = 0
  #checking = false
  /** Sources whose clients have waited in vain since a client was last served. */
  readonly #waitedInVain = new Set<string>()
  /** Until when it counts as slow because of that. */
  #slowUntil = Number.NEGATIVE_INFINITY
  /** Whether the last check was answered, but not in time. */
  #answersLate = false
  /** From this time on, what happens to a client may cause a check at once. */
  #recheckNextAt = 0
  /** Whether a refused XCLIENT has been logged. */
  #xclientSaid = false
  /** Whether it has been logged that we have nothing left to connect with. */
  #shortSaid = false
  /** The last log message about the server, so that it is not repeated. */
  #said = ''

  constructor(server: Server, options: HealthOptions) {
    this.server = server
    this.#options = options
    this.#elapsed = options.clock.elapsed
    this.#checkup = new Checkup(server, options)
  }

  /** What a check under way finds is not wanted any more. */
  stop(): void {
    this.#stop.abort()
  }

  /** Learns from a connection for a client of `source`, as from a check. @param error undefined: the connection was accepted */
  report(error: unknown, source: string): void {
    if (error === undefined) {
      this.#checkup.welcomed()
      this.server.answered()
      // The common case, with nothing to learn from it.
      if (this.server.health === 'up' && this.#failures === 0) return
    }
    if (isXclientRefusal(error)) this.#doubtXclient(error)
    else if (isMailRefusal(error)) {
      this.#checkup.doubtMail()
      this.#checkAtOnce()
    } else if (error instanceof UpstreamError && error.connected) {
      // The server took the connection, and may have hung up on this one client only. If a check fails as well, that makes two.
      this.#failures = Math.max(this.#failures, 1)
      this.#checkup.suspect()
      if (error.fault === 'timeout') this.#letWait(error, source)
      this.#checkAtOnce()
    } else this.#judge(error)
  }

  /** A client's MAIL was answered. */
  served(): void {
    if (this.#waitedInVain.size > 0) this.#waitedInVain.clear()
  }

  /** A client was offered fewer extensions than we are. */
  lacking(): void {
    this.#checkup.lacking()
    this.#checkAtOnce()
  }

  /** Never rejects. Does nothing while another check is under way. */
  async check(): Promise<void> {
    if (this.#checking) return
    this.#checking = true
    const { metrics, settings } = this.#options
    const timeoutMs = settings.value.healthTimeoutMs
    const { signal } = this.#stop
    const late = setTimeout(() => this.#unanswered(timeoutMs), timeoutMs)
    late.unref()
    const started = this.#elapsed()
    try {
      await this.#checkup.ask(() => {
        clearTimeout(late)
        this.#answersLate = this.#elapsed() - started > timeoutMs
        this.server.answered()
      }, signal)
      if (signal.aborted) return
      metrics.upstreamHealthChecks.inc(this.server.label, this.#checkup.openRelay ? 'refused' : 'ok')
      this.#shortSaid = false
      this.#judge(undefined)
    } catch (error) {
      if (signal.aborted) return
      metrics.upstreamHealthChecks.inc(this.server.label, connectResult(error))
      this.#judge(error)
    } finally {
      clearTimeout(late)
      this.#checking = false
    }
  }

  /** The check under way has had no answer in time. */
  #unanswered(timeoutMs: number): void {
    if (this.gone || this.#stop.signal.aborted) return
    // If the check fails in the end, this was the first failure.
    this.#failures = Math.max(this.#failures, 1)
    const { health } = this.server
    const why =
      health === 'unknown'
        ? `no greeting within ${timeoutMs} ms, or no answer to EHLO`
        : `no answer to a health check in ${timeoutMs} ms`
    if (health === 'up') this.#becomeSlow(why)
    else this.server.become(health, why)
    if (health === 'unknown') this.#say('warn', `upstream does not answer: ${why}`)
  }

  #letWait(error: UpstreamError, source: string): void {
    this.#waitedInVain.add(source)
    if (this.server.health !== 'up' || this.#waitedInVain.size < SLOW_AFTER) return
    this.#waitedInVain.clear()
    this.#slowUntil = this.#elapsed() + SLOW_FOR_MS
    this.#becomeSlow(`it let clients wait: ${error.message}`)
  }

  #becomeSlow(why: string): void {
    this.server.become('slow', why)
    this.#say('warn', `upstream is slow, and used where no other has room: ${why}`)
    this.#options.judged(this.server)
  }

  /**
   * A refused XCLIENT may be meant for the client (a Postfix with smtpd_delay_reject=no and an access list) or for us, in which
   * case every client would be refused. So the server is asked about a stranger before it leaves the rotation. That happens at
   * once, but no more than once per health interval, whatever clients do.
   */
  #doubtXclient(error: UpstreamRefusal): void {
    this.#checkup.doubtXclient()
    if (!this.#xclientSaid) {
      this.#xclientSaid = true
      const msg = `upstream refused XCLIENT for a client, who hears 451: ${error.message}`
      this.#options.log.warn(placeOf(this.server), msg)
    }
    this.#checkAtOnce()
  }

  #checkAtOnce(): void {
    const now = this.#elapsed()
    if (this.gone || this.#checking || now < this.#recheckNextAt) return
    this.#recheckNextAt = now + this.#options.settings.value.healthIntervalMs
    void this.check()
  }

  /** @param error undefined: the server answered as it should */
  #judge(error: unknown): void {
    if (isOurs(error)) {
      const msg = `no connection to the upstream for want of file descriptors or ports of our own: ${error.message}`
      if (!this.#shortSaid) this.#options.log.error(placeOf(this.server), msg)
      this.#shortSaid = true
      return
    }
    this.#failures = error === undefined ? 0 : this.#failures + 1
    if (this.gone) return
    if (error === undefined) this.#isWell()
    else this.#isNotWell(error)
    this.#options.judged(this.server)
  }

  #isWell(): void {
    const { server } = this
    if (this.#checkup.openRelay) {
      server.become('down', `it ${OPEN_RELAY}`)
      this.#say('error', `upstream not used: it ${OPEN_RELAY}`)
      return
    }
    if (!this.#checkup.guarded) return
    const waits = this.#elapsed() < this.#slowUntil
    if (!waits && !this.#answersLate) {
      server.become('up', undefined)
      this.#say('info', 'upstream is up')
    } else if (server.health !== 'slow' || !waits) {
      this.#becomeSlow(`it answers later than ${this.#options.settings.value.healthTimeoutMs} ms`)
    }
  }

  #isNotWell(error: unknown): void {
    const { server } = this
    const isCertain = (this.#checkup.refusedXclient && isXclientRefusal(error)) || isMailRefusal(error)
    if (this.#failures < DOWN_AFTER && server.isWell && !isCertain) {
      server.become(server.health, messageOf(error), xclientTrouble(error))
      return
    }
    const advice = isMailRefusal(error) ? CLOSED_ADVICE : this.#proxyAdvice(error)
    server.become('down', `${messageOf(error)}${advice}`, xclientTrouble(error))
    this.#say('warn', `upstream is down: ${messageOf(error)}${advice}`)
  }

  /**
   * A server that expects no PROXY header takes it for a command, or has greeted before it came. Such a server has never been up.
   */
  #proxyAdvice(error: unknown): string {
    const { clientIp } = this.#options.settings.value.dial
    if ((clientIp !== 'proxy-v1' && clientIp !== 'proxy-v2') || this.server.extensions.size > 0) return ''
    const misread =
      error instanceof UpstreamRefusal
        ? error.phase === 'greeting' || error.phase === 'ehlo'
        : error instanceof UpstreamError && error.fault === 'protocol'
    return misread
      ? '. Does it expect a PROXY header (SPILLWAY_UPSTREAM_CLIENT_IP)? With Postfix: smtpd_upstream_proxy_protocol=haproxy'
      : ''
  }

  #say(level: 'info' | 'warn' | 'error', msg: string): void {
    if (this.#said === msg) return
    this.#said = msg
    this.#options.log[level](placeOf(this.server), msg)
  }
}
