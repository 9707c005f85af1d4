/**
 * What one client says and hears, from HELO to the end of its last transaction. Which command may come when is
 * commands.ts; the way of a recipient is recipient.ts, that of a message message.ts; whose turn it is (lines, TLS,
 * timers), client-session.ts.
 */
import type { Facts } from '../../core/policy.ts'
import type { ClientAttributes } from '../../relay/smtp/client-attributes.ts'
import type { Extensions } from '../../relay/smtp/dial.ts'
import { Relay } from '../../relay/transaction/transaction.ts'
import type { SessionRecord } from '../outcome.ts'
import { say } from '../reply.ts'
import { Charges } from './charges.ts'
import { type ClientReply, goOn, UNREAD } from './client-reply.ts'
import { type Context, type ConversationParts, judge } from './context.ts'
import { extensionsUsed, readMail } from './grammar.ts'
import { type Message, noRecipients, startMessage } from './message.ts'
import { recipient } from './recipient.ts'
import { Replies } from './replies.ts'
import { Transaction } from './transaction.ts'

const NOTHING: Extensions = new Map()

export class Conversation {
  /** For replies that are no answer to a command of a transaction. */
  readonly replies: Replies
  readonly #context: Context
  readonly #connect: Facts['connect']
  #helo = ''
  #esmtp = false
  /** Undefined while no mail server was reached: what could be relayed is taken then, and is 451 where it cannot be. */
  #offered: Extensions | undefined = NOTHING
  /** Octets a message may have, as the client was told with that; undefined: no limit. */
  #promised: number | undefined
  #transaction: Transaction | undefined
  /** From 354 to the reply to its dot. */
  #message: Message | undefined

