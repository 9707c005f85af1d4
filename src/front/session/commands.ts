/**
 * What each command means to a session: which may follow which (RFC 5321 section 4.1.4), what EHLO offers, and how many a
 * client may spend on nothing. Lines, timers and closing are front/session.ts; what a mail transaction means is
 * front/conversation.ts.
 */

import type { Record } from '../outcome.ts'
import { say, sayLines } from '../reply.ts'
import type { Conversation, ConversationParts } from './conversation.ts'
import { readHelo } from './grammar.ts'

/** The connection, as far as commands act on it. */
export interface Wire {
  readonly secure: boolean
  /** Whether the client types as slowly as no machine does. */
  readonly slow: boolean
  /** Says the last reply and closes. */
  farewell(text: string): void
  /** What comes behind the reply that is written now is a TLS handshake. */
  startTls(): void
  /** What comes next is the text of a message. @returns false where the connection is closed, or closes */
  startBody(): boolean
}

export interface CommandsParts {
  readonly conversation: Pick<ConversationParts, 'voice'>
  /** Whether STARTTLS is offered. */
  readonly tls: boolean
  /** Transactions that one session may begin. */
  readonly maxMessages: number
}

/** The reply, or undefined where it was written already. */
export type Said = string | undefined | Promise<string | undefined>

/** Commands that bring no mail (NOOP, RSET, VRFY, HELP, AUTH …), between two messages. As Postfix has it. */
const MAX_JUNK = 100
/** Commands that are wrong or unknown, between two messages. As Postfix has it. */
const MAX_ERRORS = 20
/** Refusals of MAIL and RCPT, by whomever, between two messages: as many as one message may have recipients. */
const MAX_REFUSED = 1000

const NO_LOGINS = 'This server takes mail for its own users and has no logins; use the submission server'

export class Commands {
  readonly #parts: CommandsParts
  readonly #conversation: Conversation
  readonly #record: Record
  readonly #wire: Wire
  #junk = 0
  #errors = 0
  #refused = 0
  #messages = 0
  /** EHLO or MAIL, as said last, failed on our side: a command that would follow it is not the client's mistake. */
  #failed = false

  constructor(parts: CommandsParts, conversation: Conversation, record: Record, wire: Wire) {
    this.#parts = parts
    this.#conversation = conversation
    this.#record = record
    this.#wire = wire
  }

  /** @param line without its end; latin1 */
  obey(line: string): Said {
    const verb = (/^[A-Za-z]+/.exec(line)?.[0] ?? '').toUpperCase()
    const conversation = this.#conversation
    switch (verb) {
      case 'EHLO':
      case 'HELO':
        return this.#leading(this.#hello(line, verb === 'EHLO'))
      case 'MAIL':
        if (!conversation.greeted) return this.#outOfTurn('Say EHLO first')
        if (conversation.inTransaction) return this.#wrong(503, '5.5.1', 'MAIL was said already; RSET begins anew')
        this.#record.stage = 'mail'
        if (++this.#messages > this.#parts.maxMessages) return conversation.refuse('session_messages', 'mail')
        return this.#leading(this.#marked(conversation.mail(line)))
      case 'RCPT':
        if (!conversation.inTransaction) return this.#outOfTurn('Say MAIL first')
        this.#record.stage = 'rcpt'
        return this.#marked(conversation.rcpt(line, this.#wire.slow))
      case 'DATA':
        if (line.trim().length > 4) return this.#wrong(501, '5.5.4', 'Syntax: DATA')
        if (!conversation.inTransaction) return this.#outOfTurn('Say MAIL and RCPT first')
        this.#record.stage = 'data'
        return this.#data()
      case 'RSET':
        conversation.reset()
        return this.#bringsNothing(say(250, '2.0.0', 'Ok'))
      case 'NOOP':
        return this.#bringsNothing(say(250, '2.0.0', 'Ok'))
      case 'QUIT':
        this.#wire.farewell(say(221, '2.0.0', `${this.#parts.conversation.voice.hostname} closing connection`))
        return undefined
      case 'STARTTLS':
        return this.#startTls(line)
      case 'VRFY':
        return this.#bringsNothing(say(252, '2.5.2', 'Send some mail, and the mail server will tell'))
      case 'HELP':
        return this.#bringsNothing(say(214, '2.0.0', 'RFC 5321'))
      case 'AUTH':
        // People do misconfigure telephones: it is no error, but brings no mail either.
        return this.#bringsNothing(conversation.words(502, '5.5.1', NO_LOGINS))
      case 'BDAT':
      case 'EXPN':
      case 'TURN':
      case 'ETRN':
        return this.#wrong(502, '5.5.1', 'Not implemented')
      default:
        return this.#wrong(500, '5.5.2', 'Command not recognized')
    }
  }

  /** Instead of a line that is longer than a command may be. */
  tooLong(): string | undefined {
    return this.#error(this.#conversation.refuse('line_too_long', this.#record.stage))
  }

  /** The dot was answered: what may be spent on nothing begins anew. */
  messageDone(): void {
    this.#junk = 0
    this.#errors = 0
    this.#refused = 0
  }

  /** A reply to something wrong; too many of them and the session ends. */
  #error(text: string): string | undefined {
    return ++this.#errors > MAX_ERRORS ? this.#tooMuch() : text
  }

