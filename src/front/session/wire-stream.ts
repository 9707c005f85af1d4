/**
 * Splits the bytes that a client sends into command lines and message bodies. It replaces smtp-server's own parser, which removes
 * the dots of a body and loses one if a line ends in a bare LF. Here a body stays as it was on the wire (dot-stuffed), ends at
 * CRLF.CRLF and at nothing else, and costs the same per byte whatever is in it.
 *
 * Memory is bounded: the next chunk is taken only when the last one has been dealt with, and only the beginning of a line that is
 * too long is kept.
 */
import { SMTPStream } from 'smtp-server/lib/smtp-stream.js'
import { foreignHeader } from './foreign-header.ts'

/**
 * RFC 5321 section 4.5.3.1.4: 512 octets with the CRLF, and what the extensions we offer add to it: MAIL 26 for SIZE
 * (RFC 1870), 17 for 8BITMIME (RFC 6152), 10 for SMTPUTF8 (RFC 6531), 107 for DSN, 11 for REQUIRETLS
 * (RFC 8689); RCPT 500 for DSN (RFC 3461 section 5).
 */
const MAX_COMMAND = 512 + 500 + 171
const END = Buffer.from('\r\n.\r\n')
/** How many commands run in one go before other connections get their turn. */
const MAX_IN_A_ROW = 100
/** How much is handed on of a line that is too long, or of a TLS handshake: enough to tell what it is. */
const MAX_HEAD = 32
/** The first two octets of a TLS handshake: the type of its record, and the first half of the version (RFC 8446 section 5.1). */
const HANDSHAKE = 0x16
const VERSION = 0x03
/** How long an empty line is held for the rest of a PROXY header, in milliseconds. A header arrives in one piece or in quick succession. */
const HELD_MS = 1000
const CR = 13
const LF = 10
const DOT = 46
const NOTHING = Buffer.alloc(0)
/** First size of the buffer for a line whose end has not come, in octets. */
const ROOM = 128

/** What comes, and the end of it. */
export interface WireEvents {
  /**
   * A line without its end, or, if it is not whole, the beginning of a line that was too long. A TLS handshake may never contain
   * the end of a line, and so is handed on as a line at once. The next line comes after `next` is called.
   * @param isBare whether a whole line ended in a bare LF, or has a bare CR in it
   */
  line(line: Buffer, isWhole: boolean, next: () => void, isBare: boolean): void
  /** A part of a line has come, but not its end. */
  typing(): void
  /** The first bytes are a PROXY header. None of them is a line; the connection should be closed. */
  foreignHeader(): void
  /** The client has closed its side, and everything it sent has been dealt with. */
  finished(): void
}

export interface BodySink {
  /**
   * Takes a part of the body, which is never cut within CRLF-dot. @param dots lines in it that begin with a dot
   * @returns a promise if the next part should wait
   */
  write(chunk: Buffer, dots: number): Promise<void> | undefined
  /** The dot has come; `resume` goes on with what was pipelined after it. */
  end(resume: () => void): void
}

/** How many bytes at the end of `bytes` may be the beginning of CRLF.CRLF. */
function heldBack(bytes: Buffer): number {
  for (let length = Math.min(4, bytes.length); length > 0; length--) {
    if (bytes.compare(END, 0, length, bytes.length - length) === 0) return length
  }
  return 0
}

/**
 * Where CRLF.CRLF begins in the first `length` bytes, or -1, and how many lines before that begin with a dot. It goes byte by
 * byte because a search stops at every line end, so that a body of short lines would cost several times as much as text.
 */
function scan(bytes: Buffer, length: number): { at: number; dots: number } {
  let dots = 0
  for (let i = 2; i < length; i++) {
    if (bytes[i] !== DOT || bytes[i - 1] !== LF || bytes[i - 2] !== CR) continue
    if (bytes[i + 1] === CR && bytes[i + 2] === LF) return { at: i - 2, dots }
    dots++
    // The next such dot is at least another octet and a CRLF away. With this step such lines cost no more than text.
    i += 3
  }
  return { at: -1, dots }
}

