/**
 * Cuts what a client sends into command lines and message bodies, from bytes. It stands in for smtp-server's own parser,
 * which takes the dots of a body away and loses one where a line ends in a bare LF: here a body stays as it was on the
 * wire (dot-stuffed), ends at CRLF.CRLF and at nothing else, and costs the same per byte whatever is in it.
 *
 * Memory is bounded: a chunk is taken only when the last one is dealt with, and of a line that is too long nothing is
 * kept.
 */
import { SMTPStream } from 'smtp-server/lib/smtp-stream.js'
import { foreignHeader } from './foreign-header.ts'

/**
 * RFC 5321 section 4.5.3.1.4: 512 octets with the CRLF, and what the extensions we offer add to it: MAIL 26 for SIZE
 * (RFC 1870), 17 for 8BITMIME (RFC 6152), 10 for SMTPUTF8 (RFC 6531), 107 for DSN; RCPT 500 for DSN (RFC 3461 section 5).
 */
const MAX_COMMAND = 512 + 500 + 160
const END = Buffer.from('\r\n.\r\n')
/** Commands run in one go before others get their turn. */
const MAX_IN_A_ROW = 100
/** Of a line that is too long, and of what is no line at all, this much is handed on: enough to tell what it is. */
const MAX_HEAD = 32
/** The first octets of a TLS record that begins a handshake: its type, and 3 of its version (RFC 8446 section 5.1). */
const HANDSHAKE = 0x16
const VERSION = 0x03

export interface BodySink {
  /**
   * A part of the body, never cut within CRLF-dot. @param dots lines in it that begin with a dot
   * @returns a promise when the next part should wait
   */
  write(chunk: Buffer, dots: number): Promise<void> | undefined
  /** The dot has come; `resume` goes on with what was pipelined behind it. */
  end(resume: () => void): void
}

const CR = 13
const LF = 10
const DOT = 46
const NOTHING = Buffer.alloc(0)
/** For the beginning of a line whose end has not come, in octets. */
const ROOM = 128

/** How many bytes at the end of `bytes` may be the beginning of CRLF.CRLF. */
function heldBack(bytes: Buffer): number {
  for (let length = Math.min(4, bytes.length); length > 0; length--) {
    if (bytes.compare(END, 0, length, bytes.length - length) === 0) return length
  }
  return 0
}

/**
 * Where CRLF.CRLF begins in the first `length` bytes, or -1, and how many lines before that begin with a dot. Byte by
 * byte: a search stops at every line end, and a body of short lines would cost several times as much as text.
 */
function scan(bytes: Buffer, length: number): { at: number; dots: number } {
  let dots = 0
  for (let i = 2; i < length; i++) {
    if (bytes[i] !== DOT || bytes[i - 1] !== LF || bytes[i - 2] !== CR) continue
    if (bytes[i + 1] === CR && bytes[i + 2] === LF) return { at: i - 2, dots }
    dots++
    // The next such dot stands behind another octet and a CRLF: stepped over, these lines cost no more than text.
    i += 3
  }
  return { at: -1, dots }
}

export class WireStream extends SMTPStream {
  /**
   * A line without its end; where it is not whole, the beginning of one that was too long. A TLS handshake, which may never
   * have the end of a line, comes as one at once. Calls back when the next may come.
   */
  online: (line: Buffer, isWhole: boolean, next: () => void) => void = () => undefined
  /** A part of a line has come, and not yet its end. */
  onpartial: () => void = () => undefined
  /** What has come first is a PROXY header; nothing of it is a line. Expected to close. */
  onforeign: () => void = () => undefined
  /** Nothing has come yet that is no beginning of a PROXY header: until then nothing is a line, not even an empty one. */
  #first = true
  #pending: Buffer = NOTHING
  /**
   * Where the parts of a line are put together while it is waited for, and how many octets there are: ten thousand lines
   * that come octet by octet must make no garbage, nor anything that outlives it.
   */
  #line: Buffer = NOTHING
  #length = 0
  /** The beginning of a line that is too long, of which nothing more is kept. */
  #head: Buffer | undefined
  #sink: BodySink | undefined
  /** Bytes at the head of #pending that stand for the CRLF of the DATA line and are not part of the body. */
  #virtual = 0
  /** Length of the chunk that is being dealt with; what the stream holds beyond it is still to come. */
  #taken = 0

