/**
 * The text of one message on its way to a mail server, from the 354 to the reply to its dot. Bare newlines are corrected, or are
 * a reason to refuse the message. Our Received line goes on top if the settings ask for it. The dot is sent only if all of the
 * text was sent before it: an incomplete message must not be ended (RFC 5321 section 4.1.1.4).
 */

import type { Clock } from '../../core/clock.ts'
import { messageOf } from '../../core/errors.ts'
import { refusal } from '../../core/policy.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import { isLast } from '../smtp/reply.ts'
import { asRefusal, type Final, lost } from './answer.ts'
import type { ClientLink } from './link.ts'
import type { Link } from './link-parts.ts'
import { Newlines } from './newlines.ts'

export interface MessageOptions {
  /** What to do about a bare LF or CR in the text. */
  readonly bareNewline: 'normalize' | 'reject'
  /** At least 660,000: longer than the client waits (RFC 5321 section 4.5.3.2.6, RFC 1047). */
  readonly dataTimeoutMs: number
  /** Our Received line with its CRLFs; undefined: nothing is put on top. */
  readonly received: Buffer | undefined
  /** Whether the client is trusted or known: strangers must not slow it down. */
  readonly isKnown: boolean
  readonly metrics: Pick<Metrics, 'bareNewlines'>
  readonly elapsed: Clock['elapsed']
}

const DOT = Buffer.from('.')
const NOTHING = Buffer.alloc(0)

export class Message {
  readonly #upstream: ClientLink
  readonly #link: Link
  readonly #options: MessageOptions
  readonly #newlines = new Newlines()
  readonly #stopWatching: () => void
  /** What the client will hear at its dot, if that is decided earlier. No more of the text is sent then. */
  #early: Final | Promise<Final> | undefined
  /** Our Received line was sent, and nothing of the message yet. */
  #traced = false
  /** Octets of the message that were sent. */
  #octets = 0
  /** All that has come of the message is a dot, which is held back until more comes. */
  #dotHeld = false

  /** @param link the connection of `upstream` on which the 354 has just come */
  constructor(upstream: ClientLink, link: Link, options: MessageOptions) {
    this.#upstream = upstream
    this.#link = link
    this.#options = options
    // A client may take hours to reach its dot. A server that is gone, or refuses, is left at once, which frees its slot.
    this.#stopWatching = link.smtp.watch(() => this.#giveUp())
    if (link.smtp.ended || link.smtp.unasked) this.#giveUp()
    if (options.received === undefined) return
    this.#traced = true
    link.smtp.send(options.received)
  }

  /** The mail server that is given the message. */
  get upstream(): string {
    return this.#link.slot.server.label
  }

  /**
   * Passes on a part of the text, in the dot-stuffed form of the wire.
   * @returns false if the caller should wait for `drained` before the next part
   */
  write(chunk: Buffer): boolean {
    if (this.#early !== undefined) return true
    const clean = this.#newlines.push(chunk)
    if (this.#mustReject) {
      this.#reject()
      return true
    }
    return this.#send(clean)
  }

  /** Resolves when more may be written. A mail server that takes nothing for `timeoutMs` is given up. */
  drained(timeoutMs: number): Promise<void> {
    return this.#link.smtp.drained(timeoutMs)
  }

  get #mustReject(): boolean {
    const { bareLf, bareCr } = this.#newlines
    return this.#options.bareNewline === 'reject' && bareLf + bareCr > 0
  }

