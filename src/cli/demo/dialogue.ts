/**
 * As much of the client's side of SMTP as the demo's senders need, and the set of all their connections.
 */
import { connect, type Socket } from 'node:net'

/** The code of the server's last reply; 0 if it hung up or could not be reached. */
export type Code = number

export interface Letter {
  readonly from: string
  readonly to: string
  /** Header and text; every line ends in CRLF, and none begins with a dot. */
  readonly content: string
}

/** How long to wait for a server that says nothing, in milliseconds. */
const PATIENCE_MS = 40_000
const WHOLE_REPLY = /^(?:[0-9]{3}-[^\n]*\n)*([0-9]{3})(?: [^\n]*)?\n/

/** One connection. Nothing here throws: a lost connection answers 0. */
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

  /** Sends one message. @returns the first negative reply, or the reply to the final dot */
  async send({ from, to, content }: Letter): Promise<Code> {
    for (const line of [`MAIL FROM:<${from}>`, `RCPT TO:<${to}>`, 'DATA']) {
      const code = await this.say(line)
      if (code === 0 || code >= 400) return code
    }
    this.write(`${content}.\r\n`)
    return this.reply()
  }

  /** As RFC 5321 section 4.1.1.10 has it. */
  quit(): void {
    if (!this.#over) this.#socket.end('QUIT\r\n')
  }

  /** Hangs up without QUIT. */
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

  /** @param from any address of 127.0.0.0/8 */
  call(from: string): Call {
    const socket = connect({ ...this.#to, localAddress: from, noDelay: true })
    const call = new Call(socket)
    this.#open.add(socket)
    socket.on('close', () => this.#open.delete(socket))
    if (this.#closed) socket.destroy()
    return call
  }

  /** Ends all calls, and any later one at once. */
  close(): void {
    this.#closed = true
    for (const socket of this.#open) socket.destroy()
  }
}
