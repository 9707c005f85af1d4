/**
 * The mail transactions of one client, relayed live: MAIL and RCPT go to a mail server as the client said them, DATA streams
 * through, and the client hears what the mail server says. Nothing is stored, so nothing can be lost here: the client hears 250
 * only after the mail server has said it for the same message. opening.ts finds a server for a transaction, and message.ts
 * handles the text of a message.
 *
 * A transaction that makes no progress may lose its connection to others that wait for one (pool/fairness.ts), until its dot. It
 * then ends in 451. That is why this file keeps track of whose turn it is.
 */
import { isKnown } from '../../core/client.ts'
import type { Clock } from '../../core/clock.ts'
import type { Current } from '../../core/current.ts'
import { messageOf, stackOf } from '../../core/errors.ts'
import { refusal } from '../../core/policy.ts'
import type { Log } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import type { Upstreams } from '../pool/upstreams.ts'
import { receivedLine } from '../smtp/client-attributes.ts'
import type { DialSettings } from '../smtp/dial.ts'
import { isLast, type Reply } from '../smtp/reply.ts'
import { type Answer, asRefusal, type Final, lost } from './answer.ts'
import { ClientLink } from './link.ts'
import type { Link, RelayClient } from './link-parts.ts'
import { Message } from './message.ts'
import { type Envelope, missingOf, openTransaction } from './opening.ts'

export interface RelaySettings {
  readonly dial: DialSettings
  /** At least 660,000: longer than the client waits (RFC 5321 section 4.5.3.2.6, RFC 1047). */
  readonly dataTimeoutMs: number
  readonly bareNewline: 'normalize' | 'reject'
  readonly trace: boolean
  readonly hostname: string
  /** Overrides `BUDGETS`, for callers that cannot wait that long. */
  readonly budgets?: Partial<Budgets>
}

/** In milliseconds. */
export interface Budgets {
  /** From RCPT to our reply, for all phases together: less than the 5 minutes a client waits (RFC 5321 section 4.5.3.2.3). */
  readonly rcptMs: number
  /** From DATA to our 354: less than the 2 minutes a client waits (section 4.5.3.2.4). */
  readonly dataMs: number
  /** For the mail server to take the next part of a message (section 4.5.3.2.5). */
  readonly blockMs: number
  /** How long a connection stays parked for its client's next message before it is given back. */
  readonly parkMs: number
}

export interface RelayParts {
  readonly upstreams: Upstreams
  readonly settings: Current<RelaySettings>
  readonly metrics: Pick<Metrics, 'bareNewlines'>
  readonly log: Log
  readonly clock: Clock
}

/** As they are shipped; tests have shorter ones. */
export const BUDGETS: Budgets = { rcptMs: 270_000, dataMs: 110_000, blockMs: 180_000, parkMs: 5000 }

export class Relay {
  readonly #parts: RelayParts
  readonly #client: RelayClient
  readonly #budgets: Budgets
  readonly #upstream: ClientLink
  /** In force when the transaction under way began. */
  #settings: RelaySettings
  /** Recipients accepted in the transaction under way. */
  #accepted = 0
  /** What every further recipient of this transaction hears, once that is decided. */
  #settled: Answer | undefined
  #begun = false
  #asked = false
  /** The text under way, from the 354 to its dot. */
  #message: Message | undefined
  #ending: Promise<unknown> | undefined

