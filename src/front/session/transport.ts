/**
 * The connection to one client: sockets, the TLS upgrade, timers and closing, by smtp-server's connection. Its private
 * members are known here and nowhere else; a session speaks to the interface below. We replace its parser (wire-stream.ts)
 * and its commands: those refuse a message only after the text was read, answer before a mail server was asked, and change
 * what they pass on.
 */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { SMTPServer } from 'smtp-server'
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js'
import type { SMTPStream } from 'smtp-server/lib/smtp-stream.js'
import type { Client } from '../../core/client.ts'
import type { Log } from '../../telemetry/log.ts'
import { type BodySink, WireStream } from './wire-stream.ts'

/** What a session does with its connection. Text is latin1. All of it is safe to call at any time. */
export interface Transport {
  /** Protocol and cipher, where TLS is in use. */
  readonly tls: { readonly protocol: string; readonly cipher: string } | undefined
  /** Whether nothing that the client has sent so far, as far as it was read, waits for its turn. */
  readonly isIdle: boolean
  /** Whether the client has finished sending, and nothing lies behind what is being dealt with. */
  readonly isFinished: boolean
  /** Whether nothing is read of it at present, so that its reset would not be noticed. */
  readonly isPaused: boolean
  /** Begins to read. Until then only its end is noticed. */
  listen(): void
  /** Tells `silent` when neither side has sent anything for `ms`; once, and anew each time it is called. */
  arm(ms: number): void
  /** Not within a TLS handshake, where it would be no text. */
  write(text: string): void
  /** Calls `next` when what was written has gone to the system, so that a client that never reads costs no memory. */
  whenWritten(next: () => void): void
  /** Begins a TLS handshake behind what was written; what the client sent in the clear behind STARTTLS is thrown away. */
  startTls(): void
  /** From the next octet on it is a message. */
  startText(sink: BodySink): void
  /** Writes nothing, which shows a reset. */
  touch(): void
  /** Finishes our side, reads away what still comes, and destroys the socket when the client does not close for some seconds. */
  close(): void
  /** Closes as soon as what was written has gone to the system. */
  cut(): void
  destroy(): void
}

/** What a session hears of its connection. */
export interface TransportEvents {
  /** See WireStream.online. */
  line(line: Buffer, isWhole: boolean, next: () => void): void
  /** A part of a command line has come, and not its end. */
  typing(): void
  /** What came first is a PROXY header. */
  foreignHeader(): void
  /** See Transport.arm; also where the client has not read what was written for as long as it may be silent. */
  silent(): void
  /** The handshake is done. */
  secured(): void
  /** The client has closed its side; what it sent before may still be under way. */
  ended(): void
  /** The same, and everything it sent has been dealt with. */
  finished(): void
  /** The connection is gone. @param error what was wrong with it, in a word */
  closed(error: string | undefined): void
}

export interface TransportOptions {
  readonly hostname: string
  /** PEM; undefined: no TLS. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined
  readonly idleMs: number
  readonly log: Log
}

/** Hands sockets to smtp-server. */
export class Transports {
  readonly #server: SMTPServer
  readonly #idleMs: number

  constructor({ hostname, tls, idleMs, log }: TransportOptions) {
    this.#idleMs = idleMs
    this.#server = new SMTPServer({
      name: hostname,
      logger: false,
      disableReverseLookup: true,
      disabledCommands: ['AUTH'],
      socketTimeout: idleMs,
      ...(tls !== undefined && { cert: tls.cert, key: tls.key, minVersion: 'TLSv1.2' }),
    })
    this.#server.on('error', (error) => log.debug({ err: error.message }, 'smtp-server'))
  }

  /** @param socket paused */
  open(socket: Socket, client: Client, events: TransportEvents): Transport {
    return new ClientConnection(this.#server, socket, client, events, this.#idleMs)
  }
}

class ClientConnection extends SMTPConnection implements Transport {
  readonly #events: TransportEvents
  /** The TCP connection, also below TLS: what is written here comes to the kernel at once. */
  readonly #plain: Socket
  readonly #idleMs: number
  /** Of the timer that is armed. */
  #silentMs: number
  /** The TLS socket that is to take the place of ours when its handshake is done. */
  #handshake: Socket | undefined
  #error: string | undefined