export class WireStream extends SMTPStream {
  /** Who is told. Undefined only until the first bytes come. */
  events: WireEvents | undefined
  /**
   * Whether all that has come may be the beginning of a PROXY header. Until that is clear nothing is a line, not even an empty
   * one.
   */
  #mayBeHeader = true
  /** Runs while there is a whole line in that beginning. */
  #held: NodeJS.Timeout | undefined
  #pending: Buffer = NOTHING
  /**
   * The parts of a line whose end has not come, and their length. One buffer is used again and again: ten thousand lines that
   * come octet by octet must not make garbage.
   */
  #line: Buffer = NOTHING
  #length = 0
  /** The beginning of a line that is too long; nothing more of it is kept. */
  #head: Buffer | undefined
  #sink: BodySink | undefined
  /** How many bytes at the head of #pending stand for the CRLF of the DATA line, and are not part of the body. */
  #virtual = 0
  /** Length of the chunk that is being dealt with. What the stream holds beyond it has not been looked at. */
  #taken = 0

  /** Whether no whole command is waiting for its turn. */
  get isIdle(): boolean {
    return this.writableLength === 0 && this.#pending.length === 0
  }

  /** Whether nothing has come after what is being dealt with. */
  get isIdleBehind(): boolean {
    return this.writableLength <= this.#taken && this.#pending.length === 0 && this.#length === 0
  }

