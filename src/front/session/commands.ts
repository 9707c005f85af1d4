/**
 * What each command means to a session: which may follow which (RFC 5321 section 4.1.4), what EHLO offers, and how many
 * commands a client may waste. client-session.ts handles turns, timers and closing; conversation.ts handles mail transactions.
 */
import { stackOf } from '../../core/errors.ts'
import { andThen, fenced, type Maybe } from '../../core/maybe.ts'
import { type Refusal, refusal } from '../../core/policy.ts'
import type { Log } from '../../telemetry/log.ts'
import { say, sayLines } from '../reply.ts'
import type { SessionRecord } from '../session-record.ts'
import { type ClientReply, type Counts, close, goOn } from './client-reply.ts'
import type { Connection, ConversationParts } from './context.ts'
import type { Conversation } from './conversation.ts'
import { readHelo } from './grammar.ts'
import { isOtherProtocol } from './other-protocol.ts'
import { notePutOffs } from './put-offs.ts'

/** What commands depend on, apart from what the client has said. */
export interface Surroundings extends Pick<Connection, 'tls'> {
  /** Whether this node is being stopped, so that nothing new should begin. */
  readonly draining: boolean
  /** Asks for a TLS handshake. @returns a refusal; undefined if it may begin, perhaps only later */
  secure(): Maybe<Refusal | undefined>
}

export interface CommandsParts {
  readonly conversation: Pick<ConversationParts, 'voice'>
  readonly offersTls: boolean
  /** How many transactions one session may begin. */
  readonly maxMessages: number
  readonly log: Log
}

/** Commands that bring no mail (NOOP, RSET, VRFY, HELP, AUTH, DATA without RCPT …) allowed between two messages, as in Postfix. */
const MAX_JUNK = 100
/** Wrong or unknown commands allowed between two messages, as in Postfix. */
const MAX_MISTAKES = 20
/**
 * What a line of another protocol counts for, whatever SPILLWAY_TONGUE is: the fifth ends the session. An HTTP request that a browser
 * or a library makes has as many before its body, in which a whole mail session may be.
 */
const MISTAKES_OF_A_FOREIGN_LINE = 5
/** Refusals of HELO, MAIL, RCPT and DATA allowed between two messages: as many as a message may have recipients. */
const MAX_REFUSED = 1000
/** RFC 5321 section 4.5.3.1.4, without the CRLF. Extensions make only MAIL and RCPT longer. */
const MAX_PLAIN_COMMAND = 510

const START_TLS: ClientReply = { text: say(220, '2.0.0', 'Ready to start TLS'), next: 'handshake', counts: 'nothing' }
const UNKNOWN_COMMAND = 'Command not recognized'
const NO_LOGINS = 'This server takes mail for its own users and has no logins; use the submission server'

export class Commands {
  readonly #parts: CommandsParts
  readonly #conversation: Conversation
  readonly #record: SessionRecord
  readonly #around: Surroundings
  #junk = 0
  #mistakes = 0
  #refused = 0
  /** Whether a command came out of turn since the last message. What was pipelined behind a refused MAIL does. */
  #wasOutOfTurn = false
  #messages = 0
  /** The last EHLO or MAIL was put off, so that a command that depends on it is not the client's mistake. */
  #isPutOff = false
  /** More came with the command that is being obeyed. */
  #hasMore = false

  constructor(parts: CommandsParts, conversation: Conversation, record: SessionRecord, around: Surroundings) {
    this.#parts = parts
    this.#conversation = conversation
    this.#record = record
    this.#around = around
  }

  /**
   * Never throws or rejects: a fault in a command is a 451 to the client and a stack in the log, nothing more.
   * @param line without its end @param isWhole false if it is only the beginning of a line that is too long
   * @param hasMore whether more has come behind it
   */
  obey(line: Buffer, isWhole: boolean, hasMore = false): Maybe<ClientReply> {
    this.#hasMore = hasMore
    return fenced(
      () => this.#obey(line, isWhole),
      (error) => this.#failed(error),
    )
  }

  /** The dot of a message. Never throws or rejects. */
  dot(): Maybe<ClientReply> {
    return fenced(
      () => this.#conversation.dot(),
      (error) => this.#failed(error),
    )
  }

  /** Counts a reply. @returns the reply, or a last one instead if the client has spent its budget */
  count(reply: ClientReply): ClientReply {
    const said = this.#counted(reply)
    if (said.next === 'close') this.leave()
    return said
  }

