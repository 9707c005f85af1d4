/**
 * The connection to one client: sockets, the TLS upgrade, timers and closing, all done by smtp-server's connection. Only this file knows
 * its private members; a session uses the interface in transport-interface.ts. We replace its parser (with wire-stream.ts) and its
 * commands, which refuse a message only after reading its text, answer before a mail server was asked, and change what they pass on.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { SMTPServer } from 'smtp-server'
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js'
import type { SMTPStream } from 'smtp-server/lib/smtp-stream.js'
import type { Client } from '../../core/client.ts'
import type { Current } from '../../core/current.ts'
import type { Log } from '../../telemetry/log.ts'
import type { Served } from '../served.ts'
import { awaitHello } from './tls-hello.ts'
import { EMPTY_RECORDS, TlsRecords } from './tls-records.ts'
import type { Transport, TransportEvents } from './transport-interface.ts'
import { type BodySink, WireStream } from './wire-stream.ts'

export interface TransportOptions {
  readonly hostname: string
  /** Undefined: no TLS. */
  readonly tls: Pick<Current<Served>, 'value'> | undefined
  readonly idleMs: number
  readonly log: Log
}

/** Hands sockets to smtp-server. */
export class Transports {
  /** It listens nowhere: connections only ask it for options and handlers. */
  readonly #server: SMTPServer
  readonly #options: ConnectionOptions

  constructor({ hostname, tls, idleMs, log }: TransportOptions) {
    this.#options = { tls, idleMs, records: new TlsRecords() }
    this.#server = new SMTPServer({
      name: hostname,
      logger: false,
      disableReverseLookup: true,
      disabledCommands: ['AUTH'],
      socketTimeout: idleMs,
    })
    this.#server.on('error', (error) => log.debug({ err: error.message }, 'smtp-server'))
  }

  /** @param socket paused */
  open(socket: Socket, client: Client, events: TransportEvents): Transport {
    return new ClientConnection(this.#server, socket, client, events, this.#options)
  }
}

interface ConnectionOptions extends Pick<TransportOptions, 'tls' | 'idleMs'> {
  readonly records: TlsRecords
}

const nothing = (): void => undefined
/**
 * For what smtp-server would keep of XCLIENT, XFORWARD and recipients: an empty map of its own takes 184 bytes. All clients share
 * this one, because smtp-server's commands, which would write to it, are never reached.
 */
const NO_ENTRIES = new Map<string, never>()

class ClientConnection extends SMTPConnection implements Transport {
  readonly #events: TransportEvents
  /** The TCP connection, even under TLS: what is written here reaches the kernel at once. */
  readonly #plain: Socket
  readonly #options: ConnectionOptions
  /** Duration of the timer that is armed. */
  #silentMs: number
  /** The TLS socket that will replace ours when its handshake is done. */
  #handshake: Socket | undefined
  #error: string | undefined

  constructor(server: SMTPServer, socket: Socket, client: Client, events: TransportEvents, options: ConnectionOptions) {
    super(server, socket, {
      id: client.id,
      remoteAddress: client.ip,
      remotePort: client.port,
      // Never used, but without them smtp-server would ask the system.
      localAddress: '0.0.0.0',
      localPort: 1,
    })
    this.#events = events
    this.#plain = socket
    this.#options = options
    this.#silentMs = options.idleMs
    this._rcptIndex = NO_ENTRIES
    this._xClient = NO_ENTRIES
    this._xForward = NO_ENTRIES
    if (this._parser instanceof WireStream) this._parser.events = events
    socket.on('close', () => this._onClose())
    socket.on('error', (error) => this._onError(error))
  }

  get tls(): Transport['tls'] {
    if (!this.secure) return undefined
    const socket = this._socket as TLSSocket
    return { protocol: socket.getProtocol() ?? 'TLS', cipher: socket.getCipher()?.name ?? 'unknown' }
  }

