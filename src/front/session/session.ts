/**
 * Speaks SMTP with one client that got past the gate: lines, STARTTLS, timers, closing. The home of smtp-server, of which
 * we use the connection (TLS upgrade, write side, closing) and replace the parser and the commands: its own refuse a
 * message only after the body was read, answer before an upstream was asked, and change what they pass on. What each
 * command means is front/commands.ts.
 */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { SMTPServer } from 'smtp-server'
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js'
import type { SMTPStream } from 'smtp-server/lib/smtp-stream.js'
import type { Client } from '../../core/client.ts'
import { stackOf } from '../../core/errors.ts'
import type { Facts } from '../../core/policy.ts'
import type { Log } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import type { Record } from '../outcome.ts'
import { say } from '../reply.ts'
import { Commands, type Said, type Wire } from './commands.ts'
import { Conversation, type ConversationParts } from './conversation.ts'
import { Pace } from './pace.ts'
import { Watch, type Watched } from './watch.ts'
import { type BodySink, WireStream } from './wire-stream.ts'

export interface SessionParts {
  readonly conversation: ConversationParts
  /** PEM; undefined: STARTTLS is not offered. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined
  readonly idleMs: number
  /** Octets a second that a message has to come at; undefined: any. */
  readonly minDataRate: number | undefined
  readonly sessionMs: number
  /** Transactions that one session may begin. */
  readonly maxMessages: number
  /** Hears of a client that begins with a PROXY header, although nobody has listed it as a balancer. */
  readonly foreignHeader: (ip: string) => void
  readonly metrics: Pick<Metrics, 'tlsHandshakes'>
  readonly log: Log
}

export interface Session {
  /** Resolves when the client is gone, or will not be listened to any more. */
  readonly over: Promise<void>
  /** Resolves when the upstream has said its last word as well. */
  readonly settled: Promise<void>
  /** Says 220, and listens from now on. Called once; does nothing where the session was ended before. */
  greet(): void
  /** Says 421 and closes, unless a message is past its dot: that one is waited for. */
  drain(): void
  /** Cuts it off, whatever is under way: a message past its dot is then unknown. */
  cut(): void
  /** Whether a message is past its dot and not yet answered. */
  readonly pastDot: boolean
}

/** In DATA a client is given at least this long (RFC 5321 section 4.5.3.2.5 asks clients for 3 minutes between blocks). */
const MIN_DATA_IDLE_MS = 60_000
/** RFC 5321 section 4.5.3.1.4, without the CRLF; extensions add to MAIL and RCPT only. */
const MAX_PLAIN_COMMAND = 510

const nothing = (): void => undefined
const bodyPatience = (idleMs: number): number => Math.max(idleMs, MIN_DATA_IDLE_MS)
const isTooLong = (line: Buffer): boolean =>
  line.length > MAX_PLAIN_COMMAND && !/^(MAIL|RCPT)/i.test(line.toString('latin1', 0, 4))

/** Hands sockets to smtp-server. */
export class Sessions {
  readonly #parts: SessionParts
  readonly #server: SMTPServer
  readonly #watch = new Watch()

  constructor(parts: SessionParts) {
    this.#parts = parts
    this.#server = new SMTPServer({
      name: parts.conversation.voice.hostname,
      logger: false,
      disableReverseLookup: true,
      disabledCommands: ['AUTH'],
      socketTimeout: parts.idleMs,
      ...(parts.tls !== undefined && { cert: parts.tls.cert, key: parts.tls.key, minVersion: 'TLSv1.2' }),
    })
    this.#server.on('error', (error) => parts.log.debug({ err: error.message }, 'smtp-server'))
  }

  /** Nothing is read or said before `greet()`; until then the session can only be drained or cut. */
  open(socket: Socket, facts: Facts['connect'], record: Record): Session {
    const connection = new ClientConnection(this.#server, socket, this.#parts, this.#watch, facts, record)
    connection.on('error', nothing)
    return connection
  }
}

