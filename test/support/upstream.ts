/**
 * A mail server that does as it is told, for what a real one cannot be made to show: any reply to any command, at any
 * time, in pieces, or none; and a record of all it heard. By default it behaves.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { TLSSocket, type TLSSocketOptions } from 'node:tls'

/** What to answer: text with or without CRLF (written as it is when it has one); undefined: nothing at all. */
export type Said = string | undefined
/** Asked for each command line; may do what it likes with the connection. Undefined means: as a good server would. */
export type Script = (
  verb: string,
  line: string,
  connection: UpstreamConnection,
) => Said | Promise<Said> | 'default' | 'silence'

export class UpstreamConnection {
  /** The TLS one, after STARTTLS. */
  socket: Socket
  /** Command lines heard, without CRLF. */
  readonly lines: string[] = []
  /** Bodies received, dot-stuffed, without the dot. */
  readonly bodies: Buffer[] = []
  /** Bytes before the first line where a PROXY header is expected. */
  header: Buffer = Buffer.alloc(0)
  /** Bytes of a body that was never ended. */
  partial: Buffer = Buffer.alloc(0)
  closed = false

  constructor(socket: Socket) {
    this.socket = socket
  }

  say(text: string): void {
    this.socket.write(/\n$/.test(text) ? text : `${text}\r\n`, 'latin1')
  }
}

export interface UpstreamOptions {
  readonly script?: Script
  /** Extensions behind the name in the EHLO reply. */
  readonly extensions?: readonly string[]
  readonly greeting?: string | ((connection: UpstreamConnection) => void)
  /** What to take off the front as a PROXY header: a line, so many bytes, or version 2 by its length. Greets only behind it. */
  readonly header?: 'line' | 'v2' | number
  readonly port?: number
  /** Where it listens, if not on 127.0.0.1. */
  readonly host?: string
  /** PEM; STARTTLS is offered, until it is in use. */
  readonly tls?: Pick<TLSSocketOptions, 'SNICallback'> & { readonly cert: string; readonly key: string }
}

export interface Upstream {
  readonly port: number
  /** host:port, as SPILLWAY_UPSTREAMS has it. */
  readonly address: string
  readonly connections: UpstreamConnection[]
  /** Connections that were not health checks: that heard MAIL. */
  mailed(): UpstreamConnection[]
  /** The one that heard MAIL last; it may have been kept, and be an early one. */
  lastMailed(): UpstreamConnection | undefined
  /** Of all connections, in the order in which they came. */
  bodies(): Buffer[]
  script: Script | undefined
  stop(): Promise<void>
}

const GOOD: Readonly<Record<string, string>> = {
  HELO: '250 upstream.example',
  MAIL: '250 2.1.0 Ok',
  RCPT: '250 2.1.5 Ok',
  DATA: '354 go ahead',
  RSET: '250 2.0.0 Ok',
  NOOP: '250 2.0.0 Ok',
  QUIT: '221 2.0.0 Bye',
  XCLIENT: '220 upstream.example ESMTP',
  DOT: '250 2.0.0 Ok: queued as SCRIPTED',
}
export const EXTENSIONS = ['PIPELINING', 'SIZE 10000000', '8BITMIME', 'SMTPUTF8', 'DSN', 'ENHANCEDSTATUSCODES']

/** Less than 2: not known yet. */
function headerLength(header: UpstreamOptions['header'], bytes: Buffer): number {
  if (header === 'line') return bytes.indexOf('\r\n') + 2
  if (header === 'v2') return bytes.length < 16 ? 0 : 16 + bytes.readUInt16BE(14)
  return header ?? 0
}