  /** From the next byte on, what comes is the body of a message. */
  startBody(sink: BodySink): void {
    this.#sink = sink
    this.#pending = Buffer.concat([END.subarray(0, 2), this.#pending])
    this.#virtual = 2
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, next: (error?: Error | null) => void): void {
    if (this.isClosed) {
      next()
      return
    }
    this.#taken = chunk.length
    clearTimeout(this.#held)
    if (this.#length === 0) this.#pending = chunk
    else if (!this.#mayBeHeader && chunk.length > 0 && this.#goesOn(chunk)) {
      next()
      return
    } else {
      this.#pending = Buffer.concat([this.#line.subarray(0, this.#length), chunk])
      this.#length = 0
    }
    if (this.#mayBeHeader && this.#isForeign()) {
      next()
      return
    }
    this.#pump(next)
  }

  /** Whether what has come so far is, or may become, a PROXY header. */
  #isForeign(): boolean {
    const seen = foreignHeader(this.#pending)
    this.#mayBeHeader = seen === 'maybe'
    if (seen === 'no') return false
    if (seen === 'yes') {
      this.#pending = NOTHING
      this.events?.foreignHeader()
    } else {
      if (this.#pending.includes(LF)) this.#held = setTimeout(() => this.#letGo(), HELD_MS).unref()
      this.#keep()
      this.events?.typing()
    }
    return true
  }

  /** Nothing has followed an empty line: it is a line after all, and its client waits for the reply. */
  #letGo(): void {
    this.#mayBeHeader = false
    if (!this.writableEnded) this.write(NOTHING)
  }

  /** The client has ended its side: what is held is all that will come. */
  override _final(done: (error?: Error | null) => void): void {
    clearTimeout(this.#held)
    if (!this.#mayBeHeader || this.#length === 0) {
      done()
      return
    }
    this.#mayBeHeader = false
    this._write(NOTHING, 'latin1', done)
  }

  /** Just appends octets that do not end the line. @returns whether that was possible */
  #goesOn(chunk: Buffer): boolean {
    const length = this.#length + chunk.length
    if (this.#sink !== undefined || length > this.#line.length || chunk.includes(LF)) return false
    if (this.#length === 1 && this.#line[0] === HANDSHAKE && chunk[0] === VERSION) return false
    chunk.copy(this.#line, this.#length)
    this.#length = length
    this.events?.typing()
    return true
  }

  /**
   * Copies what is left. It is part of a larger buffer, perhaps shared with others, all of which it would keep alive for as long
   * as the client is silent.
   */
  #keep(): void {
    const part = this.#pending
    if (part.length === 0) return
    if (part.length > this.#line.length) this.#line = Buffer.allocUnsafeSlow(Math.max(ROOM, 2 * part.length))
    part.copy(this.#line)
    this.#length = part.length
    this.#pending = NOTHING
  }

  /** The stream has ended. A line without its end is not a command: the client left in the middle of it. */
  override _flushData(): void {
    this.#pending = NOTHING
    this.#length = 0
    if (!this.isClosed) this.events?.finished()
  }

  /** Goes on until it needs more bytes, in which case it calls `next`, or has to wait for a callback. */
  #pump(next: () => void): void {
    for (let count = 0; ; count++) {
      if (this.isClosed) {
        this.#pending = NOTHING
        next()
        return
      }
      if (count === MAX_IN_A_ROW) {
        setImmediate(() => this.#pump(next))
        return
      }
      const step = this.#sink === undefined ? this.#command(next) : this.#body(this.#sink, next)
      if (step === 'more') {
        this.#keep()
        next()
        return
      }
      if (step === 'wait') return
    }
  }

  #command(next: () => void): 'on' | 'more' | 'wait' {
    const bytes = this.#pending
    const end = bytes.indexOf(LF)
    if (this.#head === undefined && bytes[0] === HANDSHAKE && bytes[1] === VERSION) {
      this.#pending = NOTHING
      return this.#after((resume) => this.events?.line(bytes.subarray(0, MAX_HEAD), true, resume, false), next)
    }
    if (end < 0) {
      if (bytes.length > MAX_COMMAND) this.#head ??= Buffer.from(bytes.subarray(0, MAX_HEAD))
      if (this.#head !== undefined || bytes.length > 0) this.events?.typing()
      if (this.#head !== undefined) this.#pending = NOTHING
      return 'more'
    }
    const length = end > 0 && bytes[end - 1] === CR ? end - 1 : end
    const head = this.#head ?? (end + 1 > MAX_COMMAND ? bytes.subarray(0, MAX_HEAD) : undefined)
    const line = head ?? bytes.subarray(0, length)
    this.#pending = end + 1 === bytes.length ? NOTHING : bytes.subarray(end + 1)
    this.#head = undefined
    const isBare = head === undefined && (length === end || line.includes(CR))
    return this.#after((resume) => this.events?.line(line, head === undefined, resume, isBare), next)
  }

  #body(sink: BodySink, next: () => void): 'on' | 'more' | 'wait' {
    const bytes = this.#pending
    const whole = bytes.length - heldBack(bytes)
    const { at, dots } = scan(bytes, whole)
    const until = at >= 0 ? at + 2 : whole
    const part = bytes.subarray(Math.min(this.#virtual, until), until)
    // The virtual CRLF stays in front until it is clear that it is not the beginning of CRLF.CRLF.
    if (until >= this.#virtual) this.#virtual = 0
    this.#pending = at >= 0 ? bytes.subarray(at + END.length) : bytes.subarray(until)
    const wait = part.length > 0 ? sink.write(part, dots) : undefined
    if (at < 0) {
      if (wait === undefined) return 'more'
      this.#keep()
      void wait.then(next)
      return 'wait'
    }
    this.#sink = undefined
    this.#virtual = 0
    return this.#after((resume) => {
      if (wait === undefined) sink.end(resume)
      else void wait.then(() => sink.end(resume))
    }, next)
  }

  /** Calls `act`, which calls back when it is done. @returns 'wait' if it has not done so yet; the pump goes on by itself then */
  #after(act: (resume: () => void) => void, next: () => void): 'on' | 'wait' {
    let running = true
    let done = false
    act(() => {
      if (done) return
      done = true
      if (!running) this.#pump(next)
    })
    running = false
    return done ? 'on' : 'wait'
  }
}
