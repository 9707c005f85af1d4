/**
 * Whether one server is in rotation. It is asked at intervals (banner, EHLO, QUIT; now and then whether it relays for
 * strangers), and what clients' connections show counts as well. It leaves after two failures in a row, of which one may be
 * that it left a client without an answer, and comes back with the first answer that is as it should be.
 */
import type { Log } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import { type DialSettings, dial, type Extensions, NotOffered, RELAYABLE, UpstreamRefusal } from '../smtp/dial.ts'
import { isOurs, UpstreamError } from '../smtp/smtp-client.ts'
import { askWhetherRelay } from './relay-guard.ts'
import { connectResult, placeOf, type Server } from './server.ts'
import { askWhetherAnybody, askWhetherMail, askWhetherXclient, dialAsStranger } from './stranger.ts'

export interface HealthOptions {
  readonly dial: DialSettings
  /** Whether the server is asked if it relays for strangers before it is used. */
  readonly relayGuard: boolean
  readonly intervalMs: number
  /** How long a check may take, in milliseconds: a server that is slower to greet takes no mail. */
  readonly checkMs: number
  /** Between two questions of the relay guard, in milliseconds, and after an answer that was no, or none yet. */
  readonly guardMs: number
  readonly guardAgainMs: number
  readonly metrics: Pick<Metrics, 'upstreamHealthChecks'>
  readonly log: Log
  /** Called after each judgement. */
  readonly judged: (server: Server) => void
}

const CLOSED_ADVICE =
  '. It takes mail by TLS, or after a login, only, and our TLS with it does not come about (SPILLWAY_UPSTREAM_TLS)'
/** Failures in a row before a server leaves the rotation. */
const DOWN_AFTER = 2

export class Health {
  readonly server: Server
  /** No longer among the addresses of its name: it is not used, and stays only until its connections are closed. */
  gone = false
  readonly #options: HealthOptions
  #failures = 0
  /** performance.now() from which on the relay guard asks again; undefined: it was never answered. */
  #guardNextAt: number | undefined
  #openRelay = false
  #checking = false
  /** It refused to hear of some client by XCLIENT, and has not taken XCLIENT since: checks try it too. */
  #doubted = false
  /** It wanted TLS or a login of us before it takes mail (530), and has not done without since: checks say MAIL too. */
  #closedToUs = false
  /** It offered a client less than it does us: checks ask what a stranger is offered. */
  #offersLess = false
  /** What it did not offer a stranger, performance.now() of when it was asked, and from which on it is asked again. */
  #withheld: readonly string[] = []
  #offerAskedAt = 0
  #offerNextAt = 0
  /** It hung up on a client, or let it wait: the next check comes as clients do, too. */
  #suspect = false
  /** performance.now() when a client was last greeted. */
  #welcomedAt = Number.NEGATIVE_INFINITY
  /** performance.now() from which on what happened to a client may call for a check at once. */
  #recheckNextAt = 0
  /** Whether such a refusal was told in the log. */
  #doubtSaid = false
  /** Whether it was told in the log that we have nothing left to connect with. */
  #shortSaid = false
  /** What was last said of it in the log, so that it is said once. */
  #said = ''

  constructor(server: Server, options: HealthOptions) {
    this.server = server
    this.#options = options
  }