  get isResumed(): boolean {
    return this.secure && (this._socket as TLSSocket).isSessionReused()
  }

  get isIdle(): boolean {
    return !(this._parser instanceof WireStream) || this._parser.isIdle
  }

  get isFinished(): boolean {
    return this._socket.readableEnded && this._parser instanceof WireStream && this._parser.isIdleBehind
  }

  get hasMore(): boolean {
    return this._parser instanceof WireStream && !this._parser.isIdleBehind
  }

  get isPaused(): boolean {
    return this._socket.isPaused()
  }

  listen(): void {
    const { _parser: parser, _socket: socket } = this
    if (socket.destroyed) {
      // The connection was reset before it came here. Its 'close' event has passed, so it is reported from here.
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

  /** A client that reads a little now and then restarts the socket's timer, so its replies have a timer of their own. */
  whenWritten(next: () => void): void {
    const socket = this._socket
    if (!socket.writableNeedDrain || socket.destroyed) {
      next()
      return
    }
    const late = setTimeout(() => {
      if (!this._upgrading) this.#events.silent()
    }, this.#options.idleMs)
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

  startTls(arrived: (start: () => void) => void): void {
    const socket = this._socket
    const parser = this._parser
    if (!(parser instanceof WireStream)) return
    socket.unpipe(parser)
    // What this parser holds came in the clear.
    parser.isClosed = true
    this._parser = this._createParser()
    this._upgrading = true
    while (socket.read() !== null);
    awaitHello(socket, () => arrived(() => this.#upgrade()))
  }

  /**
   * In place of smtp-server's upgrade(), which answers what came with the end of the handshake one turn of the event loop later, in a
   * record and a packet of its own, and prepares what only handlers that we do not have would use.
   */
  #upgrade(): void {
    const { _socket: socket } = this
    const { tls } = this.#options
    if (socket.destroyed || tls === undefined) return
    socket.removeAllListeners()
    socket.on('error', (error) => this._onError(error))
    const secure = new TLSSocket(socket, tls.value.options)
    this.#handshake = secure
    secure.on('close', () => this._onClose())
    secure.on('error', (error) => {
      secure.destroy()
      this._onError(error)
    })
    // A client that closes its side during it is gone. As our sockets allow half-open connections, no other code would notice.
    secure.once('end', () => {
      if (this._upgrading) secure.destroy()
    })
    this._armTimeout()
    secure.once('secure', () => this.#secured(secure))
  }

  #secured(secure: TLSSocket): void {
    // The connection was closed meanwhile.
    if (!(this._parser instanceof WireStream)) return
    this.secure = true
    this._socket = secure
    this._upgrading = false
    secure.pipe(this._parser)
    this.#watchEnd()
    const end = (): void => this._onError(new Error(EMPTY_RECORDS))
    secure.once('close', this.#options.records.watch({ plain: this.#plain, secure, end }))
    this.#events.secured()
  }

  startText(sink: BodySink): void {
    if (this._parser instanceof WireStream) this._parser.startBody(sink)
  }

  touch(): void {
    this.#plain.write('')
  }

  override close(): void {
    // Its 'close' event may have passed, see `listen`.
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
    // It comes once for each socket, and `once` would take 176 bytes more.
    this._socket.on('end', () => this.#events.ended())
  }

  /** smtp-server's constructor calls this before our own fields exist. Ours then sets `events`. */
  override _createParser(): SMTPStream {
    const parser = new WireStream()
    if (#events in this) parser.events = this.#events
    parser.on('error', nothing)
    return parser
  }

  /** What smtp-server would keep of a session, and give to handlers that we do not have. */
  override _resetSession(): void {}

  override _armTimeout(): void {
    const socket = (this._upgrading && this.#handshake) || this._socket
    // Each setTimeout() adds a listener, and a second one would destroy the socket while the first one's reply is being sent.
    socket.removeAllListeners('timeout')
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
