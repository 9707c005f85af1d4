/**
 * What one client says and hears, from HELO to the end of its last transaction. commands.ts knows which command may come when,
 * sender.ts handles MAIL, recipient.ts a recipient, message.ts a message.
 */
import type { Observer } from '../../checks/runner.ts'
import type { Client, Standing } from '../../core/client.ts'
import { utf8Of } from '../../core/latin1.ts'
import { andThen, type Maybe } from '../../core/maybe.ts'
import type { Facts, Refusal } from '../../core/policy.ts'
import type { ClientAttributes } from '../../relay/smtp/client-attributes.ts'
import type { Extensions } from '../../relay/smtp/dial.ts'
import type { RelayClient } from '../../relay/transaction/link-parts.ts'
import { Relay } from '../../relay/transaction/relay.ts'
import type { SessionRecord } from '../session-record.ts'
import { type ClientReply, UNREAD } from './client-reply.ts'
import { type Connection, type Context, type ConversationParts, judge } from './context.ts'
import { mayBeOffered } from './grammar.ts'
import { type ClientMessage, noRecipients, startMessage } from './message.ts'
import { recipient } from './recipient.ts'
import { Replies } from './replies.ts'
import { sender } from './sender.ts'
import { isSign, MutableSigns, once } from './signs.ts'
import type { Transaction } from './transaction.ts'

const NOTHING: Extensions = new Map()

/** Its public members that are not commands are for sender.ts, recipient.ts, message.ts and the relay. */
export class Conversation implements Context, RelayClient {
  readonly parts: ConversationParts
  readonly record: SessionRecord
  /** Also for replies that have nothing to do with a transaction. */
  readonly replies: Replies
  readonly observed: Observer
  readonly signs = new MutableSigns()
  readonly #connect: Facts['connect']
  readonly #connection: Connection
  /** The editions of the policy and of the bans that the client was last judged by. */
  #judgedBy: symbol
  #judgedBans: number
  #relay: Relay | undefined
  #helo = ''
  #esmtp = false
  /**
   * Undefined if no mail server had been reached. Every extension that could be relayed is then accepted. If it turns out not to
   * be offered, the client hears 451.
   */
  #offered: Extensions | undefined = NOTHING
  /** The size limit that the client was told at the same time, in octets; undefined: none. */
  #promised: number | undefined
  #transaction: Transaction | undefined
  /** From 354 to the reply to its dot. */
  #message: ClientMessage | undefined

  constructor(parts: ConversationParts, facts: Facts['connect'], record: SessionRecord, connection: Connection) {
    const { outcomes, voice } = parts
    this.parts = parts
    this.record = record
    this.replies = new Replies(voice, outcomes, facts.client, record)
    this.observed = once(record, (stage, seen) => outcomes.observed(record, stage, seen), isSign)
    this.#connect = facts
    this.#connection = connection
    this.#judgedBy = parts.checks.edition
    this.#judgedBans = parts.bans.edition
  }

  get client(): Client {
    return this.#connect.client
  }

  /** Made when first needed: most clients in a flood never come as far as a recipient. */
  get relay(): Relay {
    this.#relay ??= new Relay(this.parts.relay, this)
    return this.#relay
  }

