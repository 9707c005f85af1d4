/**
 * One connection of a sender, honest or not, as an SMTP client performs it. It is driven by events and keeps little, so that
 * one process can make many hundred a second. What it does is a value (`Visit`), and so is what came of it.
 *
 * The file is longer than others because a visit is one machine of states, whose steps are understood together.
 */
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { bodyOf, type Letter } from './letter.ts'

export interface Visit {
  readonly from: string
  readonly helo: string
  readonly letters: readonly Letter[]
  /** Sent ahead of everything: a PROXY header. */
  readonly preface?: string
  /** Speaks before it is greeted. */
  readonly pregreets?: boolean
  /** Sends each message without waiting for replies (RFC 2920 allows that only up to DATA). */
  readonly ignoresReplies?: boolean
  /** Says the first MAIL together with EHLO, before it can know whether it may (RFC 2920 section 3.1). */
  readonly isHasty?: boolean
  /** How long it thinks before each command, in ms. */
  readonly thinksMs?: number
  /** Asks for STARTTLS, and goes on without it where it is not to be had. Certificates are not looked at. */
  readonly tls?: boolean
  /** How long it rests between the header and the body of a message, in ms. */
  readonly restMs?: number
  /** Says nothing more from here on, and stays until the server or its own patience ends it. */
  readonly hangsAfter?: Place
  /** Ends the visit here: after all recipients are answered (`rcpt`), or within the header of the message (`data`). */
  readonly leavesAfter?: Place
  /** Otherwise it leaves without QUIT. */
  readonly quits: boolean
  /** How long the server may be silent, in ms. */
  readonly patienceMs: number
}

export type Place = 'greeting' | 'helo' | 'rcpt' | 'data'

/** The code of a reply; 0 where the connection ended without one. */
export type Code = number

/** What became of one letter. */
export interface Answer {
  /** For each recipient: the code of what refused it, or that of the reply to the final dot. */
  readonly codes: readonly Code[]
  /** The reply that refused it, or the reply to the dot. */
  readonly text: string
  /** For each recipient: what refused it, or the last reply. */
  readonly texts: readonly string[]
  /** When it was settled, in ms of `performance.now()`. */
  readonly atMs: number
  /** How long that took, in ms: of the first letter from connecting on, of the others from the end of the one before. */
  readonly tookMs: number
  /** When its final dot was sent, in ms of `performance.now()`; undefined where it came to none. */
  readonly dotAtMs: number | undefined
}

/** The first refusal of a visit, whoever gave it. */
export interface Refused {
  /** What was refused: the command, the greeting, or the dot. */
  readonly at: Place | 'starttls' | 'mail' | 'dot' | 'rset'
  readonly text: string
}

export type Done = (answers: readonly Answer[], refused: Refused | undefined) => void

export interface Server {
  readonly host: string
  readonly port: number
}

type Step = Refused['at'] | 'over'

const WHOLE_REPLY = /^(?:[0-9]{3}-[^\n]*\n)*([0-9]{3})(?: [^\n]*)?\n/

class VisitingClient {
  readonly #visit: Visit
  #socket: Socket
  readonly #done: Done
  readonly #answers: Answer[] = []
  #codes: Code[] = []
  /** What each recipient heard. */
  #heard: string[] = []
  #text = ''
  #refusal = ''
  #step: Step = 'greeting'
  #beganMs = performance.now()
  #dotAtMs: number | undefined
  #isSecured = false
  #refused: Refused | undefined
  /** MAIL was said together with EHLO. */
  #isAhead = false

  constructor(visit: Visit, socket: Socket, done: Done) {
    this.#visit = visit
    this.#socket = socket
    this.#done = done
    this.#listen()
    if (visit.preface !== undefined) socket.write(visit.preface)
    if (visit.pregreets) this.#hello()
  }

  #listen(): void {
    const socket = this.#socket
    const over = (): void => this.#end(0, '')
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('end', over).on('close', over).on('error', over)
    socket.setTimeout(this.#visit.patienceMs, () => socket.destroy())
  }