  /** Whether no whole command waits for its turn. */
  get isIdle(): boolean {
    return this.writableLength === 0 && this.#pending.length === 0
  }

  /** Whether nothing has come behind what is being dealt with. */
  get isIdleBehind(): boolean {
    return this.writableLength <= this.#taken && this.#pending.length === 0 && this.#length === 0
  }

  /** From the next byte on it is a message. */
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
    if (this.#length === 0) this.#pending = chunk
    else if (!this.#first && this.#goesOn(chunk)) {
      next()
      return
    } else {
      this.#pending = Buffer.concat([this.#line.subarray(0, this.#length), chunk])
      this.#length = 0
    }
    if (this.#first && this.#isForeign()) {
      next()
      return
    }
    this.#pump(next)
  }

  /** Whether what has come so far is, or may become, a PROXY header. */
  #isForeign(): boolean {
    const seen = foreignHeader(this.#pending)
    this.#first = seen === 'maybe'
    if (seen === 'no') return false
    if (seen === 'yes') {
      this.#pending = NOTHING
      this.onforeign()
    } else {
      this.#keep()
      this.onpartial()
    }
    return true
  }

  /** Octets that do not end the line are only put to those that are there. */
  #goesOn(chunk: Buffer): boolean {
    const length = this.#length + chunk.length
    if (this.#sink !== undefined || length > this.#line.length || chunk.includes(LF)) return false
    if (this.#length === 1 && this.#line[0] === HANDSHAKE && chunk[0] === VERSION) return false
    chunk.copy(this.#line, this.#length)
    this.#length = length
    this.onpartial()
    return true
  }

  /**
   * What is left is a part of what was read, or of memory that others share, and would keep all of that for as long as
   * the client is silent.
   */
  #keep(): void {
    const part = this.#pending
    if (part.length === 0) return
    if (part.length > this.#line.length) this.#line = Buffer.allocUnsafeSlow(Math.max(ROOM, 2 * part.length))
    part.copy(this.#line)
    this.#length = part.length
    this.#pending = NOTHING
  }

  /** A line without its end is no command: the client left in the middle of it. */
  override _flushData(): void {
    this.#pending = NOTHING
    this.#length = 0
  }

  /** Goes on until it needs more bytes (then `next` is called) or has to wait for somebody. */
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
      return this.#after((resume) => this.online(bytes.subarray(0, MAX_HEAD), true, resume), next)
    }
    if (end < 0) {
      if (bytes.length > MAX_COMMAND) this.#head ??= Buffer.from(bytes.subarray(0, MAX_HEAD))
      if (this.#head !== undefined || bytes.length > 0) this.onpartial()
      if (this.#head !== undefined) this.#pending = NOTHING
      return 'more'
    }
    const length = end > 0 && bytes[end - 1] === CR ? end - 1 : end
    const head = this.#head ?? (end + 1 > MAX_COMMAND ? bytes.subarray(0, MAX_HEAD) : undefined)
    const line = head ?? bytes.subarray(0, length)
    this.#pending = bytes.subarray(end + 1)
    this.#head = undefined
    return this.#after((resume) => this.online(line, head === undefined, resume), next)
  }

  #body(sink: BodySink, next: () => void): 'on' | 'more' | 'wait' {
    const bytes = this.#pending
    const whole = bytes.length - heldBack(bytes)
    const { at, dots } = scan(bytes, whole)
    const until = at >= 0 ? at + 2 : whole
    const part = bytes.subarray(Math.min(this.#virtual, until), until)
    // The virtual CRLF stays in front until it is known not to be the head of the end.
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

  /** Calls something that says when it is done: 'on' when it was at once, else it goes on by itself later. */
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