  get attributes(): ClientAttributes {
    return { client: this.client, helo: this.#helo, esmtp: this.#esmtp, tls: this.#connection.tls }
  }

  get standing(): Standing {
    return this.client.standing
  }

  get typesSlowly(): boolean {
    return this.#connection.typesSlowly
  }

  /** Whether the client has said HELO or EHLO. */
  get greeted(): boolean {
    return this.#helo !== ''
  }

  get isEsmtp(): boolean {
    return this.#esmtp
  }

  get inTransaction(): boolean {
    return this.#transaction !== undefined
  }

  /** What was offered at EHLO. It holds for the session. If mail servers come to offer less, the client hears 451, not 555. */
  get offered(): Extensions {
    return this.#offered ?? NOTHING
  }

  /** Whether MAIL may have the parameters of this extension. */
  offers(extension: string): boolean {
    const offered = this.#offered
    if (extension !== 'REQUIRETLS') return offered?.has(extension) ?? mayBeOffered(extension)
    // RFC 8689 section 2: only inside TLS.
    if (this.#connection.tls === undefined) return false
    return offered?.has(extension) ?? this.parts.relay.settings.value.dial.tls === 'required'
  }

  /** Size limit of a message in octets, which never shrinks within a session either; undefined: none. */
  get maxSize(): number | undefined {
    const now = this.parts.maxSize()
    const promised = this.#promised
    return promised === undefined || now === undefined ? undefined : Math.max(promised, now)
  }

  /**
   * Judges the client once more if the policy has changed or somebody was banned since it was last judged, by the deny list and the
   * bans alone: other lists and limits hold for new connections and new messages. What a check in observe mode finds is counted once a session.
   * @returns the last reply, if the client may not go on
   */
  barred(): Maybe<ClientReply | undefined> {
    const { checks, bans } = this.parts
    if (checks.edition === this.#judgedBy && bans.edition === this.#judgedBans) return undefined
    this.#judgedBy = checks.edition
    this.#judgedBans = bans.edition
    const { record, replies } = this
    const observed = once(record, this.observed, () => true)
    return andThen(checks.run('connect', 'again', this.#connect, observed), (verdict) => {
      if (verdict.action === 'accept') return undefined
      const reply: ClientReply = { ...replies.refuse(verdict, 'nothing', 'connect'), next: 'drop' }
      if (this.#transaction !== undefined) this.#refused(verdict, reply, this.#relay?.upstream)
      this.#end()
      return reply
    })
  }

  /** The client has sent a line of another protocol. @returns the last reply, if it may not go on */
  foreign(): Maybe<ClientReply | undefined> {
    const facts = { ...this.#connect, helo: this.#helo, signs: this.signs }
    return andThen(judge(this, 'helo', 'foreign', facts), (verdict) => {
      if (verdict.action === 'accept') return undefined
      return { ...this.replies.refuse(verdict, 'nothing', 'helo'), next: 'close' as const }
    })
  }

  /** @returns a refusal; undefined if the client may go on */
  async hello(name: string, esmtp: boolean): Promise<ClientReply | undefined> {
    const { parts, record, replies } = this
    this.reset()
    record.helo = utf8Of(name)
    this.signs.named(name, this.#helo, this.client, parts.heloCrowds)
    const facts = { ...this.#connect, helo: name, signs: this.signs }
    const verdict = await judge(this, 'helo', 'uncounted', facts)
    if (verdict.action !== 'accept') return replies.refuse(verdict, 'refused')
    this.#helo = name
    this.#esmtp = esmtp
    this.#offered = parts.relay.upstreams.offer
    this.#promised = parts.maxSize()
    return undefined
  }

  /** Forgets what was said in the clear (RFC 3207 section 4.2). */
  forgetHello(): void {
    this.reset()
    this.#helo = ''
    this.#offered = NOTHING
  }

  async mail(line: string): Promise<ClientReply> {
    const around = { ...this.#connect, helo: this.#helo, signs: this.signs, maxSize: this.maxSize }
    const { reply, transaction } = await sender(this, line, around, (extension) => this.offers(extension))
    this.#transaction = transaction
    return reply
  }

  rcpt(line: string): Promise<ClientReply> {
    return recipient(this, this.#transaction as Transaction, { line, offered: this.#offered })
  }

  /** After the reply to DATA, either the text of a message follows, or the transaction is over. */
  async data(): Promise<ClientReply> {
    const transaction = this.#transaction as Transaction
    if ((this.#relay?.accepted ?? 0) === 0) {
      const reply = noRecipients(this, transaction)
      this.reset()
      return reply
    }
    const { reply, message } = await startMessage(this, transaction, this.maxSize)
    // What became of its message has been recorded already.
    if (transaction.isOver) return UNREAD
    if (message === undefined) this.#end()
    else this.#message = message
    return reply
  }

  /**
   * Passes on a part of the message.
   * @param dots octets in it that are there for transparency only
   * @returns a promise to wait for before the next part; or the last reply, if even discarding the rest would be too much
   */
  write(chunk: Buffer, dots: number): Promise<void> | ClientReply | undefined {
    const wait = this.#message?.write(chunk, dots)
    if (wait !== undefined && !(wait instanceof Promise)) this.#end()
    return wait
  }

  /** The dot has come. */
  async dot(): Promise<ClientReply> {
    const message = this.#message as ClientMessage
    try {
      return await message.end()
    } finally {
      this.#end()
    }
  }

  /** RSET, a new HELO or EHLO, or the end of the session: records how the transaction ended. */
  reset(): void {
    const { replies } = this
    const transaction = this.#transaction
    if (transaction === undefined) return
    const { refused, lastRefused } = transaction
    const relay = this.#relay
    if (relay !== undefined && relay.accepted > 0) {
      replies.message({ result: 'aborted', upstream: relay.upstream, reply: 'given up by the client' })
    } else if (refused !== undefined) {
      replies.message({ result: refused, upstream: lastRefused?.upstream, reply: lastRefused?.reply.text ?? '' })
    }
    this.#end()
  }

  /** Gives up a message whose dot has not come. The mail server must not see one (RFC 5321 section 4.1.1.4). */
  abandon(why: string): void {
    if (this.#message === undefined || this.#message.isPastDot) return
    this.#message.abandon(why)
    this.#end()
  }

  /** A recipient that failed on our side counts as put off, so that DATA is not 554. @param reply what the client hears */
  failed(reply: ClientReply): void {
    if (this.record.stage !== 'rcpt') return
    this.#transaction?.refuse({ code: 451, reply, upstream: undefined, reason: 'internal' })
  }

  /** The client is gone. Resolves when the mail server has given its last reply. */
  async gone(): Promise<void> {
    if (this.#transaction !== undefined) this.record.aborted = true
    if (this.#message?.isPastDot) this.#message.left()
    else {
      this.abandon('the client left')
      this.reset()
    }
    await this.#relay?.close()
  }

  /** Stops all waiting, even for the reply to a dot. */
  cut(): void {
    this.#transaction?.end(this.#wasAsked)
    this.#relay?.abort('ended now')
  }

  /** Records that a message was refused before its text. */
  #refused({ code }: Refusal, { text }: ClientReply, upstream?: string): void {
    this.replies.message({ result: code < 500 ? 'deferred' : 'rejected', upstream, reply: text })
  }

  /** Whether a mail server was asked about the transaction, or answered it from memory. The relay forgets that on giving up. */
  get #wasAsked(): boolean {
    return this.#message !== undefined || this.#relay?.asked === true || this.#transaction?.isRecalled === true
  }

  #end(): void {
    this.#transaction?.end(this.#wasAsked)
    this.#transaction = undefined
    this.#message = undefined
    this.#relay?.reset()
  }
}
