/** A TCP server that hands each connection to the test, to be told byte by byte what it says. */
import { createServer, type Socket } from 'node:net'

export interface Talker {
  readonly port: number
  /** The next connection, waited for. */
  next(): Promise<Talk>
  stop(): Promise<void>
}

export class Talk {
  readonly socket: Socket
  /** Everything heard so far, latin1. */
  heard = ''
  closed = false
  #wake: () => void = () => undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      this.heard += chunk.toString('latin1')
      this.#wake()
    })
    socket.on('close', () => {
      this.closed = true
      this.#wake()
    })
  }

  say(text: string): void {
    this.socket.write(text, 'latin1')
  }

  /** Waits until `text` was heard, or until the connection closed where none is told. */
  async until(text?: string, ms = 3000): Promise<void> {
    const deadline = performance.now() + ms
    while (text === undefined ? !this.closed : !this.heard.includes(text)) {
      const left = deadline - performance.now()
      if (left <= 0 || (text !== undefined && this.closed)) {
        throw new Error(`not heard: ${JSON.stringify(text)}; so far ${JSON.stringify(this.heard.slice(-500))}`)
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
}

export async function startTalker(): Promise<Talker> {
  const talks: Talk[] = []
  const waiting: ((talk: Talk) => void)[] = []
  const all: Talk[] = []
  const server = createServer((socket) => {
    const talk = new Talk(socket.setNoDelay(true))
    all.push(talk)
    const first = waiting.shift()
    if (first === undefined) talks.push(talk)
    else first(talk)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    port,
    next: () => {
      const talk = talks.shift()
      return talk === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(talk)
    },
    stop: () =>
      new Promise<void>((resolve) => {
        for (const { socket } of all) socket.destroy()
        server.close(() => resolve())
      }),
  }
}
