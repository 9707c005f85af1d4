/**
 * What a health check asks of one server: greeting, EHLO and QUIT always; now and then, whether it relays for strangers; and more
 * if clients have met with something that our own connections do not show. It remembers what is still to be asked.
 */
import type { Clock } from '../../core/clock.ts'
import type { Current } from '../../core/current.ts'
import { dial, type Extensions, NotOffered, RELAYABLE, UpstreamRefusal } from '../smtp/dial.ts'
import type { PoolSettings } from './pool-settings.ts'
import { askWhetherRelay } from './relay-guard.ts'
import type { Server } from './server.ts'
import { askWhetherAnybody, askWhetherMail, askWhetherXclient, dialAsStranger } from './stranger.ts'

export interface CheckupOptions {
  readonly settings: Current<PoolSettings>
  /** How long a check may take, in milliseconds. */
  readonly checkMs: number
  /**
   * How long until the relay guard asks again, in milliseconds: after the server refused to relay, and after any other answer.
   */
  readonly guardMs: number
  readonly guardAgainMs: number
  readonly clock: Clock
}

export const isMailRefusal = (error: unknown): error is UpstreamRefusal =>
  error instanceof UpstreamRefusal && error.phase === 'mail'
export const isXclientRefusal = (error: unknown): error is UpstreamRefusal =>
  error instanceof UpstreamRefusal && error.phase === 'xclient'
/** What is wrong with XCLIENT, in words, without what to do about it; undefined: something else is wrong. */
export const xclientTrouble = (error: unknown): string | undefined => {
  if (!isXclientRefusal(error)) return undefined
  const { code, lines } = error.reply
  return error instanceof NotOffered ? error.what : `XCLIENT is refused: ${code} ${lines.join(' / ')}`
}

export class Checkup {
  readonly #server: Server
  readonly #options: CheckupOptions
  readonly #elapsed: Clock['elapsed']
  /** When the relay guard asks again; undefined: it has had no answer yet. */
  #guardNextAt: number | undefined
  #openRelay = false
  /** The server refused XCLIENT for some client, and has not taken XCLIENT since. */
  #refusedXclient = false
  /** It demanded TLS or a login at MAIL (530), and has not done without since. */
  #closedToUs = false
  /** It offered a client fewer extensions than it offers us. */
  #offersLess = false
  /** The extensions that it did not offer a stranger, when it was asked, and when it is to be asked again. */
  #withheld: readonly string[] = []
  #offerAskedAt = 0
  #offerNextAt = 0
  /** It hung up on a client, or made one wait: the next check also connects as clients do. */
  #suspect = false
  /** When a client was last greeted. */
  #welcomedAt = Number.NEGATIVE_INFINITY

  constructor(server: Server, options: CheckupOptions) {
    this.#server = server
    this.#options = options
    this.#elapsed = options.clock.elapsed
  }

  get #settings(): PoolSettings {
    return this.#options.settings.value
  }

  get openRelay(): boolean {
    return this.#openRelay && this.#settings.relayGuard
  }

  /** Whether the server is known to be no open relay, or the relay guard is off. */
  get guarded(): boolean {
    return !this.openRelay && (this.#guardNextAt !== undefined || !this.#settings.relayGuard)
  }

  get refusedXclient(): boolean {
    return this.#refusedXclient
  }

  /** A client was greeted, and taken for who we said it is. */
  welcomed(): void {
    this.#refusedXclient = false
    this.#welcomedAt = this.#elapsed()
  }

  /** A client was refused at XCLIENT. */
  doubtXclient(): void {
    this.#refusedXclient = true
  }

  /** A client's MAIL was answered with a demand for TLS or a login. */
  doubtMail(): void {
    this.#closedToUs = true
  }

  /** The server hung up on a client, or made it wait in vain. */
  suspect(): void {
    this.#suspect = true
  }

  /** A client was offered fewer extensions than we are. */
  lacking(): void {
    // This is new evidence, but one odd client must not make us ask as a stranger at every connection.
    if (this.#offersLess) {
      this.#offerNextAt = Math.min(this.#offerNextAt, this.#offerAskedAt + this.#options.guardAgainMs)
    }
    this.#offersLess = true
  }

  /**
   * @param answered called when the server has greeted us and answered EHLO
   * @param signal aborted when the answer is no longer wanted
   * @throws UpstreamError, UpstreamRefusal
   */
  async ask(answered: () => void, signal: AbortSignal): Promise<void> {
    const { dial: settings, healthIntervalMs } = this.#settings
    const server = this.#server
    const deadline = this.#elapsed() + this.#options.checkMs
    const { smtp, extensions } = await dial(server, settings, undefined, deadline, signal)
    smtp.quit()
    signal.throwIfAborted()
    answered()
    if (settings.clientIp === 'xclient' && !extensions.has('XCLIENT')) {
      throw new NotOffered(
        'xclient',
        'XCLIENT is not offered to us',
        'with Postfix, add this node to smtpd_authorized_xclient_hosts',
      )
    }
    if (this.#offersLess && this.#elapsed() >= this.#offerNextAt) await this.#learnWithheld(extensions)
    signal.throwIfAborted()
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
      // Once, and not if clients are welcome: a server that hangs up on this stranger alone must not leave the rotation for it.
      this.#suspect = false
      const isWelcoming = this.#elapsed() - this.#welcomedAt < healthIntervalMs
      if (!isWelcoming) await askWhetherAnybody(server, settings, deadline)
    }
    await this.#guard()
  }

  async #guard(): Promise<void> {
    const { dial: settings, relayGuard } = this.#settings
    const { checkMs, guardMs, guardAgainMs } = this.#options
    if (!relayGuard || this.#elapsed() < (this.#guardNextAt ?? 0)) return
    const answer = await askWhetherRelay(this.#server, settings, this.#elapsed() + checkMs)
    // Put off is no answer: what was known before still holds.
    if (answer !== 'put-off') this.#openRelay = answer === 'relays'
    this.#guardNextAt = this.#elapsed() + (answer === 'refuses' ? guardMs : guardAgainMs)
  }

  /**
   * A server may offer clients fewer extensions than it offers its neighbours (Postfix smtpd_discard_ehlo_keyword_address_maps,
   * Exim dsn_advertise_hosts), and what we offer them must be true (RFC 5321 section 4.1.1.1). We ask as a stranger, on behalf of
   * all clients: what is withheld from a single client is no reason to offer others less.
   */
  async #learnWithheld(ours: Extensions): Promise<void> {
    const { checkMs, guardMs } = this.#options
    this.#offerAskedAt = this.#elapsed()
    this.#offerNextAt = this.#offerAskedAt + guardMs
    try {
      const { smtp, extensions } = await dialAsStranger(this.#server, this.#settings.dial, this.#elapsed() + checkMs)
      smtp.quit()
      this.#withheld = RELAYABLE.filter((keyword) => ours.has(keyword) && !extensions.has(keyword))
      this.#offersLess = this.#withheld.length > 0
    } catch {
      // The server does not talk to strangers, which is its own affair. Nothing was learned.
    }
  }

  /**
   * Learns whether the server takes mail from nobody without TLS or a login. If it does not talk to our stranger, nothing is
   * learned: it may be the client alone that it asked for a login. @throws UpstreamRefusal of phase mail
   */
  async #learnWhetherClosed(deadline: number): Promise<void> {
    try {
      await askWhetherMail(this.#server, this.#settings.dial, deadline)
    } catch (error) {
      if (!isMailRefusal(error)) return
      this.#closedToUs = true
      throw error
    }
  }
}
