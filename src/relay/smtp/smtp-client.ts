/**
 * One SMTP connection to a mail server, from our side. It sends commands and gives each the reply that answers it, in order, so
 * that commands can be pipelined (RFC 2920). It is 8-bit clean: text is latin1, one byte per character. It knows nothing of
 * clients, limits or what a session is for; dial.ts opens it, and a client's transaction talks over it.
 *
 * Every wait has a deadline. Any fault ends the connection, and every caller that waits receives the same UpstreamError.
 */
import type { Socket } from 'node:net'
import type { Clock } from '../../core/clock.ts'
import { messageOf } from '../../core/errors.ts'
import { AwaitedReplies } from './awaited.ts'
import type { Reply } from './reply.ts'
import { ReplyReader } from './reply-reader.ts'
import { type TlsPeer, upgrade } from './start-tls.ts'
import { connect } from './tcp.ts'
import { type Fault, UpstreamError } from './upstream-error.ts'

/** How long we wait for the server to close after our QUIT. */
const GOODBYE_MS = 5000
/** Up to this many octets are held back to go out with what follows. More of them fill packets of their own. */
const MAX_HELD = 16_384

export interface OpenOptions {
  /** For the TCP connection, in milliseconds. */
  readonly timeoutMs: number
  readonly elapsed: Clock['elapsed']
  /** Written before anything is read (a PROXY header). */
  readonly first?: Buffer | undefined
  /** Aborted when the connection is no longer wanted. */
  readonly signal?: AbortSignal | undefined
}

export class SmtpClient {
  #socket: Socket
  readonly #reader = new ReplyReader()
  readonly #awaited: AwaitedReplies
  /** Why it ended. Every session ends once, so an error with its stack is made only if a caller waits for it. */
  #ended: { readonly fault: Fault; readonly why: string } | undefined
  /** The socket holds back what was written, so that more can go out with it. */
  #holding = false
  /** Called when the server says something that no caller waits for, and when the connection ends. */
  readonly #watchers = new Set<() => void>()

  private constructor(socket: Socket, elapsed: Clock['elapsed']) {
    this.#socket = socket
    this.#awaited = new AwaitedReplies(elapsed, (ms) => this.#end('timeout', `no reply in ${ms} ms`))
    this.#attach()
  }

  /** Connects by TCP. @throws UpstreamError if not connected within `timeoutMs` */
  static async open(address: { host: string; port: number }, options: OpenOptions): Promise<SmtpClient> {
    const { timeoutMs, elapsed, first, signal } = options
    const socket = await connect(address, timeoutMs, signal)
    if (first !== undefined) socket.write(first)
    return new SmtpClient(socket, elapsed)
  }

  get ended(): boolean {
    return this.#ended !== undefined
  }