  constructor(server: SMTPServer, socket: Socket, client: Client, events: TransportEvents, idleMs: number) {
    super(server, socket, {
      id: client.id,
      remoteAddress: client.ip,
      remotePort: client.port,
      // Never used; without them smtp-server would ask the system.
      localAddress: '0.0.0.0',
      localPort: 1,
    })
    this.#events = events
    this.#plain = socket
    this.#idleMs = idleMs
    this.#silentMs = idleMs
    this._resetSession()
    socket.on('close', (hadError) => this._onCloseEvent(hadError))
    socket.on('error', (error) => this._onError(error))
  }

  get tls(): Transport['tls'] {
    if (!this.secure) return undefined
    const socket = this._socket as TLSSocket
    return { protocol: socket.getProtocol() ?? 'TLS', cipher: socket.getCipher()?.name ?? 'unknown' }
  }

  get isIdle(): boolean {
    return !(this._parser instanceof WireStream) || this._parser.isIdle
  }

  get isFinished(): boolean {
    return this._socket.readableEnded && this._parser instanceof WireStream && this._parser.isIdleBehind
  }

  get isPaused(): boolean {
    return this._socket.isPaused()
  }

  listen(): void {
    const { _parser: parser, _socket: socket } = this
    if (socket.destroyed) {
      // It was reset before it came here, and its 'close' is past: nobody would ever hear of it.
      this._onClose()
      return
    }
    if (parser === false || this._closing) return
    this._ready = true
    this._armTimeout()
    this.#watchEnd()
    socket.pipe(parser)
  }

  arm(ms: number): void {
    this.#silentMs = ms
    this._armTimeout()
  }

  write(text: string): void {
    if (this._upgrading || this._closed || !this._socket.writable) return
    this._socket.write(text, 'latin1')
  }

  /** Who reads a little now and then has the socket's timer begin anew each time: what it is owed has an end of its own. */
  whenWritten(next: () => void): void {
    const socket = this._socket
    if (!socket.writableNeedDrain || socket.destroyed) {
      next()
      return
    }
    const late = setTimeout(() => {
      if (!this._upgrading) this.#events.silent()
    }, this.#idleMs)
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

  startTls(): void {
    this.upgrade(
      () => undefined,
      () => {
        this.#watchEnd()
        this.#events.secured()
      },
    )
  }

  startText(sink: BodySink): void {
    if (this._parser instanceof WireStream) this._parser.startBody(sink)
  }

  touch(): void {
    this.#plain.write('')
  }

  override close(): void {
    // Its 'close' may be past, see `listen`.
    if (this._socket.destroyed) this._onClose()
    else super.close()
  }

  cut(): void {
    this._socket.destroySoon()
  }

  destroy(): void {
    this._socket.destroy()
  }

  #watchEnd(): void {
    this._socket.once('end', () => this.#events.ended())
  }

  override _createParser(): SMTPStream {
    const parser = new WireStream()
    parser.online = (line, isWhole, next) => this.#events.line(line, isWhole, next)
    parser.onpartial = () => this.#events.typing()
    parser.onforeign = () => this.#events.foreignHeader()
    parser.on('error', () => undefined)
    parser.on('finish', () => {
      if (!parser.isClosed) this.#events.finished()
    })
    return parser
  }

  override _armTimeout(socket: Socket = (this._upgrading && this.#handshake) || this._socket): void {
    // Each setTimeout() adds a listener: a second one would destroy the socket under the reply of the first.
    socket.removeAllListeners('timeout')
    // Armed for another socket than ours: the handshake begins. A client that closes within it is gone; half-open as our
    // sockets are, nobody else would notice.
    if (socket !== this._socket && socket !== this.#handshake) {
      this.#handshake = socket
      socket.once('end', () => {
        if (this._upgrading) socket.destroy()
      })
    }
    socket.setTimeout(this.#silentMs, () => this._onTimeout())
  }

  override _onTimeout(): void {
    if (this._closing) this._socket.destroy()
    else this.#events.silent()
  }

  override _onClose(): void {
    const isFirst = !this._closed
    super._onClose()
    if (isFirst) this.#events.closed(this.#error)
  }

  override _onError(error?: NodeJS.ErrnoException): void {
    this.#error ??= error?.code ?? String(error?.message)
    this._socket.destroy()
  }
}