  #secure(): void {
    const plain = this.#socket
    plain.removeAllListeners('data')
    plain.setTimeout(0)
    this.#isSecured = true
    this.#socket = connectTls({ socket: plain, rejectUnauthorized: false }, () => {
      this.#step = 'helo'
      this.#say(`EHLO ${this.#visit.helo}`)
    })
    this.#listen()
  }

  #read(chunk: Buffer): void {
    this.#text += chunk.toString('latin1')
    while (this.#step !== 'over') {
      const found = WHOLE_REPLY.exec(this.#text)
      if (found === null) return
      this.#text = this.#text.slice(found[0].length)
      this.#hear(Number(found[1]), found[0].trimEnd())
    }
  }

  get #letter(): Letter | undefined {
    return this.#visit.letters[this.#answers.length]
  }

  #hear(code: Code, text: string): void {
    const step = this.#step
    if (code >= 400 && step !== 'over') this.#refused ??= { at: step, text }
    const isBeforeMail = step === 'greeting' || step === 'helo'
    if (code === 421 || (isBeforeMail && (code >= 400 || step === this.#visit.leavesAfter))) {
      this.#end(code, text)
      return
    }
    if (isBeforeMail && step === this.#visit.hangsAfter) return
    switch (step) {
      case 'greeting':
        this.#step = 'helo'
        if (!this.#visit.pregreets) this.#hello()
        return
      case 'helo':
        if (this.#visit.tls && !this.#isSecured) {
          this.#step = 'starttls'
          this.#say('STARTTLS')
        } else this.#begin()
        return
      case 'starttls':
        if (code === 220) this.#secure()
        else this.#begin()
        return
      case 'rset':
        this.#begin()
        return
      case 'mail':
        if (code >= 400) this.#next(code, text)
        else {
          this.#step = 'rcpt'
          this.#recipient()
        }
        return
      case 'rcpt':
        this.#heardRecipient(code, text)
        return
      case 'data':
        if (code >= 400) this.#next(code, text)
        else this.#body()
        return
      case 'dot':
        this.#next(code, text)
        return
      case 'over':
    }
  }

  #begin(): void {
    const letter = this.#letter
    if (letter === undefined) {
      this.#end(0, '')
      return
    }
    this.#codes = []
    this.#heard = []
    this.#step = 'mail'
    if (!this.#isAhead) this.#say(`MAIL FROM:<${letter.from}>`)
    this.#isAhead = false
    if (!this.#visit.ignoresReplies) return
    for (const to of letter.to) this.#say(`RCPT TO:<${to}>`)
    this.#say('DATA')
    this.#content(letter)
  }

  #hello(): void {
    const { helo, isHasty, tls } = this.#visit
    this.#isAhead = isHasty === true && tls !== true && this.#letter !== undefined
    this.#say(`EHLO ${helo}${this.#isAhead ? `\r\nMAIL FROM:<${(this.#letter as Letter).from}>` : ''}`)
  }

  #recipient(): void {
    const to = this.#letter?.to[this.#codes.length]
    if (to !== undefined && !this.#visit.ignoresReplies) this.#say(`RCPT TO:<${to}>`)
  }

  #heardRecipient(code: Code, text: string): void {
    this.#codes.push(code)
    this.#heard.push(text)
    if (code >= 400) this.#refusal = text
    if (this.#codes.length < (this.#letter as Letter).to.length) {
      this.#recipient()
      return
    }
    if (this.#visit.leavesAfter === 'rcpt') {
      this.#end(0, text)
      return
    }
    if (this.#codes.every((each) => each >= 400)) {
      this.#next(code, text)
      return
    }
    this.#step = 'data'
    if (!this.#visit.ignoresReplies) this.#say('DATA')
  }

  #body(): void {
    this.#step = 'dot'
    if (this.#visit.leavesAfter === 'data') {
      this.#socket.write((this.#letter as Letter).header.slice(0, 20))
      this.#end(0, '')
      return
    }
    if (!this.#visit.ignoresReplies) this.#content(this.#letter as Letter)
  }

  #content({ header, bodySize }: Letter): void {
    const { restMs } = this.#visit
    this.#socket.cork()
    this.#socket.write(`${header}\r\n`, 'latin1')
    if (restMs === undefined) this.#rest(bodySize)
    else setTimeout(() => this.#step !== 'over' && this.#rest(bodySize), restMs)
    this.#socket.uncork()
  }

  #rest(bodySize: number): void {
    this.#socket.cork()
    for (const piece of bodyOf(bodySize)) this.#socket.write(piece)
    this.#socket.write('.\r\n')
    this.#socket.uncork()
    this.#dotAtMs = performance.now()
  }

  /** This letter is settled. */
  #next(code: Code, text: string): void {
    const wasRefused = this.#step !== 'dot'
    this.#settle(code, text, code < 400 && this.#refusal !== '' ? this.#refusal : text)
    if (this.#letter === undefined || (wasRefused && this.#visit.ignoresReplies)) {
      this.#end(0, '')
      return
    }
    if (!wasRefused) {
      this.#begin()
      return
    }
    this.#step = 'rset'
    this.#say('RSET')
  }

  #settle(code: Code, last: string, text = last): void {
    const { to } = this.#letter as Letter
    const heard = this.#codes
    const isRefused = (i: number): boolean => (heard[i] ?? 0) >= 400
    const codes = to.map((_, i) => (isRefused(i) ? (heard[i] as Code) : code))
    const texts = to.map((_, i) => (isRefused(i) ? (this.#heard[i] as string) : last))
    const atMs = performance.now()
    this.#answers.push({ codes, text, texts, atMs, tookMs: atMs - this.#beganMs, dotAtMs: this.#dotAtMs })
    this.#beganMs = atMs
    this.#dotAtMs = undefined
    this.#codes = []
    this.#heard = []
    this.#refusal = ''
  }

  /** The visit is over: what is not settled by now has this code. */
  #end(code: Code, text: string): void {
    if (this.#step === 'over') return
    this.#step = 'over'
    while (this.#letter !== undefined) this.#settle(code, text)
    if (!this.#visit.quits || code === 421) this.#socket.destroy()
    else if (!this.#socket.destroyed) this.#socket.end('QUIT\r\n')
    this.#done(this.#answers, this.#refused)
  }

  #say(line: string): void {
    const { thinksMs } = this.#visit
    const write = (): unknown => this.#step !== 'over' && this.#socket.write(`${line}\r\n`)
    if (thinksMs === undefined) this.#socket.write(`${line}\r\n`)
    else setTimeout(write, thinksMs)
  }
}

/**
 * Connects from one of this machine's addresses (all of 127.0.0.0/8) and performs the visit.
 * @param done called once, with an answer for each letter, and the first refusal. Nothing throws: where the connection is lost, codes are 0
 */
export function perform(server: Server, visit: Visit, done: Done): Socket {
  const socket = connect({ ...server, localAddress: visit.from, noDelay: true })
  new VisitingClient(visit, socket, done)
  return socket
}