  #send(part: Buffer): boolean {
    const ready = this.#traced && part.length > 0 ? this.#behindTrace(part) : part
    this.#octets += ready.length
    return ready.length === 0 || this.#link.smtp.sendPart(ready)
  }

  /**
   * A first line that begins with a blank, or would without the dot before it, would continue our header field (RFC 5322 section
   * 2.2.3). It is no header, so the body begins here. A dot alone is held back until that is known.
   */
  #behindTrace(part: Buffer): Buffer {
    const head = this.#dotHeld ? Buffer.concat([DOT, part]) : part
    this.#dotHeld = head.equals(DOT)
    if (this.#dotHeld) return NOTHING
    const first = head[0] === DOT[0] ? head[1] : head[0]
    if (first === 32 || first === 9) this.#link.smtp.send('\r\n')
    this.#traced = false
    return head
  }

  /** Sends the dot and waits for the mail server's last reply, whatever the client does meanwhile. Never throws. */
  async end(): Promise<Final> {
    this.#stopWatching()
    const { bareNewlines } = this.#options.metrics
    const rest = this.#early === undefined ? this.#newlines.end() : NOTHING
    const { bareLf, bareCr } = this.#newlines
    if (bareLf > 0) bareNewlines.of('lf').value += bareLf
    if (bareCr > 0) bareNewlines.of('cr').value += bareCr
    if (this.#mustReject) this.#reject()
    if (this.#early !== undefined) return this.#early
    const { smtp } = this.#link
    if (smtp.ended || smtp.unasked) return this.#spokeEarly()
    const { elapsed } = this.#options
    const started = elapsed()
    const took = (): number => Math.round(elapsed() - started)
    const { upstream } = this
    const { dots, strangers } = this.#link.slot.server
    const dot = dots.sent(this.#upstream.net, started)
    const timed = this.#options.isKnown ? strangers.sent(this.#upstream.net) : undefined
    try {
      this.#send(rest)
      const answered = smtp.command('.', this.#options.dataTimeoutMs)
      const reply = await this.#upstream.awaitReply(this.#link, 'dot', answered, this.#octets)
      dots.answered(dot, this.#octets, reply.code < 300, elapsed())
      if (reply.code < 300 && timed !== undefined) strangers.accepted(timed, this.#octets)
      if (isLast(reply)) this.#upstream.drop(`it answered the dot with ${reply.code}`)
      else this.#upstream.messageDone()
      if (reply.code < 300) {
        return { answer: { kind: 'reply', to: 'dot', reply, upstream }, result: 'accepted', ms: took() }
      }
      const said = asRefusal(reply, 'dot')
      // A 3yz is neither a yes nor a no.
      const result = said.code >= 500 ? 'rejected' : reply.code >= 400 ? 'deferred' : 'unknown'
      return { answer: { kind: 'reply', to: 'dot', reply: said, upstream }, result, ms: took() }
    } catch (error) {
      dots.lost(dot)
      this.#upstream.drop(messageOf(error))
      return { answer: lost(upstream, `after the dot: ${messageOf(error)}`), result: 'unknown', ms: took() }
    }
  }

  #reject(): void {
    const { upstream } = this
    this.#early ??= {
      answer: { kind: 'refusal', refusal: refusal('bare_newline'), upstream },
      result: 'rejected',
      ms: 0,
    }
    this.#leave('bare newline')
  }

  /** The mail server is gone, or spoke in the middle of the message. If we have left it ourselves, there is nothing to hear. */
  #giveUp(): void {
    // This comes first: asking for the reply calls the watchers again.
    this.#stopWatching()
    if (this.#early !== undefined || this.#upstream.current !== this.#link) return
    this.#early = this.#spokeEarly()
  }

  /** The mail server refused or left before the dot was sent. Its refusal is believed, a positive reply never is. */
  async #spokeEarly(): Promise<Final> {
    const { upstream } = this
    let why = 'answered before the dot'
    try {
      const reply = await this.#link.smtp.reply(1000)
      if (reply.code >= 400) {
        const said = asRefusal(reply, 'dot')
        const result = said.code >= 500 ? 'rejected' : 'deferred'
        return { answer: { kind: 'reply', to: 'dot', reply: said, upstream }, result, ms: 0 }
      }
    } catch (error) {
      why = `before the dot: ${messageOf(error)}`
    } finally {
      this.#leave(why)
    }
    return { answer: lost(upstream, why), result: 'deferred', ms: 0 }
  }

  #leave(why: string): void {
    this.#stopWatching()
    this.#upstream.drop(why)
  }
}
