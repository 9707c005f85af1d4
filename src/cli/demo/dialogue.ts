/**
 * The client's side of SMTP, as far as the demo's senders need it. It keeps track of all their connections, so that the
 * flood can be bounded and all of them can be closed.
 */
import { connect, type Socket } from 'node:net'

/** The code of the server's last reply; 0 where it closed the connection or was not reached. */
export type Code = number

export interface Letter {
  readonly from: string
  readonly to: string
  /** Header and body. Every line ends with CRLF, and none begins with a dot. */
  readonly content: string
}

/** How long a server may be silent before the connection is given up. */
const PATIENCE_MS = 40_000
const WHOLE_REPLY = /^(?:[0-9]{3}-[^\n]*\n)*([0-9]{3})(?: [^\n]*)?\n/

/** One connection. Nothing here throws: on a connection that is gone the code is 0. */
export class Call {
  readonly #socket: Socket
  #text = ''
  #over = false
  #wake: () => void = () => undefined

  constructor(socket: Socket) {
    this.#socket = socket
    const over = (): void => {
      this.#over = true
      this.#wake()
    }
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
      this.#wake()
    })
    socket.on('end', over)
    socket.on('close', over)
    socket.on('error', over)
    socket.setTimeout(PATIENCE_MS, () => socket.destroy())
  }

  async reply(): Promise<Code> {
    for (;;) {
      const found = WHOLE_REPLY.exec(this.#text)
      if (found !== null) {
        this.#text = this.#text.slice(found[0].length)
        return Number(found[1])
      }
      if (this.#over) return 0
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  say(line: string): Promise<Code> {
    this.write(`${line}\r\n`)
    return this.reply()
  }

  write(text: string): void {
    if (!this.#socket.destroyed) this.#socket.write(text)
  }

  /** Sends one message. @returns the code of the first negative reply, or that of the reply to the final dot */
  async send({ from, to, content }: Letter): Promise<Code> {
    for (const line of [`MAIL FROM:<${from}>`, `RCPT TO:<${to}>`, 'DATA']) {
      const code = await this.say(line)
      if (code === 0 || code >= 400) return code
    }
    this.write(`${content}.\r\n`)
    return this.reply()
  }

  /** Sends QUIT (RFC 5321 section 4.1.1.10) and closes its side. */
  quit(): void {
    if (!this.#over) this.#socket.end('QUIT\r\n')
  }

  /** Closes the connection without QUIT. */
  leave(): void {
    this.#socket.destroy()
  }
}

/** All connections of the demo's senders. */
export class Lines {
  readonly #to: { readonly host: string; readonly port: number }
  readonly #open = new Set<Socket>()
  #closed = false

  constructor(to: { host: string; port: number }) {
    this.#to = to
  }

  get open(): number {
    return this.#open.size
  }

  /** Connects from one of this machine's addresses (all of 127.0.0.0/8). */
  call(from: string): Call {
    const socket = connect({ ...this.#to, localAddress: from, noDelay: true })
    const call = new Call(socket)
    this.#open.add(socket)
    socket.on('close', () => this.#open.delete(socket))
    if (this.#closed) socket.destroy()
    return call
  }

  /** Closes every connection; later ones are closed at once. */
  close(): void {
    this.#closed = true
    for (const socket of this.#open) socket.destroy()
  }
}