export async function startUpstream(options: UpstreamOptions = {}): Promise<Upstream> {
  const { extensions = EXTENSIONS, greeting = '220 upstream.example ESMTP' } = options
  const connections: UpstreamConnection[] = []
  const upstream: { script: Script | undefined } = { script: options.script }
  /** A later body may come on an earlier connection, which was kept. */
  const arrivals = new WeakMap<Buffer, number>()
  let arrived = 0
  const arrivalOf = (body: Buffer): number => arrivals.get(body) ?? 0
  let lastMailed: UpstreamConnection | undefined

  const serve = (socket: Socket): void => {
    const connection = new UpstreamConnection(socket)
    connections.push(connection)
    let bytes: Buffer = Buffer.alloc(0)
    let inBody = false
    let headerDone = options.header === undefined
    let working = false
    socket.on('error', () => undefined)
    socket.on('close', () => {
      connection.closed = true
      if (inBody) connection.partial = bytes
    })
    const greet = (): void => {
      if (typeof greeting === 'string') connection.say(greeting)
      else greeting(connection)
    }
    if (headerDone) greet()
    const take = (chunk: Buffer): void => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
      if (inBody) connection.partial = bytes
      void work()
    }
    const upgrade = (tls: NonNullable<UpstreamOptions['tls']>): void => {
      connection.say('220 2.0.0 go ahead')
      socket.off('data', take)
      const secure = new TLSSocket(socket, { isServer: true, ...tls })
      secure.on('error', () => undefined)
      secure.on('data', take)
      connection.socket = secure
    }

    const answer = async (verb: string, line: string): Promise<void> => {
      const said = upstream.script === undefined ? 'default' : await upstream.script(verb, line, connection)
      if (said === 'silence') return
      if (said !== 'default' && said !== undefined) {
        connection.say(said)
        if (verb === 'DATA' && said.startsWith('354')) inBody = true
        return
      }
      if (said === undefined) return
      if (verb === 'EHLO') {
        const secure = connection.socket instanceof TLSSocket
        const offered = [...extensions, ...(options.tls && !secure ? ['STARTTLS'] : [])]
        connection.say(
          ['upstream.example', ...offered].map((each, i) => `250${i < offered.length ? '-' : ' '}${each}`).join('\r\n'),
        )
        return
      }
      if (verb === 'STARTTLS' && options.tls) {
        upgrade(options.tls)
        return
      }
      connection.say(GOOD[verb] ?? '500 5.5.2 what?')
      if (verb === 'DATA') inBody = true
      if (verb === 'QUIT') connection.socket.end()
    }
    const work = async (): Promise<void> => {
      if (working) return
      working = true
      for (;;) {
        if (!headerDone) {
          const length = headerLength(options.header, bytes)
          if (length < 2 || bytes.length < length) break
          connection.header = Buffer.from(bytes.subarray(0, length))
          bytes = bytes.subarray(length)
          headerDone = true
          greet()
        }
        if (inBody) {
          const empty = bytes.subarray(0, 3).equals(Buffer.from('.\r\n'))
          const end = empty ? -2 : bytes.indexOf('\r\n.\r\n')
          if (end === -1) break
          const body = Buffer.from(bytes.subarray(0, end + 2))
          connection.bodies.push(body)
          arrivals.set(body, arrived++)
          bytes = bytes.subarray(end + 5)
          inBody = false
          await answer('DOT', '.')
          continue
        }
        const end = bytes.indexOf('\r\n')
        if (end < 0) break
        const line = bytes.toString('latin1', 0, end)
        bytes = bytes.subarray(end + 2)
        connection.lines.push(line)
        if (/^MAIL/i.test(line)) lastMailed = connection
        await answer((/^[A-Za-z]+/.exec(line)?.[0] ?? '').toUpperCase(), line)
      }
      working = false
    }
    socket.on('data', take)
  }

  const server: Server = createServer({ noDelay: true }, serve)
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return Object.assign(upstream, {
    port,
    address: `${options.host ?? '127.0.0.1'}:${port}`,
    connections,
    mailed: () => connections.filter(({ lines }) => lines.some((line) => /^MAIL/i.test(line))),
    lastMailed: () => lastMailed,
    bodies: () => connections.flatMap(({ bodies }) => bodies).sort((a, b) => arrivalOf(a) - arrivalOf(b)),
    stop: () =>
      new Promise<void>((resolve) => {
        for (const { socket } of connections) socket.destroy()
        server.close(() => resolve())
      }),
  })
}