  /** Our own address and port on this connection. */
  get local(): { ip: string; port: number } {
    return { ip: this.#socket.localAddress ?? '0.0.0.0', port: this.#socket.localPort ?? 0 }
  }

  get remote(): { ip: string; port: number } {
    return { ip: this.#socket.remoteAddress ?? '0.0.0.0', port: this.#socket.remotePort ?? 0 }
  }

  /**
   * Waits for the next reply that is not owed to an earlier command. It may be one that came unasked, even if the server hung up
   * after it.
   * @throws UpstreamError
   */
  reply(timeoutMs: number): Promise<Reply> {
    const reply = this.#awaited.wait(timeoutMs)
    if (this.#awaited.size === 1) this.#parse()
    if (this.#ended !== undefined) this.#fail(this.#ended)
    return reply
  }

  /** Sends one line (latin1, without CRLF) and waits for its reply. */
  command(line: string, timeoutMs: number): Promise<Reply> {
    this.#expectSilence()
    const reply = this.reply(timeoutMs)
    this.send(`${line}\r\n`)
    return reply
  }

  /**
   * Sends several lines in one write (RFC 2920) and returns the reply to each. The last may be a command that must end a group.
   * @param timeoutMs for the last reply @param earlierMs for those before it
   */
  pipeline(lines: readonly string[], timeoutMs: number, earlierMs = timeoutMs): Promise<Reply>[] {
    this.#expectSilence()
    const replies = lines.map((_, index) => this.reply(index < lines.length - 1 ? earlierMs : timeoutMs))
    this.send(lines.map((line) => `${line}\r\n`).join(''))
    return replies
  }

  /** Writes `data` as it is. @returns false if the caller should wait for `drained()` before writing more */
  send(data: string | Buffer): boolean {
    if (this.#ended !== undefined) return true
    const free = typeof data === 'string' ? this.#socket.write(data, 'latin1') : this.#socket.write(data)
    if (this.#holding) this.#letGo(this.#socket)
    return free
  }

  /**
   * Like `send`, for a part that may be followed by more in the same turn of the event loop, such as the dot after a short
   * message: they go out in one write.
   */
  sendPart(data: Buffer): boolean {
    if (this.#ended !== undefined || data.length > MAX_HELD) return this.send(data)
    if (!this.#holding) {
      const socket = this.#socket
      this.#holding = true
      socket.cork()
      setImmediate(() => {
        if (this.#holding) this.#letGo(socket)
      })
    }
    return this.#socket.write(data)
  }

  #letGo(socket: Socket): void {
    this.#holding = false
    socket.uncork()
  }

  /**
   * Resolves when more may be written, when the connection has ended, or when the server says something instead of reading. If
   * the server reads nothing for `timeoutMs`, the connection ends.
   */
  drained(timeoutMs: number): Promise<void> {
    const socket = this.#socket
    if (this.#ended !== undefined || this.unasked || !socket.writableNeedDrain) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#end('timeout', `took nothing of the message in ${timeoutMs} ms`)
      }, timeoutMs)
      const done = (): void => {
        clearTimeout(timer)
        socket.off('drain', done)
        stopWatching()
        resolve()
      }
      const stopWatching = this.watch(done)
      socket.once('drain', done)
    })
  }

  /**
   * Calls `act` whenever the server says something that no caller waits for, and when either side ends the connection.
   * @returns a function that stops this
   */
  watch(act: () => void): () => void {
    this.#watchers.add(act)
    return () => this.#watchers.delete(act)
  }

  #tellWatchers(): void {
    for (const act of [...this.#watchers]) act()
  }

  /**
   * Upgrades the connection to TLS after a 220 to STARTTLS.
   * @throws UpstreamError; its fault is `protocol` if the server sent anything after its 220 (injected replies, CVE-2011-0411)
   */
  async startTls(peer: TlsPeer, timeoutMs: number): Promise<void> {
    if (!this.#reader.isEmpty) {
      const why = 'bytes behind the reply to STARTTLS'
      this.#end('protocol', why)
      throw new UpstreamError('protocol', why)
    }
    try {
      this.#socket = await upgrade(this.#socket, peer, timeoutMs)
    } catch (error) {
      const why = `TLS: ${messageOf(error)}`
      this.#end('lost', why)
      throw new UpstreamError('lost', why)
    }
    this.#attach()
  }

  /** Sends QUIT and closes without waiting for the reply. */
  quit(): void {
    if (this.#ended !== undefined) return
    if (this.#awaited.size > 0) {
      this.destroy('given up with a reply outstanding')
      return
    }
    this.#socket.end('QUIT\r\n')
    this.#end('lost', 'we said QUIT', false)
  }

  /** Ends the connection at once, without a QUIT and without the dot of a message under way. */
  destroy(why = 'closed by us'): void {
    this.#end('lost', why)
  }

  #attach(): void {
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk.toString('latin1')))
    this.#socket.on('error', (error) => this.#end('lost', error.message))
    // A server that has closed only its own direction may go on reading, but can no longer answer: it must not be given a dot.
    this.#socket.on('end', () => this.#end('lost', 'the upstream closed the connection'))
    this.#socket.on('close', () => this.#end('lost', 'the upstream closed the connection'))
    // It may have closed before these listeners were attached.
    if (this.#socket.destroyed) this.#end('lost', 'the upstream closed the connection')
  }

  #end(fault: Fault, why: string, destroy = true): void {
    if (destroy) this.#socket.destroy()
    else {
      // The server's 221 and its close are still to come. A server that never closes, or never stops talking, is not waited for.
      const socket = this.#socket
      const timer = setTimeout(() => socket.destroy(), GOODBYE_MS)
      timer.unref()
      socket.once('close', () => clearTimeout(timer))
    }
    if (this.#ended !== undefined) return
    this.#ended = { fault, why }
    // What the server said before it left may be why it left.
    if (fault !== 'lost') this.#reader.clear()
    this.#fail(this.#ended)
    this.#tellWatchers()
  }

  /** Every caller that waits receives the same error. */
  #fail({ fault, why }: { readonly fault: Fault; readonly why: string }): void {
    this.#awaited.fail(() => new UpstreamError(fault, why))
  }

  #read(chunk: string): void {
    if (this.#ended !== undefined) return
    this.#reader.push(chunk)
    this.#parse()
  }

  #parse(): void {
    while (this.#awaited.size > 0) {
      const reply = this.#reader.next()
      if (reply === undefined) return
      if ('why' in reply) {
        this.#end('protocol', reply.why)
        return
      }
      this.#awaited.answer(reply)
    }
    // Text that no caller waits for is kept: `unasked` reports it, and a watcher may ask for it at once.
    if (this.#reader.isFull) this.#end('protocol', 'a reply line is too long')
    else if (this.#reader.hasLine) this.#tellWatchers()
  }

  /** Whether the server has said something that no command asked for, such as a 421 before it hangs up. */
  get unasked(): boolean {
    return this.#awaited.size === 0 && !this.#reader.isEmpty
  }

  /** Whether every command has its reply and nothing more has come, so that the next reply belongs to the next command. */
  get settled(): boolean {
    return this.#ended === undefined && this.#awaited.size === 0 && !this.unasked
  }

  /**
   * Text that came before a command is not its reply. If it were taken for it, every later command would get the reply to the one
   * before it. Only a 421 counts: it may come at any time, and says that no command will be answered (RFC 5321 section 3.8). A
   * command that can no longer be sent has no reply at all.
   */
  #expectSilence(): void {
    if (this.#ended !== undefined) this.#reader.clear()
    if (!this.unasked || this.#reader.head.startsWith('421')) return
    this.#end('protocol', `spoke unasked: ${JSON.stringify(this.#reader.head)}`)
  }
}
