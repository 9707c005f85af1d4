/** An SMTP client for transcripts: writes exact bytes, waits for exact replies, with a deadline instead of hope. */
import { connect, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, TLSSocket } from 'node:tls'

export interface ClientOptions {
  readonly host?: string
  /** Source address; any of 127.0.0.0/8. */
  readonly from?: string
  /** Does not close when the server has: a client that holds on. */
  readonly holdsOn?: boolean
}

const DEADLINE_MS = 20_000

export class Client {
  #socket: Socket
  #text = ''
  #ended = false
  #reset = false
  #wake: () => void = () => undefined

  constructor(socket: Socket) {
    this.#socket = socket
    this.#listen()
  }

  #listen(): void {
    this.#socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
      this.#wake()
    })
    this.#socket.on('end', () => {
      this.#ended = true
      this.#wake()
    })
    this.#socket.on('error', () => {
      this.#reset = true
      this.#ended = true
      this.#wake()
    })
  }

  get socket(): Socket {
    return this.#socket
  }

  /** Whether the connection ended by a reset. */
  get wasReset(): boolean {
    return this.#reset
  }

  /** The port this client connected from. */
  get port(): number {
    return this.#socket.localPort ?? 0
  }

  async #until(done: () => boolean, what: string, ms: number): Promise<void> {
    const deadline = performance.now() + ms
    while (!done()) {
      const left = deadline - performance.now()
      if (left <= 0) throw new Error(`${what}; so far: ${JSON.stringify(this.#text)}${this.#ended ? ' (closed)' : ''}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** The next whole reply, all its lines, without the last CRLF. */
  async reply(ms = DEADLINE_MS): Promise<string> {
    const whole = /^(?:[0-9]{3}-[^\n]*\n)*[0-9]{3}(?: [^\n]*)?\n/
    await this.#until(() => whole.test(this.#text) || this.#ended, 'no reply', ms)
    const found = whole.exec(this.#text)?.[0]
    if (found === undefined) throw new Error(`closed without a reply; so far: ${JSON.stringify(this.#text)}`)
    this.#text = this.#text.slice(found.length)
    return found.replace(/\r\n$/, '')
  }

  /** Writes bytes as they are. */
  write(bytes: string | Buffer): void {
    if (typeof bytes === 'string') this.#socket.write(bytes, 'latin1')
    else this.#socket.write(bytes)
  }

  /** Sends one line and gives its reply. */
  command(line: string, ms?: number): Promise<string> {
    this.write(`${line}\r\n`)
    return this.reply(ms)
  }

  /** Waits until the server has closed; gives what came before that and was not read as a reply. */
  async closed(ms = DEADLINE_MS): Promise<string> {
    await this.#until(() => this.#ended, 'not closed', ms)
    return this.#text
  }

  /** From 220 to the reply to EHLO. */
  async hello(name = 'client.example'): Promise<string> {
    const greeting = await this.reply()
    if (!greeting.startsWith('220')) throw new Error(greeting)
    return this.command(`EHLO ${name}`)
  }

  /** A whole message; gives the reply to the dot. `body`: dot-stuffed, ends in CRLF. */
  async send(from: string, to: string, body = 'Subject: test\r\n\r\nhello\r\n'): Promise<string> {
    for (const line of [`MAIL FROM:<${from}>`, `RCPT TO:<${to}>`, 'DATA']) {
      const reply = await this.command(line)
      if (/^[45]/.test(reply)) return reply
    }
    this.write(`${body}.\r\n`)
    return this.reply()
  }

  /** @param options more than that no certificate is verified: a server name, versions */
  async startTls(options: ConnectionOptions = {}): Promise<void> {
    const reply = await this.command('STARTTLS')
    if (!reply.startsWith('220')) throw new Error(reply)
    const plain = this.#socket
    plain.removeAllListeners('data')
    plain.removeAllListeners('end')
    this.#socket = await new Promise<Socket>((resolve, reject) => {
      const secure = connectTls({ ...options, socket: plain, rejectUnauthorized: false }, () => resolve(secure))
      secure.once('error', reject)
    })
    this.#listen()
  }

  /** The serial number of the certificate that the server has shown. */
  get serverCertificate(): string | undefined {
    return this.#socket instanceof TLSSocket ? this.#socket.getPeerX509Certificate()?.serialNumber : undefined
  }

  /** Says goodbye to nobody: the socket is closed in the ordinary way. */
  end(): void {
    this.#socket.end()
  }

  /** Gone with a reset. */
  resetConnection(): void {
    this.#socket.resetAndDestroy()
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

/** Connects; the greeting is not read yet. */
export function connectClient(
  port: number,
  { host = '127.0.0.1', from, holdsOn = false }: ClientOptions = {},
): Promise<Client> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      noDelay: true,
      allowHalfOpen: holdsOn,
      ...(from !== undefined && { localAddress: from }),
    })
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(new Client(socket))
    })
  })
}
