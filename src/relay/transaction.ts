/**
 * Mail transactions of one client, relayed live: MAIL and RCPT go to an upstream as the client said them, DATA streams
 * through, and what the upstream says is what the client hears. Nothing is stored, so nothing can be lost here: the
 * client hears 250 only after the upstream has said it for the same message.
 *
 * An upstream connection carries one client. It stays with that client from message to message, and goes to the next one
 * only where no client address was given over it and it never heard a refusal.
 */
import { type Refusal, refusal } from '../core/policy.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics, UpstreamCommand } from '../telemetry/metrics.ts'
import { type Dialed, type DialSettings, dial, greetAgain, timeLeft, UpstreamRefusal } from './dial.ts'
import { Newlines } from './newlines.ts'
import { type Reply, UpstreamError } from './smtp-client.ts'
import { connectResult, NoUpstream, type Server, type Slot, type Upstreams } from './upstreams.ts'
import { receivedLine, type Visitor } from './visitor.ts'

/** MAIL as it goes upstream, with the extensions its parameters use. Latin1, without CRLF. */
export interface Envelope {
  readonly line: string
  readonly needs: readonly string[]
}

/** What the client is to hear: an upstream's words, or a refusal of ours. `upstream`: who was asked. */
export type Answer =
  | { readonly kind: 'reply'; readonly reply: Reply; readonly upstream: string }
  | { readonly kind: 'refusal'; readonly refusal: Refusal; readonly upstream: string | undefined }

/** What became of a message after DATA was answered with 354. `unknown`: the upstream never answered the dot. */
export interface Final {
  readonly answer: Answer
  readonly result: 'accepted' | 'deferred' | 'rejected' | 'unknown'
  /** Milliseconds from the dot to the upstream's reply. */
  readonly ms: number
}

export interface RelaySettings {
  readonly dial: DialSettings
  /** At least 660,000: longer than the client waits (RFC 5321 section 4.5.3.2.6, RFC 1047). */
  readonly dataTimeoutMs: number
  readonly bareNewline: 'normalize' | 'reject'
  readonly trace: boolean
  readonly hostname: string
  /** Instead of `BUDGETS`, where somebody cannot wait that long. */
  readonly budgets?: Partial<Budgets>
}

/** In milliseconds. */
export interface Budgets {
  /** From RCPT to our reply over all phases, below the 5 minutes a client waits (RFC 5321 section 4.5.3.2.3). */
  readonly rcptMs: number
  /** From DATA to our 354, below the 2 minutes a client waits (section 4.5.3.2.4). */
  readonly dataMs: number
  /** For the upstream to take the next part of a message (section 4.5.3.2.5). */
  readonly blockMs: number
  /** How long a connection waits for the same client's next message before it is given back. */
  readonly parkMs: number
}

export interface RelayParts {
  readonly upstreams: Upstreams
  readonly settings: RelaySettings
  readonly metrics: Pick<Metrics, 'upstreamConnects' | 'upstreamReplies' | 'upstreamReplyDuration' | 'bareNewlines'>
  readonly log: Log
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

const BUDGETS: Budgets = { rcptMs: 270_000, dataMs: 110_000, blockMs: 180_000, parkMs: 5000 }
/** Servers tried for one transaction while none can be reached. */
const MAX_TRIES = 3

const lost = (upstream: string | undefined, why: string): Answer => ({
  kind: 'refusal',
  refusal: refusal('upstream_lost', { why }),
  upstream,
})

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** An upstream's 421 is about its connection to us, not ours to the client; 2yz and 3yz out of place are not believed. */
const asRefusal = (reply: Reply): Reply => {
  if (reply.code < 400) return { code: 451, lines: ['4.3.0 The mail server answered out of turn'] }
  return reply.code === 421 ? { code: 451, lines: reply.lines } : reply
}

/** After these the connection is of no more use: it is about to be closed, or its replies do not fit our commands. */
const isLast = ({ code }: Reply): boolean => code === 421 || (code >= 300 && code < 400)

interface Line extends Dialed {
  readonly slot: Slot
  /** Whether no 4yz or 5yz was heard on it. */
  clean: boolean
  /** A transaction is open on it that the next one must end by RSET. */
  open: boolean
  /** It has served a message before. */
  reused: boolean
}

export class Relay {
  readonly #parts: RelayParts
  readonly #visitor: () => Visitor
  readonly #budgets: Budgets
  /** Aborted when the client is gone: nobody waits for a slot or a greeting for it any longer. Made when needed. */
  #leaving: AbortController | undefined
  #line: Line | undefined
  #parked: NodeJS.Timeout | undefined
  /** Recipients taken in the transaction under way. */
  #accepted = 0
  /** What every further recipient of this transaction hears, where the first already decided it. */
  #settled: Answer | undefined
  #begun = false
  #body: Newlines | undefined
  #bodyLost: string | undefined
  #ending: Promise<unknown> = Promise.resolve()
  #closed = false
  #sent = 0

