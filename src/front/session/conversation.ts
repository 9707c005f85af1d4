/**
 * What the transactions of one client mean: asks the checks, asks the upstream, and gives the reply. Which command may come
 * when is front/commands.ts; the connection itself (lines, TLS, timers) is front/session.ts.
 */

import type { Policy } from '../../checks/index.ts'
import type { Runner } from '../../checks/runner.ts'
import { isRole } from '../../core/address.ts'
import type { Client } from '../../core/client.ts'
import { type Facts, type Mode, type Refusal, refusal, type Stage, type Verdict } from '../../core/policy.ts'
import type { ReasonName } from '../../core/reasons.ts'
import type { Usage } from '../../core/usage.ts'
import type { Extensions } from '../../relay/smtp/dial.ts'
import { isUnknownUser } from '../../relay/smtp/reply.ts'
import type { Visitor } from '../../relay/smtp/visitor.ts'
import type { Answer } from '../../relay/transaction/answer.ts'
import { Relay, type RelayParts } from '../../relay/transaction/transaction.ts'
import type { KnownRecipients } from '../../state/known-recipients.ts'
import type { Budget, Limits } from '../../state/limits.ts'
import type { Outcomes, Record } from '../outcome.ts'
import { say, type Voice } from '../reply.ts'
import { extensionsUsed, type Mistake, type Path, readMail, readRcpt } from './grammar.ts'

export interface ConversationParts {
  readonly checks: Runner
  readonly limits: Limits
  readonly knownRecipients: KnownRecipients
  readonly unknownGuard: boolean
  readonly relay: RelayParts
  readonly outcomes: Outcomes
  readonly voice: Voice
  /** Octets a message may have; undefined: no limit. */
  readonly maxSize: () => number | undefined
  /** Of the size check, for what only shows in the course of a message. */
  readonly sizeMode: Mode
}

/** What the protocol itself, and how a client goes about it, has cause to refuse. */
export type ProtocolReason =
  | 'idle'
  | 'slow_data'
  | 'session_time'
  | 'session_messages'
  | 'junk'
  | 'line_too_long'
  | 'proxy_unlisted'
  | 'draining'
  | 'internal'

interface Transaction {
  readonly line: string
  readonly needs: readonly string[]
  readonly from: string
  readonly size: number | undefined
  /** Taken with the first recipient that passed what costs nothing; once. */
  usage: Usage | undefined
  /** The same where only the limits of everybody together are asked: for postmaster and abuse. */
  shared: Usage | undefined
  /** Of the recipient under way. */
  exempt: boolean
  /** Recipients that were put off, and that were refused for good. */
  deferred: number
  rejected: number
  /** What the last of them was told, and the upstream that said it. */
  refusedBy: string | undefined
  refusedWith: string
  /** Our reason, where it was ours. */
  refusedFor: ReasonName | undefined
}

const NOTHING: Extensions = new Map()

export class Conversation {
  readonly #parts: ConversationParts
  readonly #client: Client
  readonly #connect: Facts['connect']
  readonly #record: Record
  readonly #relay: Relay
  #helo = ''
  #esmtp = false
  /** Undefined while no mail server was reached: what could be relayed is taken then, and is 451 where it cannot be. */
  #offered: Extensions | undefined = NOTHING
  /** Octets a message may have, as the client was told with that; undefined: no limit. */
  #promised: number | undefined
  #transaction: Transaction | undefined
  #received = 0
  /** Octets the message under way may have; it stays what it was at DATA, whatever the upstreams say meanwhile. */
  #max: number | undefined
  /** Whether the last refusal was one that ends the session. */
  dropped = false
  /** Whether MAIL or RCPT, as heard last, was wrong in itself. */
  mistaken = false
  /** Whether the dot was sent and its answer is awaited. */
  pastDot = false
  #left = false