  constructor(parts: RelayParts, client: RelayClient) {
    this.#parts = parts
    this.#client = client
    this.#settings = parts.settings.value
    this.#budgets = { ...BUDGETS, ...this.#settings.budgets }
    const { upstreams } = parts
    this.#upstream = new ClientLink({
      upstreams,
      dial: () => this.#settings.dial,
      parkMs: this.#budgets.parkMs,
      elapsed: parts.clock.elapsed,
      client,
      evict: () => this.#evict(),
    })
  }

  get accepted(): number {
    return this.#accepted
  }

  /** Whether a mail server was asked about the transaction under way: MAIL has gone out, or the client's HELO was refused. */
  get asked(): boolean {
    return this.#asked
  }

  /** The mail server that the transaction is with, as long as it lasts. */
  get upstream(): string | undefined {
    return this.#message?.upstream ?? this.#upstream.current?.slot.server.label
  }

  /** Sends one recipient to a mail server; the first brings MAIL along. Never throws. */
  async rcpt(envelope: Envelope, rcptLine: string): Promise<Answer> {
    if (this.#settled !== undefined) return this.#settled
    this.#upstream.enter('ours')
    try {
      return this.#begun ? await this.#another(envelope, rcptLine) : await this.#first(envelope, rcptLine)
    } catch (error) {
      this.#parts.log.error({ err: stackOf(error) }, 'relay failed')
      this.#upstream.drop('internal error')
      this.#settled = { kind: 'refusal', refusal: refusal('internal'), upstream: undefined }
      return this.#settled
    } finally {
      this.#upstream.enter('client')
    }
  }

  /** Says DATA. A reply of 354 means that the text may be written. */
  async data(): Promise<Answer> {
    const link = this.#upstream.current
    if (this.#settled !== undefined) return this.#settled
    this.#upstream.enter('ours')
    if (link === undefined || link.smtp.ended) {
      this.#upstream.drop('gone before DATA')
      return lost(link?.slot.server.label, 'gone before DATA')
    }
    const { label } = link.slot.server
    try {
      const patience = Math.min(this.#budgets.dataMs, this.#settings.dial.replyTimeoutMs)
      const answered = this.#upstream.awaitReply(link, 'data', link.smtp.command('DATA', patience))
      this.#upstream.enter('envelope')
      const reply = await answered
      if (reply.code !== 354) {
        if (isLast(reply) || reply.code < 300) this.#upstream.drop(`it answered DATA with ${reply.code}`)
        return { kind: 'reply', to: 'data', reply: asRefusal(reply, 'data'), upstream: label }
      }
      if (this.#upstream.gone) return lost(label, 'the client left')
      this.#message = this.#newMessage(link)
      this.#upstream.turn.startText()
      this.#upstream.enter('client')
      return { kind: 'reply', to: 'data', reply, upstream: label }
    } catch (error) {
      this.#upstream.drop(messageOf(error))
      return this.#settled ?? lost(label, messageOf(error))
    }
  }

  /**
   * Passes on a part of the text, in the dot-stuffed form of the wire.
   * @returns undefined, or a promise to wait for before the next part: memory is bounded by what the sockets hold
   */
  write(chunk: Buffer): Promise<void> | undefined {
    const message = this.#message
    if (message === undefined) return undefined
    this.#upstream.turn.part(chunk.length, this.#parts.clock.elapsed())
    if (message.write(chunk)) return undefined
    this.#upstream.enter('upstream')
    return message.drained(this.#budgets.blockMs).then(() => {
      if (this.#message !== undefined) this.#upstream.enter('client')
    })
  }

  /** Sends the dot and waits for the mail server's last reply, whatever the client does meanwhile. Never throws. */
  end(): Promise<Final> {
    const ending = this.#end()
    this.#ending = ending
    return ending
  }

  async #end(): Promise<Final> {
    this.#upstream.enter('ours')
    const message = this.#message
    this.#message = undefined
    if (this.#settled !== undefined) return { answer: this.#settled, result: 'deferred', ms: 0 }
    return message?.end() ?? { answer: lost(undefined, 'ended before the dot'), result: 'deferred', ms: 0 }
  }

  /** The message under way must not be completed: the mail server is left without a dot (RFC 5321 section 4.1.1.4). */
  abort(why: string): void {
    this.#message = undefined
    this.#upstream.drop(why)
    this.#forget()
  }

  /** The transaction is over: RSET, a new HELO or EHLO, or the message is done. */
  reset(): void {
    if (this.#upstream.current !== undefined && this.#begun) this.#upstream.park()
    this.#forget()
  }

  /** The client is gone. Resolves when the mail server has given its last reply. */
  async close(): Promise<void> {
    this.#upstream.leave()
    if (this.#message !== undefined) this.abort('the client left in the middle of the message')
    await this.#ending
    this.#upstream.giveBack()
  }

  #newMessage(link: Link): Message {
    const { metrics, clock } = this.#parts
    const { bareNewline, dataTimeoutMs, trace, hostname, dial } = this.#settings
    const received =
      trace || dial.clientIp === 'received' ? receivedLine(this.#client.attributes, hostname, clock.now()) : undefined
    const { elapsed } = clock
    return new Message(this.#upstream, link, {
      ...{ bareNewline, dataTimeoutMs, received, metrics, elapsed },
      isKnown: isKnown(this.#client),
    })
  }

  /** Others wait, and the transaction makes no progress. The rest of it is answered with 451. */
  #evict(): void {
    const { state } = this.#upstream.turn
    const who = state === 'envelope' ? 'the mail server' : 'the client'
    const why = `${who} did not get on with the transaction while others waited for its connection`
    const upstream = this.#upstream.current?.slot.server.label
    this.#settled ??= { kind: 'refusal', refusal: refusal('upstream_full', { why }), upstream }
    if (this.#message === undefined) this.#upstream.giveBack()
    else this.#upstream.drop(why)
  }

  #forget(): void {
    this.#begun = false
    this.#asked = false
    this.#accepted = 0
    this.#settled = undefined
  }

  async #first(envelope: Envelope, rcptLine: string): Promise<Answer> {
    this.#begun = true
    const { upstreams, settings, clock } = this.#parts
    this.#settings = settings.value
    const { replyTimeoutMs, connectTimeoutMs } = this.#settings.dial
    const waits = { rcptMs: this.#budgets.rcptMs, replyTimeoutMs, connectTimeoutMs }
    const asking = (): void => {
      this.#asked = true
    }
    const parts = {
      upstream: this.#upstream,
      upstreams,
      waits,
      elapsed: clock.elapsed,
      name: () => this.#name(),
      asking,
    }
    const opened = await openTransaction(parts, envelope, rcptLine)
    return 'refused' in opened ? this.#settle(opened.refused) : this.#heardRcpt(opened.link, opened.rcpt)
  }

  #name(): Promise<unknown> | undefined {
    const { clientIp, names } = this.#settings.dial
    const isNeeded = clientIp === 'xclient' && this.#upstream.current === undefined
    return isNeeded ? names(this.#client.attributes.client.ip) : undefined
  }

  async #another(envelope: Envelope, rcptLine: string): Promise<Answer> {
    const link = this.#upstream.current
    if (link === undefined || link.smtp.ended) {
      this.#upstream.drop('gone in the middle of the envelope')
      return this.#settle(lost(link?.slot.server.label, 'gone in the middle of the envelope'))
    }
    const missing = missingOf(link, envelope)
    if (missing !== undefined) return lost(link.slot.server.label, missing)
    try {
      const patience = Math.min(this.#budgets.rcptMs, this.#settings.dial.replyTimeoutMs)
      const answered = this.#upstream.awaitReply(link, 'rcpt', link.smtp.command(rcptLine, patience))
      this.#upstream.enter('envelope')
      return this.#heardRcpt(link, await answered)
    } catch (error) {
      this.#upstream.drop(messageOf(error))
      return this.#settle(lost(link.slot.server.label, messageOf(error)))
    }
  }

  #heardRcpt(link: Link, reply: Reply): Answer {
    const { label } = link.slot.server
    if (reply.code < 300) {
      this.#accepted++
      return { kind: 'reply', to: 'rcpt', reply, upstream: label }
    }
    const answer: Answer = { kind: 'reply', to: 'rcpt', reply: asRefusal(reply, 'rcpt'), upstream: label }
    if (!isLast(reply)) return answer
    this.#upstream.drop(`it answered RCPT with ${reply.code}`)
    return this.#settle(answer)
  }

  /** Every further recipient, and DATA, gets this answer; if the connection was given to others, the answer that says so. */
  #settle(answer: Answer): Answer {
    this.#settled ??= answer
    return this.#settled
  }
}
