/**
 * What a health check asks of one server: banner, EHLO and QUIT always; whether it relays for strangers, now and then; and more
 * where clients have met with something that our own connections do not show. It remembers what is still to be asked.
 */
import type { Clock } from '../../core/clock.ts'
import { type DialSettings, dial, type Extensions, NotOffered, RELAYABLE, UpstreamRefusal } from '../smtp/dial.ts'
import { askWhetherRelay } from './relay-guard.ts'
import type { Server } from './server.ts'
import { askWhetherAnybody, askWhetherMail, askWhetherXclient, dialAsStranger } from './stranger.ts'

export interface CheckupOptions {
  readonly dial: DialSettings
  /** Whether the server is asked if it relays for strangers before it is used. */
  readonly relayGuard: boolean
  readonly intervalMs: number
  /** How long a check may take, in milliseconds. */
  readonly checkMs: number
  /** Between two questions of the relay guard, in milliseconds, and after an answer that was no, or none yet. */
  readonly guardMs: number
  readonly guardAgainMs: number
  readonly clock: Clock
}

export const isMailRefusal = (error: unknown): error is UpstreamRefusal =>
  error instanceof UpstreamRefusal && error.phase === 'mail'
export const isXclientRefusal = (error: unknown): error is UpstreamRefusal =>
  error instanceof UpstreamRefusal && error.phase === 'xclient'

export class Checkup {
  readonly #server: Server
  readonly #options: CheckupOptions
  readonly #elapsed: Clock['elapsed']
  /** When the relay guard asks again; undefined: it was never answered. */
  #guardNextAt: number | undefined
  #openRelay = false
  /** It refused to hear of some client by XCLIENT, and has not taken XCLIENT since. */
  #refusedXclient = false
  /** It wanted TLS or a login of us before it takes mail (530), and has not done without since. */
  #closedToUs = false
  /** It offered a client less than it does us. */
  #offersLess = false
  /** What it did not offer a stranger, when it was asked, and when it is asked again. */
  #withheld: readonly string[] = []
  #offerAskedAt = 0
  #offerNextAt = 0
  /** It hung up on a client, or let it wait: the next check comes as clients do, too. */
  #suspect = false
  /** When a client was last greeted. */
  #welcomedAt = Number.NEGATIVE_INFINITY

  constructor(server: Server, options: CheckupOptions) {
    this.#server = server
    this.#options = options
    this.#elapsed = options.clock.elapsed
  }

  get openRelay(): boolean {
    return this.#openRelay
  }

  /** Whether it is known that the server is no open relay, or nobody wants to know. */
  get guarded(): boolean {
    return !this.#openRelay && (this.#guardNextAt !== undefined || !this.#options.relayGuard)
  }

  get refusedXclient(): boolean {
    return this.#refusedXclient
  }

  /** A client was greeted, and taken for whom we said it is. */
  welcomed(): void {
    this.#refusedXclient = false
    this.#welcomedAt = this.#elapsed()
  }

  /** A client was refused at XCLIENT. */
  doubtXclient(): void {
    this.#refusedXclient = true
  }

  /** A client's MAIL was met with a wish for TLS or a login. */
  doubtMail(): void {
    this.#closedToUs = true
  }

  /** A client was hung up on, or waited in vain. */
  suspect(): void {
    this.#suspect = true
  }

  /** A client's connection did not offer all that ours do. */
  lacking(): void {
    // New evidence, but one odd client must not have a stranger asked at every connection.
    if (this.#offersLess) {
      this.#offerNextAt = Math.min(this.#offerNextAt, this.#offerAskedAt + this.#options.guardAgainMs)
    }
    this.#offersLess = true
  }

  /** @param answered called when the banner and EHLO were answered @throws UpstreamError, UpstreamRefusal */
  async ask(answered: () => void): Promise<void> {
    const { dial: settings, intervalMs, checkMs } = this.#options
    const server = this.#server
    const deadline = this.#elapsed() + checkMs
    const { smtp, extensions } = await dial(server, settings, undefined, deadline)
    smtp.quit()
    answered()
    if (settings.clientIp === 'xclient' && !extensions.has('XCLIENT')) {
      throw new NotOffered(
        'xclient',
        'XCLIENT is not offered to us; with Postfix, add this node to smtpd_authorized_xclient_hosts',
      )
    }
    if (this.#offersLess && this.#elapsed() >= this.#offerNextAt) await this.#learnWithheld(extensions)
    server.extensions = new Map([...extensions].filter(([keyword]) => !this.#withheld.includes(keyword)))
    if (this.#refusedXclient) {
      await askWhetherXclient(server, settings, deadline)
      this.#refusedXclient = false
    }
    if (this.#closedToUs) {
      this.#closedToUs = false
      await this.#learnWhetherClosed(deadline)
    }
    if (this.#suspect) {
      // Once, and not where clients are welcome: a server that hangs up on this stranger alone must not be left for it.
      this.#suspect = false
      const isWelcoming = this.#elapsed() - this.#welcomedAt < intervalMs
      if (!isWelcoming) await askWhetherAnybody(server, settings, deadline)
    }
    await this.#guard()
  }

  async #guard(): Promise<void> {
    const { dial: settings, relayGuard, checkMs, guardMs, guardAgainMs } = this.#options
    if (!relayGuard || this.#elapsed() < (this.#guardNextAt ?? 0)) return
    const answer = await askWhetherRelay(this.#server, settings, this.#elapsed() + checkMs)
    // Put off is no answer: what was known before holds on.
    if (answer !== 'put-off') this.#openRelay = answer === 'relays'
    this.#guardNextAt = this.#elapsed() + (answer === 'refuses' ? guardMs : guardAgainMs)
  }

  /**
   * A server may offer clients less than it does its neighbours (Postfix smtpd_discard_ehlo_keyword_address_maps, Exim
   * dsn_advertise_hosts), and what we offer them must be true (RFC 5321 section 4.1.1.1). A stranger is asked for
   * all: what is withheld from a single client is no reason to offer others less.
   */
  async #learnWithheld(ours: Extensions): Promise<void> {
    const { dial: settings, checkMs, guardMs } = this.#options
    this.#offerAskedAt = this.#elapsed()
    this.#offerNextAt = this.#offerAskedAt + guardMs
    try {
      const { smtp, extensions } = await dialAsStranger(this.#server, settings, this.#elapsed() + checkMs)
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
      await askWhetherMail(this.#server, this.#options.dial, deadline)
    } catch (error) {
      if (!isMailRefusal(error)) return
      this.#closedToUs = true
      throw error
    }
  }
}