  /** Learns from a client's connection what a check would have found. @param error undefined: it was taken */
  report(error: unknown): void {
    if (isXclient(error)) {
      this.#doubt(error)
      return
    }
    if (isMail(error)) {
      this.#closedToUs = true
      this.#checkAtOnce()
      return
    }
    if (error instanceof UpstreamError && error.connected) {
      // It took the connection, and may have hung up on this one client. Where a check fails as well, that makes two.
      this.#failures = Math.max(this.#failures, 1)
      this.#suspect = true
      this.#checkAtOnce()
      return
    }
    if (error === undefined) {
      this.#doubted = false
      this.#welcomedAt = performance.now()
    }
    // The common case, with nothing to learn from it.
    if (error === undefined && this.server.up && this.#failures === 0) return
    this.#judge(error)
  }

  /** A client's connection did not offer all that ours do. */
  lacking(): void {
    // New evidence, but one odd client must not have a stranger asked at every connection.
    if (this.#offersLess)
      this.#offerNextAt = Math.min(this.#offerNextAt, this.#offerAskedAt + this.#options.guardAgainMs)
    this.#offersLess = true
    this.#checkAtOnce()
  }

  /** Never rejects; one at a time. */
  async check(): Promise<void> {
    if (this.#checking) return
    this.#checking = true
    const { metrics } = this.#options
    try {
      await this.#ask()
      metrics.upstreamHealthChecks.inc(this.server.label, 'ok')
      this.#shortSaid = false
      this.#judge(undefined)
    } catch (error) {
      metrics.upstreamHealthChecks.inc(this.server.label, connectResult(error))
      this.#judge(error)
    } finally {
      this.#checking = false
    }
  }

  /** @throws UpstreamError, UpstreamRefusal */
  async #ask(): Promise<void> {
    const { dial: settings, relayGuard, intervalMs, checkMs, guardMs, guardAgainMs } = this.#options
    const { server } = this
    const deadline = performance.now() + checkMs
    const { smtp, extensions } = await dial(server, settings, undefined, deadline)
    smtp.quit()
    if (settings.clientIp === 'xclient' && !extensions.has('XCLIENT')) {
      throw new NotOffered(
        'xclient',
        'XCLIENT is not offered to us; with Postfix, add this node to smtpd_authorized_xclient_hosts',
      )
    }
    if (this.#offersLess && performance.now() >= this.#offerNextAt) await this.#learnWithheld(extensions)
    server.extensions = new Map([...extensions].filter(([keyword]) => !this.#withheld.includes(keyword)))
    if (this.#doubted) {
      await askWhetherXclient(server, settings, deadline)
      this.#doubted = false
    }
    if (this.#closedToUs) {
      this.#closedToUs = false
      await this.#learnWhetherClosed(deadline)
    }
    if (this.#suspect) {
      // Once, and not where clients are welcome: a server that hangs up on this stranger alone must not be left for it.
      this.#suspect = false
      const isWelcoming = performance.now() - this.#welcomedAt < intervalMs
      if (!isWelcoming) await askWhetherAnybody(server, settings, deadline)
    }
    if (!relayGuard || performance.now() < (this.#guardNextAt ?? 0)) return
    const answer = await askWhetherRelay(server, settings, performance.now() + checkMs)
    // Put off is no answer: what was known before holds on.
    if (answer !== 'put-off') this.#openRelay = answer === 'relays'
    this.#guardNextAt = performance.now() + (answer === 'refuses' ? guardMs : guardAgainMs)
  }

  /**
   * A server may offer clients less than it does its neighbours (Postfix smtpd_discard_ehlo_keyword_address_maps, Exim
   * dsn_advertise_hosts), and what we offer them must be true (RFC 5321 section 4.1.1.1). A stranger is asked for
   * all: what is withheld from a single client is no reason to offer others less.
   */
  async #learnWithheld(ours: Extensions): Promise<void> {
    const { dial: settings, checkMs, guardMs } = this.#options
    this.#offerAskedAt = performance.now()
    this.#offerNextAt = this.#offerAskedAt + guardMs
    try {
      const { smtp, extensions } = await dialAsStranger(this.server, settings, performance.now() + checkMs)
      smtp.quit()
      this.#withheld = RELAYABLE.filter((keyword) => ours.has(keyword) && !extensions.has(keyword))
      this.#offersLess = this.#withheld.length > 0
    } catch {
      // It has no word for a stranger, which is its own affair: nothing was learned.
    }
  }

  /**
   * Whether it takes no mail from anybody without TLS or a login. Where it has no word for our stranger nothing is
   * learned: it was a client that it asked for a login. @throws UpstreamRefusal of phase mail
   */
  async #learnWhetherClosed(deadline: number): Promise<void> {
    try {
      await askWhetherMail(this.server, this.#options.dial, deadline)
    } catch (error) {
      if (!isMail(error)) return
      this.#closedToUs = true
      throw error
    }
  }

  /**
   * A refused XCLIENT may be meant for the client (a Postfix with smtpd_delay_reject=no and an access list) or for us, so
   * that every client would be refused. The server is asked about somebody else before it is left; at once, but whatever
   * clients do, not more than once in a health interval.
   */
  #doubt(error: UpstreamRefusal): void {
    this.#doubted = true
    if (!this.#doubtSaid) {
      this.#doubtSaid = true
      const msg = `upstream refused XCLIENT for a client, who hears 451: ${error.message}`
      this.#options.log.warn(placeOf(this.server), msg)
    }
    this.#checkAtOnce()
  }

  #checkAtOnce(): void {
    const now = performance.now()
    if (this.gone || this.#checking || now < this.#recheckNextAt) return
    this.#recheckNextAt = now + this.#options.intervalMs
    void this.check()
  }

  /** @param error undefined: it answered as it should */
  #judge(error: unknown): void {
    const { server } = this
    if (isOurs(error)) {
      const msg = `no connection to the upstream for want of file descriptors or ports of our own: ${error.message}`
      if (!this.#shortSaid) this.#options.log.error(placeOf(server), msg)
      this.#shortSaid = true
      return
    }
    this.#failures = error === undefined ? 0 : this.#failures + 1
    if (this.gone) return
    if (error === undefined) {
      if (this.#openRelay) {
        server.up = false
        const why =
          'takes mail for foreign domains from any client: it would be an open relay through us. With Postfix, take this node out of mynetworks, or let it hear who the client is (SPILLWAY_UPSTREAM_CLIENT_IP)'
        this.#say('error', `upstream not used: it ${why}`)
      } else if (this.#guardNextAt !== undefined || !this.#options.relayGuard) {
        server.up = true
        this.#say('info', 'upstream is up')
      }
    } else if (this.#failures >= DOWN_AFTER || !server.up || (this.#doubted && isXclient(error)) || isMail(error)) {
      server.up = false
      const advice = isMail(error) ? CLOSED_ADVICE : this.#proxyAdvice(error)
      this.#say('warn', `upstream is down: ${(error as Error).message}${advice}`)
    }
    this.#options.judged(server)
  }

  /** A server that expects no PROXY header takes it for a command, or has greeted before it came; it never was up. */
  #proxyAdvice(error: unknown): string {
    const { clientIp } = this.#options.dial
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

const isMail = (error: unknown): error is UpstreamRefusal => error instanceof UpstreamRefusal && error.phase === 'mail'

const isXclient = (error: unknown): error is UpstreamRefusal =>
  error instanceof UpstreamRefusal && error.phase === 'xclient'