  constructor(parts: ConversationParts, facts: Facts['connect'], record: Record, tls: () => Visitor['tls']) {
    this.#parts = parts
    this.#client = facts.client
    this.#connect = facts
    this.#record = record
    const visitor = (): Visitor => ({ client: this.#client, helo: this.#helo, esmtp: this.#esmtp, tls: tls() })
    this.#relay = new Relay(parts.relay, visitor)
  }

  /** Whether the client has said who it is. */
  get greeted(): boolean {
    return this.#helo !== ''
  }

  get inTransaction(): boolean {
    return this.#transaction !== undefined
  }

  async helo(name: string, esmtp: boolean): Promise<string | undefined> {
    this.reset()
    this.#record.helo = Buffer.from(name, 'latin1').toString('utf8')
    const verdict = await this.#judge('helo', 'uncounted', { ...this.#connect, helo: name })
    if (verdict.action !== 'accept') return this.#refuse('helo', verdict)
    this.#helo = name
    this.#esmtp = esmtp
    this.#offered = this.#parts.relay.upstreams.offer
    this.#promised = this.#parts.maxSize()
    return undefined
  }

  /** RFC 3207 section 4.2: what was said in the clear is forgotten. */
  forgetHelo(): void {
    this.reset()
    this.#helo = ''
    this.#offered = NOTHING
  }

  /** What was offered when it said EHLO, which holds also where the mail servers have come to offer less: 451, not 555. */
  get offered(): Extensions {
    return this.#offered ?? NOTHING
  }

  /** Octets a message may have; the same holds of it. Undefined: no limit. */
  get maxSize(): number | undefined {
    const now = this.#parts.maxSize()
    const promised = this.#promised
    return promised === undefined || now === undefined ? undefined : Math.max(promised, now)
  }

  async mail(line: string): Promise<string> {
    this.mistaken = false
    const read = readMail(line)
    if (!read.ok) return this.#mistake(read.mistake)
    const { address: from, parameters } = read.value
    const needs = extensionsUsed('mail', parameters, this.#offered)
    if (!needs.ok) return this.#mistake(needs.mistake)
    const declared = parameters.get('SIZE')
    const size = declared === undefined ? undefined : Number(declared)
    const facts = { ...this.#connect, helo: this.#helo, from, size, maxSize: this.maxSize }
    this.#record.from = from
    const verdict = await this.#judge('mail', 'uncounted', facts)
    if (verdict.action !== 'accept') {
      const text = this.#refuse('mail', verdict)
      this.#told(verdict.code < 500 ? 'deferred' : 'rejected', undefined, text, 0)
      return text
    }
    this.#transaction = {
      line: read.value.line,
      needs: needs.value,
      from,
      size,
      usage: undefined,
      shared: undefined,
      exempt: false,
      deferred: 0,
      rejected: 0,
      refusedBy: undefined,
      refusedWith: '',
      refusedFor: undefined,
    }
    return say(250, '2.1.0', 'Ok')
  }

  async rcpt(line: string, slow = false): Promise<string> {
    const transaction = this.#transaction as Transaction
    this.mistaken = false
    const read = readRcpt(line)
    if (!read.ok) return this.#mistake(read.mistake)
    const used = extensionsUsed('rcpt', read.value.parameters, this.#offered)
    if (!used.ok) return this.#mistake(used.mistake)
    const { address: to } = read.value
    const verdict = await this.#admit(transaction, read.value)
    if (verdict === undefined || this.#transaction !== transaction) return ''
    if (verdict.action !== 'accept') return this.#recipientRefused(transaction, to, verdict)
    const { line: mail, size } = transaction
    const envelope = { line: mail, needs: [...new Set([...transaction.needs, ...used.value])], size }
    const answer = await this.#relay.rcpt(envelope, read.value.line, slow)
    if (this.#transaction !== transaction) return ''
    if (answer.kind === 'refusal') return this.#recipientRefused(transaction, to, answer.refusal, answer.upstream)
    return this.#recipientAnswered(transaction, to, answer)
  }

  /** @returns the reply to DATA, and whether it was 354 */
  async data(): Promise<{ readonly text: string; readonly go: boolean }> {
    const transaction = this.#transaction as Transaction
    if (this.#relay.accepted === 0) {
      // RFC 5321 section 3.3: no valid recipients; where any of them may be taken later, so may the message.
      const { deferred, refusedFor } = transaction
      this.reset()
      const text =
        deferred > 0
          ? this.words(451, '4.5.0', 'No recipient was accepted for now', refusedFor)
          : this.words(554, '5.5.1', 'No valid recipients', refusedFor)
      return { text, go: false }
    }
    this.#received = 0
    this.#max = this.maxSize
    const answer = await this.#relay.data()
    // The client left meanwhile, and what became of its message is told already.
    if (this.#transaction !== transaction) return { text: '', go: false }
    if (answer.kind === 'reply' && answer.reply.code === 354) {
      return { text: '354 End data with <CR><LF>.<CR><LF>\r\n', go: true }
    }
    const text = this.#answered('data', answer)
    const code = answer.kind === 'reply' ? answer.reply.code : answer.refusal.code
    this.#told(code < 500 ? 'deferred' : 'rejected', answer.upstream, text, 0)
    this.#transaction = undefined
    this.#relay.reset()
    return { text, go: false }
  }

  /**
   * @param dots of them that stand for transparency only, and do not count to the size (RFC 1870 section 5): one on each
   * line that begins with one
   * @returns 'close' where the message is past twice the limit, so that even reading it away is too much
   */
  write(chunk: Buffer, dots: number): Promise<void> | undefined | 'close' {
    const before = this.#received
    this.#received += chunk.length - dots
    const max = this.#max
    if (max !== undefined && this.tooLarge) {
      if (before <= max) this.#relay.abort('the message is too large')
      return this.#received > 2 * max ? 'close' : undefined
    }
    return this.#relay.write(chunk)
  }

  get tooLarge(): boolean {
    return this.#parts.sizeMode === 'enforce' && this.#outgrown
  }

  get #outgrown(): boolean {
    return this.#max !== undefined && this.#received > this.#max
  }

  /** The dot has come. */
  async end(): Promise<string> {
    if (this.tooLarge) return this.oversize()
    if (this.#outgrown && this.#parts.sizeMode === 'observe') {
      this.#parts.outcomes.observed(this.#record, 'data', this.#sizeRefusal())
    }
    this.pastDot = true
    const { answer, result, ms } = await this.#relay.end()
    this.pastDot = false
    const text = this.#answered('data', answer)
    this.#told(result, answer.upstream, text, ms, this.#left)
    this.#transaction = undefined
    this.#relay.reset()
    return text
  }

  oversize(): string {
    const text = this.#refuse('data', this.#sizeRefusal())
    this.#told('rejected', undefined, text, 0)
    this.#transaction = undefined
    return text
  }

  #sizeRefusal(): Refusal {
    return refusal('size', { used: this.#received, max: this.#max ?? 0 })
  }

  /** RSET, a new greeting, the end: what of the transaction came to nothing is counted. */
  reset(): void {
    const transaction = this.#transaction
    this.#transaction = undefined
    if (transaction === undefined) return
    const { deferred, rejected, refusedBy, refusedWith } = transaction
    if (this.#relay.accepted > 0) this.#told('aborted', this.#relay.upstream, 'given up by the client', 0)
    else if (deferred > 0) this.#told('deferred', refusedBy, refusedWith, 0)
    else if (rejected > 0) this.#told('rejected', refusedBy, refusedWith, 0)
    this.#relay.reset()
  }

  /** A message is given up before its dot, so the upstream must not see one (RFC 5321 section 4.1.1.4). */
  abandon(why: string): void {
    const { upstream } = this.#relay
    this.#relay.abort(`${why} in the middle of the message`)
    if (this.#transaction === undefined) return
    this.#record.aborted = true
    this.#told('aborted', upstream, `${why} before the dot`, 0)
    this.#transaction = undefined
  }

  /** The client is gone. @param midBody in the middle of a message. Resolves when the upstream has said its last word. */
  async gone(midBody: boolean): Promise<void> {
    this.#left = true
    if (this.pastDot) this.#record.aborted = true
    else {
      if (this.#transaction !== undefined) this.#record.aborted = true
      if (midBody) this.abandon('the client left')
      this.reset()
    }
    await this.#relay.close()
  }

  /** Nobody waits any longer, not even for the answer to a dot. */
  cut(): void {
    this.#relay.abort('ended now')
  }

  /** A refusal that the protocol has cause for (idle, junk …), as it goes to the wire. */
  refuse(reason: ProtocolReason, stage: Stage): string {
    const verdict = refusal(reason)
    const text = this.#refuse(stage, verdict)
    // A recipient that failed on our side is one that was put off: DATA must not be 554 for it.
    const transaction = reason === 'internal' && stage === 'rcpt' ? this.#transaction : undefined
    if (transaction !== undefined) this.#putDown(transaction, verdict.code, text, undefined, reason)
    return text
  }

  #refuse(stage: Stage, verdict: Refusal): string {
    this.dropped = verdict.action === 'drop'
    this.#parts.outcomes.refused(this.#record, stage, verdict)
    return this.#parts.voice.refusal(this.#client, verdict)
  }

  #mistake({ code, enhanced, text }: Mistake): string {
    this.mistaken = true
    return this.words(code, enhanced, text)
  }

  /**
   * A refusal that is about the commands themselves; with the id, as every refusal.
   * @param enhanced without it where RFC 2034 section 4 has none @param reason of what it follows from
   */
  words(code: number, enhanced: string | undefined, text: string, reason?: ReasonName): string {
    const lines = [enhanced === undefined ? text : `${enhanced} ${text}`]
    return this.#parts.voice.relayed(this.#client, { code, lines }, { reason })
  }

  #judge<S extends keyof Policy>(stage: S, part: keyof Policy[S], facts: Facts[S]): Verdict | Promise<Verdict> {
    return this.#parts.checks.run(stage, part, facts, (at, seen) =>
      this.#parts.outcomes.observed(this.#record, at, seen),
    )
  }

  /**
   * The checks of a recipient, with what they need counted in between. Undefined where the client left while that was
   * awaited: nothing more is counted for it.
   */
  async #admit(transaction: Transaction, { address: to }: Path): Promise<Verdict | undefined> {
    const { limits } = this.#parts
    const { from, size } = transaction
    const spared = this.#spared(from, to)
    transaction.exempt = spared !== undefined
    const before = { ...this.#connect, helo: this.#helo, from, size, to, accepted: this.#relay.accepted }
    const early = { ...before, exempt: transaction.exempt }
    const first = await this.#judge('rcpt', 'uncounted', early)
    if (first.action !== 'accept') return first
    if (spared !== undefined) {
      // Past the limits of the sender, not past what everybody together may send.
      const { global_messages } = transaction.usage ?? {}
      if (global_messages === undefined) transaction.shared ??= await limits.take('rcpt', this.#client, 'everybody')
      if (this.#transaction !== transaction) return undefined
      const usage = global_messages === undefined ? (transaction.shared ?? {}) : { global_messages }
      return this.#judge('rcpt', 'counted', { ...early, usage })
    }
    if (transaction.usage === undefined) {
      // A message counts once for everybody, whether postmaster or a user was named first.
      const { global_messages } = transaction.shared ?? {}
      const isCounted = global_messages !== undefined && global_messages.used <= global_messages.max
      const taken = limits.take('rcpt', this.#client, isCounted ? 'sender' : 'all')
      const usage: Usage = taken instanceof Promise ? await taken : taken
      if (this.#transaction !== transaction) return undefined
      transaction.usage = isCounted ? { ...usage, global_messages } : usage
    }
    const recipient = limits.recipient(this.#client, transaction.usage)
    const usage = recipient === undefined ? transaction.usage : { ...transaction.usage, ip_recipients: recipient }
    return this.#judge('rcpt', 'counted', { ...early, usage })
  }

  /**
   * postmaster and abuse are reached past the limits of the sender (RFC 5321 section 4.5.1), and so are those who verify
   * a user of ours by a null sender: each within a budget of its own.
   */
  #spared(from: string, to: string): Budget | undefined {
    const { limits, knownRecipients } = this.#parts
    if (isRole(to)) return limits.spare('role', this.#client) ? 'role' : undefined
    return from === '' && knownRecipients.has(to) && limits.spare('verify', this.#client) ? 'verify' : undefined
  }

  #recipientRefused(transaction: Transaction, to: string, verdict: Refusal, upstream?: string): string {
    this.#parts.outcomes.recipient(this.#record, to, verdict.code)
    const text = this.#refuse('rcpt', verdict)
    this.#putDown(transaction, verdict.code, text, upstream, verdict.reason)
    return text
  }

  #putDown(
    transaction: Transaction,
    code: number,
    text: string,
    upstream: string | undefined,
    reason: ReasonName | undefined,
  ): void {
    if (code < 500) transaction.deferred++
    else transaction.rejected++
    transaction.refusedBy = upstream
    transaction.refusedWith = text
    transaction.refusedFor = reason
  }

  #recipientAnswered(transaction: Transaction, to: string, answer: Extract<Answer, { kind: 'reply' }>): string {
    const { reply, upstream } = answer
    const { limits, knownRecipients, unknownGuard, outcomes, voice } = this.#parts
    const unknown = answer.to === 'rcpt' && isUnknownUser(reply)
    const taken = reply.code < 300
    if (taken || unknown) knownRecipients.heard(to, taken ? 'taken' : 'unknown')
    if (unknown && unknownGuard && knownRecipients.guarding()) {
      return this.#recipientRefused(transaction, to, refusal('unknown_guard'), upstream)
    }
    // A verification counts neither for nor against its client, and of postmaster and abuse everybody knows.
    const isTold = isRole(to) || (transaction.exempt && transaction.from === '')
    if ((taken || unknown) && !isTold) limits.heard(this.#client, to, unknown)
    outcomes.recipient(this.#record, to, reply.code)
    const text = voice.relayed(this.#client, reply, { utf8: transaction.needs.includes('SMTPUTF8') })
    if (!taken) {
      outcomes.refusedByUpstream(this.#record, upstream, reply)
      this.#putDown(transaction, reply.code, text, upstream, undefined)
    }
    return text
  }

  #answered(stage: Stage, answer: Answer): string {
    if (answer.kind === 'refusal') return this.#refuse(stage, answer.refusal)
    if (answer.reply.code >= 400) this.#parts.outcomes.refusedByUpstream(this.#record, answer.upstream, answer.reply)
    const utf8 = this.#transaction?.needs.includes('SMTPUTF8') ?? false
    return this.#parts.voice.relayed(this.#client, answer.reply, { utf8 })
  }

  #told(
    result: 'accepted' | 'deferred' | 'rejected' | 'aborted' | 'unknown',
    upstream: string | undefined,
    reply: string,
    ms: number,
    left = false,
  ): void {
    const size = this.#received
    this.#received = 0
    const told = { size, upstream, reply: reply.trimEnd(), ms, result, ...(left && { left }) }
    this.#parts.outcomes.message(this.#record, this.#client, told)
  }
}