  #wrong(code: number, enhanced: string | undefined, text: string): string | undefined {
    return this.#error(this.#conversation.words(code, enhanced, text))
  }

  /** Pipelined behind EHLO or MAIL that was put off it is put off too: a 5yz would end the mail. */
  #outOfTurn(text: string): string | undefined {
    return this.#failed ? this.#wrong(451, '4.5.1', text) : this.#wrong(503, '5.5.1', text)
  }

  /** EHLO and MAIL: notes whether they fail for the time being. */
  async #leading(answer: Promise<string | undefined>): Promise<string | undefined> {
    this.#failed = true
    const text = await answer
    this.#failed = text?.startsWith('4') ?? false
    return text
  }

  #bringsNothing(text: string): string | undefined {
    return ++this.#junk > MAX_JUNK ? this.#tooMuch() : text
  }

  #tooMuch(): undefined {
    this.#wire.farewell(this.#conversation.refuse('junk', this.#record.stage))
    return undefined
  }

  /** A command that is wrong in itself counts as an error; what policy and upstreams refuse does not. */
  async #marked(answer: Promise<string>): Promise<string | undefined> {
    const text = await answer
    if (this.#conversation.mistaken) return this.#error(text)
    return /^[45]/.test(text) && ++this.#refused > MAX_REFUSED ? this.#tooMuch() : text
  }

  async #hello(line: string, esmtp: boolean): Promise<string | undefined> {
    const name = readHelo(line)
    if (name === undefined) return this.#wrong(501, undefined, `Syntax: ${esmtp ? 'EHLO' : 'HELO'} hostname`)
    if (this.#conversation.greeted && ++this.#junk > MAX_JUNK) return this.#tooMuch()
    this.#record.stage = 'helo'
    const refused = await this.#conversation.helo(name, esmtp)
    if (refused !== undefined) return refused
    const { voice } = this.#parts.conversation
    if (!esmtp) return say(250, undefined, voice.hostname)
    const { offered, maxSize: max } = this.#conversation
    const lines = [voice.hostname, 'PIPELINING']
    if (offered.has('SIZE')) lines.push(max === undefined ? 'SIZE' : `SIZE ${max}`)
    if (this.#parts.tls && !this.#wire.secure) lines.push('STARTTLS')
    for (const keyword of ['ENHANCEDSTATUSCODES', '8BITMIME', 'DSN', 'SMTPUTF8']) {
      if (offered.has(keyword)) lines.push(keyword)
    }
    return sayLines(250, lines)
  }

  #startTls(line: string): string | undefined {
    if (!this.#parts.tls) return this.#wrong(502, '5.5.1', 'Not implemented')
    if (line.trim().length > 8) return this.#wrong(501, '5.5.4', 'Syntax: STARTTLS')
    if (this.#wire.secure) return this.#wrong(503, '5.5.1', 'TLS is in use already')
    this.#wire.startTls()
    return undefined
  }

  async #data(): Promise<string | undefined> {
    const { text, go } = await this.#conversation.data()
    return !go || this.#wire.startBody() ? text : undefined
  }
}
