/** Asks the admin port with exact bytes, as no HTTP client would. */
import { connect, type Socket } from 'node:net'

export interface Reply {
  /** 0: closed without an answer. */
  readonly status: number
  readonly head: string
  readonly body: string
}

const DEADLINE_MS = 20_000

/** @param from source address; any of 127.0.0.0/8 */
export function open(port: number, from = '127.0.0.1', host = '127.0.0.1'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, localAddress: from, noDelay: true })
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      socket.on('error', () => undefined)
      resolve(socket)
    })
  })
}

/** All that comes until the other side closes, however it does. */
export function rest(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let got = ''
    const timer = setTimeout(() => reject(new Error(`not closed; so far: ${got.slice(0, 200)}`)), DEADLINE_MS)
    const over = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(got)
    }
    socket.on('data', (chunk: Buffer) => {
      got += chunk.toString('latin1')
    })
    socket.on('end', over)
    socket.on('close', over)
    if (socket.destroyed) over()
  })
}

/** One connection, these bytes, and what is said to them. */
export async function ask(port: number, bytes: string, from?: string): Promise<Reply> {
  const socket = await open(port, from)
  socket.write(bytes, 'latin1')
  const got = await rest(socket)
  const [head = '', ...body] = got.split('\r\n\r\n')
  return { status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1] ?? 0), head, body: body.join('\r\n\r\n') }
}