  /** @param tls protocol and cipher, where TLS is in use by now */
  constructor(
    parts: ConversationParts,
    facts: Facts['connect'],
    record: SessionRecord,
    tls: () => ClientAttributes['tls'],
  ) {
    const { client } = facts
    const { outcomes, voice } = parts
    this.#connect = facts
    this.replies = new Replies(voice, outcomes, client, record)
    const attributes = (): ClientAttributes => ({ client, helo: this.#helo, esmtp: this.#esmtp, tls: tls() })
    this.#context = {
      parts,
      client,
      record,
      relay: new Relay(parts.relay, attributes),
      replies: this.replies,
      observed: (stage, seen) => outcomes.observed(record, stage, seen),
    }
  }

  /** Whether the client has said who it is. */
  get greeted(): boolean {
    return this.#helo !== ''
  }

  get inTransaction(): boolean {
    return this.#transaction !== undefined
  }

  /** What was offered when it said EHLO, which holds also where the mail servers have come to offer less: 451, not 555. */
  get offered(): Extensions {
    return this.#offered ?? NOTHING
  }

  /** Octets a message may have; the same holds of it. Undefined: no limit. */
  get maxSize(): number | undefined {
    const now = this.#context.parts.maxSize()
    const promised = this.#promised
    return promised === undefined || now === undefined ? undefined : Math.max(promised, now)
  }

  /** @returns the refusal; undefined where the client may go on */
  async hello(name: string, esmtp: boolean): Promise<ClientReply | undefined> {
    const { parts, record, replies } = this.#context
    this.reset()
    record.helo = Buffer.from(name, 'latin1').toString('utf8')
    const verdict = await judge(this.#context, 'helo', 'uncounted', { ...this.#connect, helo: name })
    if (verdict.action !== 'accept') return replies.refuse(verdict, 'refused')
    this.#helo = name
    this.#esmtp = esmtp
    this.#offered = parts.relay.upstreams.offer
    this.#promised = parts.maxSize()
    return undefined
  }

  /** RFC 3207 section 4.2: what was said in the clear is forgotten. */
  forgetHello(): void {
    this.reset()
    this.#helo = ''
    this.#offered = NOTHING
  }

  async mail(line: string): Promise<ClientReply> {
    const { parts, client, record, replies } = this.#context
    const read = readMail(line)
    if (!read.ok) return replies.mistake(read.mistake)
    const { address: from, parameters } = read.value
    const needs = extensionsUsed('mail', parameters, this.#offered)
    if (!needs.ok) return replies.mistake(needs.mistake)
    const declared = parameters.get('SIZE')
    const size = declared === undefined ? undefined : Number(declared)
    const facts = { ...this.#connect, helo: this.#helo, from, size, maxSize: this.maxSize }
    record.from = from
    const verdict = await judge(this.#context, 'mail', 'uncounted', facts)
    if (verdict.action !== 'accept') {
      const reply = replies.refuse(verdict, 'refused')
      const result = verdict.code < 500 ? 'deferred' : 'rejected'
      replies.message({ result, upstream: undefined, reply: reply.text })
      return reply
    }
    this.#transaction = new Transaction(read.value.line, needs.value, facts, new Charges(parts.limits, client))
    return goOn(say(250, '2.1.0', 'Ok'))
  }

  /** @param slow whether the client types as slowly as no machine does */
  rcpt(line: string, slow: boolean): Promise<ClientReply> {
    return recipient(this.#context, this.#transaction as Transaction, { line, slow, offered: this.#offered })
  }

  /** A reply that the text of a message follows brought the message about; any other ends the transaction. */
  async data(): Promise<ClientReply> {
    const transaction = this.#transaction as Transaction
    if (this.#context.relay.accepted === 0) {
      const reply = noRecipients(this.#context, transaction)
      this.reset()
      return reply
    }
    const { reply, message } = await startMessage(this.#context, transaction, this.maxSize)
    // What became of its message is told already.
    if (transaction.isOver) return UNREAD
    if (message === undefined) this.#end()
    else this.#message = message
    return reply
  }

  /**
   * Passes on a part of the message.
   * @param dots of them that stand for transparency only
   * @returns a promise to wait for before the next part; or the last reply, where even reading the rest away is too much
   */
  write(chunk: Buffer, dots: number): Promise<void> | ClientReply | undefined {
    const wait = this.#message?.write(chunk, dots)
    if (wait !== undefined && !(wait instanceof Promise)) this.#end()
    return wait
  }

  /** The dot has come. */
  async dot(): Promise<ClientReply> {
    const message = this.#message as Message
    try {
      return await message.end()
    } finally {
      this.#end()
    }
  }

  /** RSET, a new greeting, the end: what of the transaction came to nothing is counted. */
  reset(): void {
    const { relay, replies } = this.#context
    const transaction = this.#transaction
    if (transaction === undefined) return
    const { refused, lastRefused } = transaction
    if (relay.accepted > 0) {
      replies.message({ result: 'aborted', upstream: relay.upstream, reply: 'given up by the client' })
    } else if (refused !== undefined) {
      replies.message({ result: refused, upstream: lastRefused?.upstream, reply: lastRefused?.reply.text ?? '' })
    }
    this.#end()
  }

  /** A message whose dot has not come is given up, so the mail server must not see one (RFC 5321 section 4.1.1.4). */
  abandon(why: string): void {
    if (this.#message === undefined || this.#message.isPastDot) return
    this.#message.abandon(why)
    this.#end()
  }

  /** A recipient that failed on our side was put off: DATA must not be 554 for it. @param reply what its client hears */
  failed(reply: ClientReply): void {
    if (this.#context.record.stage !== 'rcpt') return
    this.#transaction?.refuse({ code: 451, reply, upstream: undefined, reason: 'internal' })
  }

  /** The client is gone. Resolves when the mail server has said its last word. */
  async gone(): Promise<void> {
    const { relay, record } = this.#context
    if (this.#transaction !== undefined) record.aborted = true
    if (this.#message?.isPastDot) this.#message.left()
    else {
      this.abandon('the client left')
      this.reset()
    }
    await relay.close()
  }

  /** Nobody waits any longer, not even for the answer to a dot. */
  cut(): void {
    this.#transaction?.end(this.#wasAsked)
    this.#context.relay.abort('ended now')
  }

  /** Whether a mail server was asked about the transaction; the relay forgets it when it gives up a message. */
  get #wasAsked(): boolean {
    return this.#message !== undefined || this.#context.relay.asked
  }

  #end(): void {
    this.#transaction?.end(this.#wasAsked)
    this.#transaction = undefined
    this.#message = undefined
    this.#context.relay.reset()
  }
}