class ClientConnection extends SMTPConnection implements Session, Wire, Watched {
  readonly over: Promise<void>
  readonly settled: Promise<void>
  readonly #parts: SessionParts
  readonly #watch: Watch
  readonly #conversation: Conversation
  readonly #client: Client
  readonly #record: Record
  #resolveOver: () => void = nothing
  /** A command or a message is being dealt with: the client waits for us, and is not idle. */
  #busy = false
  #inBody = false
  #draining = false
  #isOver = false
  readonly #commands: Commands
  readonly #pace: Pace
  /** The TCP connection, also below TLS: what is written here comes to the kernel at once. */
  readonly #plain: Socket

  constructor(
    server: SMTPServer,
    socket: Socket,
    parts: SessionParts,
    watch: Watch,
    facts: Facts['connect'],
    record: Record,
  ) {
    const { client } = facts
    super(server, socket, {
      id: client.id,
      remoteAddress: client.ip,
      remotePort: client.port,
      // Never used; without them smtp-server would ask the system.
      localAddress: '0.0.0.0',
      localPort: 1,
    })
    this.#parts = parts
    this.#watch = watch
    this.#plain = socket
    this.#client = client
    this.#record = record
    const { idleMs, minDataRate: minRate, sessionMs } = parts
    this.#pace = new Pace({ idleMs, bodyMs: bodyPatience(idleMs), minRate, sessionMs }, performance.now())
    this.#conversation = new Conversation(parts.conversation, facts, record, () => this.#tlsInUse())
    const { conversation, tls, maxMessages } = parts
    this.#commands = new Commands(
      { conversation, tls: tls !== undefined, maxMessages },
      this.#conversation,
      record,
      this,
    )
    this.over = new Promise((resolve) => {
      this.#resolveOver = () => {
        this.#isOver = true
        resolve()
      }
    })
    this.settled = this.over.then(() => this.#conversation.gone(this.#inBody))
  }

  get pastDot(): boolean {
    return this.#conversation.pastDot
  }

  get unread(): boolean {
    return this.#busy && this._socket.isPaused()
  }

  touch(): void {
    this.#plain.write('')
  }

  get slow(): boolean {
    return this.#pace.slow
  }

  drain(): void {
    this.#draining = true
    if (this.#isOver || this.pastDot || this._closing || this._closed) return
    this.farewell(this.#conversation.refuse('draining', this.#record.stage))
  }

  cut(): void {
    if (!this.#isOver && !this.pastDot && !this._closing && !this._closed) {
      this.#write(this.#conversation.refuse('draining', this.#record.stage))
    }
    this.#conversation.cut()
    this._socket.destroySoon()
    this.#resolveOver()
  }

  greet(): void {
    // It was reset while the gate or the greeting waited, and its 'close' is past: nobody would ever hear of it.
    if (this._socket.destroyed) {
      this._onClose()
      return
    }
    // Drained or cut while it waited: it has heard 421, and its end is all that is to come.
    if (this._closing || this.#isOver) {
      this._socket.once('close', () => this._onClose())
      return
    }
    this.#watch.begin(this)
    this._setListeners(() => {
      this._resetSession()
      this._ready = true
      this.#watchEnd()
      this.#write(say(220, undefined, `${this.#parts.conversation.voice.hostname} ESMTP Spillway`))
    })
  }

  override _createParser(): SMTPStream {
    const parser = new WireStream()
    parser.online = (line, next) => this.#heard(line, next)
    parser.onpartial = () => this.#typing()
    parser.onforeign = () => {
      this.#parts.foreignHeader(this.#client.ip)
      this.farewell(this.#conversation.refuse('proxy_unlisted', 'connect'))
    }
    parser.on('error', nothing)
    // The client has finished sending and everything it sent is dealt with.
    parser.on('finish', () => {
      if (!parser.isClosed) this.close()
    })
    return parser
  }

  override _onClose(): void {
    this.#watch.end(this)
    this.#handshakeFailed(this._closing ? 'cut off' : 'the client left')
    super._onClose()
    this.#resolveOver()
  }

  override _onError(error?: NodeJS.ErrnoException): void {
    this.#handshakeFailed(error?.code ?? String(error?.message))
    this._socket.destroy()
  }

  override _armTimeout(socket: Socket = this._socket): void {
    const { idleMs } = this.#parts
    // Each setTimeout() adds a listener: a second one would destroy the socket under the reply of the first.
    socket.removeAllListeners('timeout')
    // Armed for another socket than ours: the handshake begins. A client that closes within it is gone; half-open as our
    // sockets are, nobody else would notice.
    if (socket !== this._socket) {
      socket.once('end', () => {
        if (this._upgrading) socket.destroy()
      })
    }
    socket.setTimeout(this.#inBody ? bodyPatience(idleMs) : idleMs, () => this._onTimeout())
  }

  /** Who reads a little now and then has the socket's timer begin anew each time: what it is owed has an end of its own. */
  override _whenWritable(next: () => void): void {
    const socket = this._socket
    if (!socket.writableNeedDrain || socket.destroyed) {
      next()
      return
    }
    const late = setTimeout(() => {
      if (this._upgrading || this._closing || this._closed) return
      this.farewell(this.#conversation.refuse('idle', this.#record.stage))
    }, this.#parts.idleMs)
    const done = (): void => {
      clearTimeout(late)
      socket.off('drain', drained)
      socket.off('close', done)
    }
    const drained = (): void => {
      done()
      next()
    }
    socket.once('drain', drained)
    socket.once('close', done)
  }

  override _onTimeout(): void {
    if (this._closing) {
      this._socket.destroy()
    } else if (this.#busy) {
      this._armTimeout()
    } else if (this._upgrading) {
      // Nothing that could be read can be said in here.
      this.#handshakeFailed('timeout')
      this._socket.destroy()
    } else {
      this.farewell(this.#conversation.refuse('idle', this.#record.stage))
    }
  }

  /** Each byte of a command line keeps the socket's timer from firing, and only its end is a sign of life. */
  #typing(): void {
    if (this._upgrading || this._closing || this._closed) return
    if (this.#pace.typing(performance.now()) <= 0) this.farewell(this.#conversation.refuse('idle', this.#record.stage))
  }

  #watchEnd(): void {
    this._socket.once('end', () => this.#maybeOver())
  }

  /**
   * A client that leaves between its dot and our reply is gone (RFC 5321 section 4.1.1.10 wants QUIT and its answer): its
   * seat is free from now on. The reply is still written, to whoever only closed one direction. Who has pipelined more
   * before he did so is still being served: Exim says its QUIT right behind the dot, closes its side, and reads the answer.
   */
  #maybeOver(): void {
    if (this.pastDot && this._socket.readableEnded && this._parser instanceof WireStream && this._parser.idleBehind) {
      this.#resolveOver()
    }
  }

  #tlsInUse(): { protocol: string; cipher: string } | undefined {
    if (!this.secure) return undefined
    const socket = this._socket as TLSSocket
    return { protocol: socket.getProtocol() ?? 'TLS', cipher: socket.getCipher()?.name ?? 'unknown' }
  }

  #write(text: string): void {
    if (this._upgrading || this._closed || !this._socket.writable) return
    this._socket.write(text, 'latin1')
  }

  /** A verdict of drop is the last word. */
  #reply(text: string | undefined): void {
    if (text === undefined) return
    if (this.#conversation.dropped) this.farewell(text)
    else this.#write(text)
  }

  /** The last reply: nothing that was pipelined behind it is answered, and a message under way has no end. */
  farewell(text: string): void {
    if (this.#inBody) {
      this.#inBody = false
      this.#conversation.abandon('cut off')
    }
    this.#write(text)
    this.close()
  }

  /** One command line. Whatever goes wrong in here is a 451 to the client and a stack in the log, nothing more. */
  #heard(line: Buffer | undefined, next: () => void): void {
    if (this._upgrading || this._closing || this._closed) {
      next()
      return
    }
    this.#busy = true
    const pace = this.#pace
    const now = performance.now()
    pace.typed(now)
    const done = (): void => {
      this.#busy = false
      pace.turn(performance.now())
      this._whenWritable(next)
    }
    let answer: Said
    try {
      if (pace.isOver(now)) answer = this.#conversation.refuse('session_time', this.#record.stage)
      else if (line === undefined || isTooLong(line)) answer = this.#commands.tooLong()
      else answer = this.#commands.obey(line.toString('latin1'))
    } catch (error) {
      answer = this.#failed(error)
    }
    if (!(answer instanceof Promise)) {
      this.#reply(answer)
      done()
      return
    }
    answer
      .catch((error: unknown) => this.#failed(error))
      .then((text) => {
        this.#reply(text)
        done()
      })
      .catch((error: unknown) => this.#failed(error))
  }

  #failed(error: unknown): string {
    this.#parts.log.error({ err: stackOf(error) }, 'command failed')
    return this.#conversation.refuse('internal', this.#record.stage)
  }

  startTls(): void {
    this.#write(say(220, '2.0.0', 'Ready to start TLS'))
    this.upgrade(nothing, () => {
      this.#pace.turn(performance.now())
      this.#parts.metrics.tlsHandshakes.inc('ok')
      this.#conversation.forgetHelo()
      this.#record.stage = 'connect'
      this.#record.tls = this.#tlsInUse()?.protocol
      this.#watchEnd()
    })
  }

  /** Where one is under way; what is told of it first is why. */
  #handshakeFailed(why: string): void {
    if (!this._upgrading || this.#record.tlsError !== undefined) return
    this.#record.tlsError = why
    this.#parts.metrics.tlsHandshakes.inc('failed')
  }

  startBody(): boolean {
    const parser = this._parser
    if (this._closed || this._closing || !(parser instanceof WireStream)) return false
    this.#inBody = true
    this.#pace.body(performance.now())
    this._armTimeout()
    parser.startBody(this.#sink())
    return true
  }

  #sink(): BodySink {
    const conversation = this.#conversation
    const pace = this.#pace
    return {
      write: (chunk, dots) => {
        if (this._closing || this._closed) return undefined
        const now = performance.now()
        if (pace.part(chunk.length, now) || pace.isOver(now)) {
          this.farewell(conversation.refuse(pace.isOver(now) ? 'session_time' : 'slow_data', 'data'))
          return undefined
        }
        const wait = conversation.write(chunk, dots)
        if (wait === undefined) return undefined
        if (wait !== 'close') {
          // The client waits for the upstream, and is not idle.
          this.#busy = true
          return wait.then(() => {
            this.#busy = false
            pace.turn(performance.now())
            this._armTimeout()
          })
        }
        this.#inBody = false
        this.farewell(conversation.oversize())
        return undefined
      },
      end: (resume) => {
        if (this._closing || this._closed) {
          resume()
          return
        }
        this.#inBody = false
        this.#busy = true
        const ended = conversation.end()
        // It may have left before all it had sent was dealt with.
        this.#maybeOver()
        ended
          .catch((error: unknown) => this.#failed(error))
          .then((text) => {
            this.#busy = false
            this.#commands.messageDone()
            this.#write(text)
            pace.turn(performance.now())
            this._armTimeout()
            if (this.#draining && !this.#isOver) this.farewell(conversation.refuse('draining', this.#record.stage))
            this._whenWritable(resume)
          })
          .catch((error: unknown) => this.#failed(error))
      },
    }
  }
}