  /** @param visitor asked when an upstream is reached: HELO and TLS may change in the course of a session */
  constructor(parts: RelayParts, visitor: () => Visitor) {
    this.#parts = parts
    this.#visitor = visitor
    this.#budgets = { ...BUDGETS, ...parts.settings.budgets }
  }

  get accepted(): number {
    return this.#accepted
  }

  /** Octets of the message under way that went upstream. */
  get sent(): number {
    return this.#sent
  }

  /** Asks an upstream for one recipient; the first brings MAIL along. Never throws. */
  async rcpt(envelope: Envelope, line: string): Promise<Answer> {
    if (this.#settled !== undefined) return this.#settled
    try {
      return this.#begun ? await this.#another(line) : await this.#begin(envelope, line)
    } catch (error) {
      this.#parts.log.error({ err: error instanceof Error ? error.stack : String(error) }, 'relay failed')
      this.#drop('internal error')
      this.#settled = { kind: 'refusal', refusal: refusal('internal'), upstream: undefined }
      return this.#settled
    }
  }

  /** Says DATA. A reply of 354 means that the body may be written. */
  async data(): Promise<Answer> {
    const line = this.#line
    if (this.#settled !== undefined) return this.#settled
    if (line === undefined || line.smtp.ended) {
      this.#drop('gone before DATA')
      return lost(line?.slot.server.label, 'gone before DATA')
    }
    const { label } = line.slot.server
    try {
      const patience = Math.min(this.#budgets.dataMs, this.#parts.settings.dial.replyTimeoutMs)
      const reply = await this.#timed(line, 'data', line.smtp.command('DATA', patience))
      if (reply.code !== 354) {
        if (isLast(reply) || reply.code < 300) this.#drop(`it answered DATA with ${reply.code}`)
        return { kind: 'reply', reply: asRefusal(reply), upstream: label }
      }
      if (this.#closed) return lost(label, 'the client left')
      this.#body = new Newlines()
      this.#bodyLost = undefined
      this.#sent = 0
      const { settings, now } = this.#parts
      if (settings.trace || settings.dial.clientIp === 'received') {
        line.smtp.send(receivedLine(this.#visitor(), settings.hostname, now()))
      }
      return { kind: 'reply', reply, upstream: label }
    } catch (error) {
      this.#drop(messageOf(error))
      return lost(label, messageOf(error))
    }
  }

  /**
   * Passes on a part of the body, in the dot-stuffed form of the wire.
   * @returns undefined, or a promise to wait for before the next part: memory is bounded by what the sockets hold
   */
  write(chunk: Buffer): Promise<void> | undefined {
    const { smtp } = this.#line ?? {}
    if (this.#body === undefined || smtp === undefined || this.#bodyLost !== undefined) return undefined
    if (smtp.ended || smtp.unasked) {
      this.#bodyLost = smtp.ended ? 'gone in the middle of the message' : 'spoke in the middle of the message'
      return undefined
    }
    const clean = this.#body.push(chunk)
    if (this.#parts.settings.bareNewline === 'reject' && this.#body.bareLf + this.#body.bareCr > 0) {
      this.#bodyLost = 'bare newline'
      return undefined
    }
    return this.#send(clean) ? undefined : smtp.drained(this.#budgets.blockMs)
  }

  #send(clean: Buffer | Buffer[]): boolean {
    const { smtp } = this.#line as Line
    let free = true
    for (const part of Array.isArray(clean) ? clean : [clean]) {
      if (part.length === 0) continue
      this.#sent += part.length
      free = smtp.send(part) && free
    }
    return free
  }

  /** Sends the dot and waits for the upstream's last word, whatever the client does meanwhile. Never throws. */
  end(): Promise<Final> {
    const ending = this.#end()
    this.#ending = ending
    return ending
  }

  async #end(): Promise<Final> {
    const line = this.#line as Line
    const body = this.#body as Newlines
    const { label } = line.slot.server
    const { metrics, settings } = this.#parts
    this.#body = undefined
    const rest = this.#bodyLost === undefined ? body.end() : Buffer.alloc(0)
    metrics.bareNewlines.of('lf').value += body.bareLf
    metrics.bareNewlines.of('cr').value += body.bareCr
    if (settings.bareNewline === 'reject' && body.bareLf + body.bareCr > 0) {
      this.#drop('bare newline')
      return {
        answer: { kind: 'refusal', refusal: refusal('bare_newline'), upstream: label },
        result: 'rejected',
        ms: 0,
      }
    }
    if (this.#bodyLost !== undefined || line.smtp.ended || line.smtp.unasked) return this.#spokeEarly(line)
    const started = performance.now()
    const took = (): number => Math.round(performance.now() - started)
    try {
      this.#send(rest)
      const answered = line.smtp.command('.', settings.dataTimeoutMs)
      const reply = await this.#timed(line, 'dot', answered)
      if (isLast(reply)) this.#drop(`it answered the dot with ${reply.code}`)
      else this.#afterMessage()
      if (reply.code < 300) return { answer: { kind: 'reply', reply, upstream: label }, result: 'accepted', ms: took() }
      const result = reply.code >= 500 ? 'rejected' : 'deferred'
      return { answer: { kind: 'reply', reply: asRefusal(reply), upstream: label }, result, ms: took() }
    } catch (error) {
      this.#drop(messageOf(error))
      return { answer: lost(label, `after the dot: ${messageOf(error)}`), result: 'unknown', ms: took() }
    }
  }

  /** The upstream refused or left before the dot was sent: its refusal is believed, a yes never is. */
  async #spokeEarly(line: Line): Promise<Final> {
    const { label } = line.slot.server
    const why = this.#bodyLost ?? 'gone before the dot'
    try {
      const reply = await line.smtp.reply(1000)
      if (reply.code >= 400) {
        const result = reply.code >= 500 ? 'rejected' : 'deferred'
        return { answer: { kind: 'reply', reply: asRefusal(reply), upstream: label }, result, ms: 0 }
      }
      return { answer: lost(label, 'answered before the dot'), result: 'deferred', ms: 0 }
    } catch {
      return { answer: lost(label, why), result: 'deferred', ms: 0 }
    } finally {
      this.#drop(why)
    }
  }

  /** The message under way must not be completed: the upstream is left without a dot (RFC 5321 section 4.1.1.4). */
  abort(why: string): void {
    this.#body = undefined
    this.#drop(why)
    this.#forget()
  }

  /** The transaction is over: RSET, a new greeting, or the message is done. */
  reset(): void {
    if (this.#line !== undefined && this.#begun) this.#park()
    this.#forget()
  }

  /** The client is gone. Resolves when the upstream has said its last word. */
  async close(): Promise<void> {
    this.#closed = true
    this.#leaving?.abort()
    if (this.#body !== undefined) this.abort('the client left in the middle of the message')
    await this.#ending
    this.#giveBack()
  }

  #forget(): void {
    this.#begun = false
    this.#accepted = 0
    this.#settled = undefined
  }

  #afterMessage(): void {
    if (this.#line !== undefined) this.#line.open = false
    if (this.#closed) this.#giveBack()
    else this.#park()
  }

  #park(): void {
    clearTimeout(this.#parked)
    this.#parked = setTimeout(() => this.#giveBack(), this.#budgets.parkMs)
    this.#parked.unref()
  }

  /** To the next client where that is allowed, else QUIT. */
  #giveBack(): void {
    clearTimeout(this.#parked)
    const line = this.#line
    if (line === undefined) return
    this.#line = undefined
    const { clientIp } = this.#parts.settings.dial
    const anonymous = clientIp === 'none' || clientIp === 'received'
    if (anonymous && line.clean && !line.open && line.smtp.settled) {
      line.slot.keep({ smtp: line.smtp, extensions: line.extensions, helo: line.helo })
    } else {
      line.smtp.quit()
      line.slot.free()
    }
  }

  #drop(why: string): void {
    clearTimeout(this.#parked)
    const line = this.#line
    this.#line = undefined
    if (line === undefined) return
    line.smtp.destroy(why)
    line.slot.free()
  }

  async #another(text: string): Promise<Answer> {
    const line = this.#line
    if (line === undefined || line.smtp.ended) {
      this.#drop('gone in the middle of the envelope')
      return this.#settle(lost(line?.slot.server.label, 'gone in the middle of the envelope'))
    }
    try {
      const patience = Math.min(this.#budgets.rcptMs, this.#parts.settings.dial.replyTimeoutMs)
      return this.#heardRcpt(line, await this.#timed(line, 'rcpt', line.smtp.command(text, patience)))
    } catch (error) {
      this.#drop(messageOf(error))
      return this.#settle(lost(line.slot.server.label, messageOf(error)))
    }
  }

  #heardRcpt(line: Line, reply: Reply): Answer {
    const { label } = line.slot.server
    if (reply.code < 300) {
      this.#accepted++
      return { kind: 'reply', reply, upstream: label }
    }
    if (isLast(reply)) {
      this.#drop(`it answered RCPT with ${reply.code}`)
      return this.#settle({ kind: 'reply', reply: asRefusal(reply), upstream: label })
    }
    return { kind: 'reply', reply: asRefusal(reply), upstream: label }
  }

  /** Every further recipient, and DATA, hear the same. */
  #settle(answer: Answer): Answer {
    this.#settled = answer
    return answer
  }

  /** The first recipient: finds a server that takes MAIL. None that has taken it is ever left for another. */
  async #begin(envelope: Envelope, rcpt: string): Promise<Answer> {
    this.#begun = true
    const deadline = performance.now() + this.#budgets.rcptMs
    let avoid: Server | undefined
    let last: Answer | undefined
    // Whether one server has failed the transaction itself, so that the next is the last.
    let askedOne = false
    let replaced = false
    let again: Slot | undefined
    for (let tries = 0; tries < MAX_TRIES; ) {
      let line: Line
      try {
        line = again === undefined ? await this.#ready(deadline, avoid) : await this.#fresh(again, deadline)
      } catch (error) {
        if (this.#closed) return this.#settle(lost(undefined, 'the client left'))
        tries++
        again = undefined
        if (error instanceof NoUpstream)
          return this.#settle(last ?? { kind: 'refusal', refusal: refusal(error.why), upstream: undefined })
        const { cause, server } = error as DialFailure
        if (cause instanceof UpstreamRefusal && cause.phase === 'ehlo' && cause.reply.code >= 500) {
          // It refuses the client's own HELO name: that is its verdict, as if it had come at MAIL.
          return this.#settle({ kind: 'reply', reply: cause.reply, upstream: server.label })
        }
        avoid = server
        last = lost(server.label, messageOf(cause))
        continue
      }
      const { server } = line.slot
      const missing = envelope.needs.find((keyword) => !line.extensions.has(keyword))
      if (missing !== undefined) {
        this.#giveBack()
        tries++
        avoid = server
        last = lost(server.label, `${missing} is not offered any more`)
        continue
      }
      try {
        const { mail, answer } = await this.#mailAndRcpt(line, envelope, rcpt, deadline)
        if (answer !== undefined) return answer
        if (mail.code >= 500) return this.#settle({ kind: 'reply', reply: mail, upstream: server.label })
        last = { kind: 'reply', reply: { ...asRefusal(mail), code: 451 }, upstream: server.label }
        if (!isLast(mail)) this.#giveBack()
        else if (line.reused && !replaced) again = this.#replace(line)
        else this.#drop(`it answered MAIL with ${mail.code}`)
      } catch (error) {
        // Once MAIL was taken, another server must not be asked: this one may have acted on it.
        if (error instanceof MailTaken) {
          this.#drop(messageOf(error))
          return this.#settle(lost(server.label, messageOf(error.cause)))
        }
        last = lost(server.label, messageOf(error))
        if (this.#closed) return this.#settle(last)
        if (line.reused && !replaced) again = this.#replace(line)
        else this.#drop(messageOf(error))
      }
      if (again !== undefined && !replaced) {
        replaced = true
        continue
      }
      again = undefined
      if (askedOne) break
      askedOne = true
      avoid = server
    }
    return this.#settle(last ?? lost(undefined, 'no upstream'))
  }

  /** @returns `answer` where MAIL was taken. @throws UpstreamError; MailTaken when lost after MAIL was taken */
  async #mailAndRcpt(
    line: Line,
    envelope: Envelope,
    rcpt: string,
    deadline: number,
  ): Promise<{ mail: Reply; answer: Answer | undefined }> {
    const { smtp, extensions } = line
    const left = (): number => timeLeft(deadline, this.#parts.settings.dial.replyTimeoutMs)
    const reset = line.open ? ['RSET'] : []
    const mailOf = (replies: readonly Promise<Reply>[]): Promise<Reply> =>
      this.#timed(line, 'mail', replies[reset.length] as Promise<Reply>)
    if (extensions.has('PIPELINING')) {
      const replies = smtp.pipeline([...reset, envelope.line, rcpt], left())
      const rcptReply = this.#timed(line, 'rcpt', replies[reset.length + 1] as Promise<Reply>)
      rcptReply.catch(() => undefined)
      replies[0]?.catch(() => undefined)
      const mail = await mailOf(replies)
      line.open = mail.code < 300
      if (!line.open) {
        // The verdict has been heard, also where the server closes behind it instead of refusing RCPT as well.
        if (!isLast(mail)) await rcptReply.catch(() => undefined)
        return { mail, answer: undefined }
      }
      try {
        return { mail, answer: this.#heardRcpt(line, await rcptReply) }
      } catch (error) {
        throw new MailTaken(error)
      }
    }
    if (line.open) await smtp.command('RSET', left())
    const mail = await this.#timed(line, 'mail', smtp.command(envelope.line, left()))
    line.open = mail.code < 300
    if (mail.code >= 300) return { mail, answer: undefined }
    try {
      return { mail, answer: this.#heardRcpt(line, await this.#timed(line, 'rcpt', smtp.command(rcpt, left()))) }
    } catch (error) {
      throw new MailTaken(error)
    }
  }

  /** The session's connection, one that another client left, or a new one. @throws NoUpstream, DialFailure */
  async #ready(deadline: number, avoid: Server | undefined): Promise<Line> {
    clearTimeout(this.#parked)
    const visitor = this.#visitor()
    const current = this.#line
    if (current !== undefined) {
      const usable = current.smtp.settled && current.helo === visitor.helo
      if (usable && current.slot.server !== avoid) {
        current.reused = true
        return current
      }
      this.#giveBack()
    }
    this.#leaving ??= new AbortController()
    const { signal } = this.#leaving
    const slot = await this.#parts.upstreams.slot(avoid, signal)
    if (slot.kept === undefined) return this.#fresh(slot, deadline)
    const { smtp, helo } = slot.kept
    let { extensions } = slot.kept
    try {
      if (helo !== visitor.helo) {
        extensions = await greetAgain(slot.kept, this.#parts.settings.dial, visitor, deadline, signal)
      }
    } catch {
      // It died while it was kept, which says nothing about the server.
      smtp.destroy()
      return this.#fresh(slot, deadline)
    }
    return this.#adopt({ smtp, extensions, helo: visitor.helo, slot, clean: true, open: false, reused: true })
  }

  /** A connection that lay idle may have died of that: a fresh one to the same server takes its slot. */
  #replace(line: Line): Slot {
    this.#line = undefined
    line.smtp.destroy('it died while it was idle')
    return line.slot
  }

  /** Opens a connection in a slot that is ours, and frees the slot where that fails. @throws DialFailure */
  async #fresh(slot: Slot, deadline: number): Promise<Line> {
    const { settings, upstreams, metrics } = this.#parts
    const { label } = slot.server
    const started = performance.now()
    try {
      const dialed = await dial(slot.server, settings.dial, this.#visitor(), deadline, this.#leaving?.signal)
      metrics.upstreamConnects.inc(label, 'ok')
      metrics.upstreamReplyDuration.of(label, 'connect').observe((performance.now() - started) / 1000)
      upstreams.report(slot.server, undefined)
      return this.#adopt({ ...dialed, slot, clean: true, open: false, reused: false })
    } catch (error) {
      slot.free()
      if (!this.#closed) {
        metrics.upstreamConnects.inc(label, connectResult(error))
        if (!this.#isAboutClient(error)) upstreams.report(slot.server, error)
      }
      throw new DialFailure(error, slot.server)
    }
  }

  /**
   * Whether a server turned away this client and not us: its HELO name, or its address where a PROXY header has told it
   * before the greeting. Else one unwelcome client would take the server from all others.
   */
  #isAboutClient(error: unknown): boolean {
    if (!(error instanceof UpstreamRefusal)) return false
    const { clientIp } = this.#parts.settings.dial
    return (
      error.phase === 'ehlo' || (error.phase === 'greeting' && (clientIp === 'proxy-v1' || clientIp === 'proxy-v2'))
    )
  }

  /** @throws UpstreamError where the client left meanwhile, so that nobody else would ever free the slot */
  #adopt(line: Line): Line {
    this.#line = line
    if (this.#closed) {
      this.#giveBack()
      throw new UpstreamError('lost', 'the client left')
    }
    return line
  }

  async #timed(line: Line, command: UpstreamCommand, answered: Promise<Reply>): Promise<Reply> {
    const { label } = line.slot.server
    const { metrics } = this.#parts
    const started = performance.now()
    const reply = await answered
    metrics.upstreamReplyDuration.of(label, command).observe((performance.now() - started) / 1000)
    metrics.upstreamReplies.inc(label, `${Math.floor(reply.code / 100)}xx`)
    if (reply.code >= 400) line.clean = false
    return reply
  }
}

class DialFailure extends Error {
  override readonly cause: unknown
  readonly server: Server
  constructor(cause: unknown, server: Server) {
    super(messageOf(cause))
    this.cause = cause
    this.server = server
  }
}

class MailTaken extends Error {
  override readonly cause: unknown
  constructor(cause: unknown) {
    super(messageOf(cause))
    this.cause = cause
  }
}