  #counted(reply: ClientReply): ClientReply {
    switch (reply.counts) {
      case 'nothing':
        return reply
      case 'message':
        this.#junk = 0
        this.#mistakes = 0
        this.#refused = 0
        this.#wasOutOfTurn = false
        return reply
      case 'junk':
        return ++this.#junk > MAX_JUNK ? this.#tooMuch(reply.counts) : reply
      case 'mistake':
        return ++this.#mistakes > MAX_MISTAKES ? this.#tooMuch(reply.counts) : reply
      case 'foreign':
        this.#mistakes += MISTAKES_OF_A_FOREIGN_LINE
        return this.#mistakes > MAX_MISTAKES ? this.#tooMuch('mistake') : reply
      case 'refused':
        return ++this.#refused > MAX_REFUSED ? this.#tooMuch(reply.counts) : reply
    }
  }

  /** The session, or a transaction, ends in order; see put-offs.ts. */
  leave(): void {
    notePutOffs(this.#conversation)
  }

  #failed(error: unknown): ClientReply {
    this.#parts.log.error({ err: stackOf(error) }, 'command failed')
    const reply = this.#conversation.replies.because('internal')
    this.#conversation.failed(reply)
    return reply
  }

  /** @param spentOn which budget it has used up */
  #tooMuch(spentOn: Counts): ClientReply {
    const isOfOrder = spentOn === 'mistake' && this.#wasOutOfTurn
    return this.#conversation.replies.refuse(refusal('junk', { spentOn: isOfOrder ? 'order' : spentOn }))
  }

  #obey(line: Buffer, isWhole: boolean): Maybe<ClientReply> {
    const text = line.toString('latin1')
    const verb = (/^[A-Za-z]+/.exec(text)?.[0] ?? '').toUpperCase()
    const isTooLong = !isWhole || (line.length > MAX_PLAIN_COMMAND && verb !== 'MAIL' && verb !== 'RCPT')
    const obeyed = () => (isTooLong ? this.#tooLong(text) : this.#command(verb, text))
    // Whoever is leaving is not refused anything.
    return verb === 'QUIT' ? obeyed() : andThen(this.#conversation.barred(), (last) => last ?? obeyed())
  }

  #tooLong(text: string): Maybe<ClientReply> {
    return isOtherProtocol(text)
      ? this.#otherProtocol()
      : this.#conversation.replies.because('line_too_long', 'mistake')
  }

  #command(verb: string, line: string): Maybe<ClientReply> {
    switch (verb) {
      case 'EHLO':
      case 'HELO':
        return this.#leading(this.#hello(line, verb === 'EHLO'))
      case 'MAIL':
        return this.#leading(this.#mail(line))
      case 'RCPT':
        if (!this.#conversation.inTransaction) return this.#outOfTurn('Say MAIL first')
        this.#record.stage = 'rcpt'
        return this.#conversation.rcpt(line)
      case 'DATA':
        if (line.trim().length > 4) return this.#wrong(501, '5.5.4', 'Syntax: DATA')
        if (!this.#conversation.inTransaction) return this.#outOfTurn('Say MAIL and RCPT first')
        this.#record.stage = 'data'
        return this.#conversation.data()
      case 'RSET':
        this.#conversation.reset()
        this.leave()
        return goOn(say(250, '2.0.0', 'Ok'), 'junk')
      case 'QUIT':
        return close(say(221, '2.0.0', `${this.#parts.conversation.voice.hostname} closing connection`))
      case 'STARTTLS':
        return this.#startTls(line)
      default:
        return this.#withoutMail(verb, line)
    }
  }

  #withoutMail(verb: string, line: string): Maybe<ClientReply> {
    switch (verb) {
      case 'NOOP':
        return goOn(say(250, '2.0.0', 'Ok'), 'junk')
      case 'VRFY':
        return goOn(say(252, '2.5.2', 'Send some mail, and the mail server will tell'), 'junk')
      case 'HELP':
        return goOn(say(214, '2.0.0', 'RFC 5321'), 'junk')
      case 'AUTH':
        // People misconfigure telephones, so it is no mistake; but it brings no mail either.
        return this.#conversation.replies.words(502, '5.5.1', NO_LOGINS, 'junk')
      case 'BDAT':
      case 'EXPN':
      case 'TURN':
      case 'ETRN':
        return this.#wrong(502, '5.5.1', 'Not implemented')
      default:
        return isOtherProtocol(line) ? this.#otherProtocol() : this.#wrong(500, '5.5.2', UNKNOWN_COMMAND)
    }
  }

  #wrong(code: number, enhanced: string | undefined, text: string): ClientReply {
    return this.#conversation.replies.words(code, enhanced, text, 'mistake')
  }

  /**
   * A command that was pipelined after an EHLO or MAIL that was put off is put off too: a 5yz would bounce the mail. It is no mistake: a mail
   * server pipelines all recipients of a message behind its MAIL (RFC 2920 section 3.1).
   */
  #outOfTurn(text: string): ClientReply {
    if (this.#isPutOff) return this.#conversation.replies.words(451, '4.5.1', text, 'refused')
    this.#wasOutOfTurn = true
    return this.#wrong(503, '5.5.1', text)
  }

  /** Notes whether an EHLO or MAIL is put off, as it also is if it fails. */
  #leading(reply: Maybe<ClientReply>): Maybe<ClientReply> {
    this.#isPutOff = true
    return andThen(reply, (made) => {
      this.#isPutOff = made.text.startsWith('4')
      return made
    })
  }

  #otherProtocol(): Maybe<ClientReply> {
    const { replies } = this.#conversation
    const unknown = () => replies.words(500, '5.5.2', UNKNOWN_COMMAND, 'foreign')
    return andThen(this.#conversation.foreign(), (last) => last ?? unknown())
  }

  #mail(line: string): Maybe<ClientReply> {
    const conversation = this.#conversation
    if (!conversation.greeted) return this.#outOfTurn('Say EHLO first')
    if (conversation.inTransaction) return this.#wrong(503, '5.5.1', 'MAIL was said already; RSET begins anew')
    this.#record.stage = 'mail'
    if (!conversation.isEsmtp && this.#hasMore) conversation.signs.hasty = true
    if (this.#around.draining) return conversation.replies.because('draining')
    if (++this.#messages > this.#parts.maxMessages) return conversation.replies.because('session_messages')
    return conversation.mail(line)
  }

  async #hello(line: string, esmtp: boolean): Promise<ClientReply> {
    const conversation = this.#conversation
    const name = readHelo(line)
    if (name === undefined) return this.#wrong(501, undefined, `Syntax: ${esmtp ? 'EHLO' : 'HELO'} hostname`)
    const counts = conversation.greeted ? 'junk' : 'nothing'
    this.#record.stage = 'helo'
    if (this.#hasMore) conversation.signs.hasty = true
    this.#record.isClear = this.#parts.offersTls && this.#around.tls === undefined && !this.#record.foundNoPlace
    const refused = await conversation.hello(name, esmtp)
    if (refused !== undefined) return refused
    return goOn(esmtp ? this.#offer() : say(250, undefined, this.#parts.conversation.voice.hostname), counts)
  }

  #offer(): string {
    const { offered, maxSize: max } = this.#conversation
    const lines = [this.#parts.conversation.voice.hostname, 'PIPELINING']
    if (offered.has('SIZE')) lines.push(max === undefined ? 'SIZE' : `SIZE ${max}`)
    if (this.#parts.offersTls && this.#around.tls === undefined) lines.push('STARTTLS')
    for (const keyword of ['ENHANCEDSTATUSCODES', '8BITMIME', 'DSN', 'SMTPUTF8']) {
      if (offered.has(keyword)) lines.push(keyword)
    }
    if (offered.has('REQUIRETLS') && this.#conversation.offers('REQUIRETLS')) lines.push('REQUIRETLS')
    return sayLines(250, lines)
  }

  #startTls(line: string): Maybe<ClientReply> {
    if (!this.#parts.offersTls) return this.#wrong(502, '5.5.1', 'Not implemented')
    if (line.trim().length > 8) return this.#wrong(501, '5.5.4', 'Syntax: STARTTLS')
    if (this.#around.tls !== undefined) return this.#wrong(503, '5.5.1', 'TLS is in use already')
    // During the handshake nothing could be said.
    if (this.#around.draining) return this.#conversation.replies.because('draining')
    return andThen(this.#around.secure(), (refused) => {
      if (refused === undefined) return START_TLS
      this.#record.stage = 'connect'
      return this.#conversation.replies.refuse(refused)
    })
  }
}
