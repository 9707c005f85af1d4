/**
 * A mail server that remembers which attempts at which messages it took, and nothing else, so that it can run for hours.
 * It takes a message as real ones do: it answers the dot also when nobody listens any more, and has the message then.
 */
import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** What it does with a dot: takes the message after so many milliseconds, or puts it off. */
export type AtDot = { readonly afterMs: number } | 'deferred'

export interface RecordingServer {
  readonly port: number
  readonly address: string
  /** How often each attempt was taken, by its name (X-Attempt). */
  readonly taken: ReadonlyMap<string, number>
  /** Messages whose dot is not answered yet. */
  readonly pastDot: number
  /** Asked at each dot. */
  atDot: () => AtDot
  /** While it hangs, it says nothing more on any connection. */
  hang(ms: number): void
  /** Ends as a server that crashes: all connections are reset, and it listens again after so many milliseconds. */
  crash(ms: number): Promise<void>
  stop(): Promise<void>
}

const SAID: Readonly<Record<string, string>> = {
  EHLO: '250-upstream.example\r\n250-PIPELINING\r\n250-SIZE 10000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES',
  MAIL: '250 2.1.0 Ok',
  RCPT: '250 2.1.5 Ok',
  DATA: '354 go ahead',
  RSET: '250 2.0.0 Ok',
  NOOP: '250 2.0.0 Ok',
  QUIT: '221 2.0.0 Bye',
}
const DOT = '\r\n.\r\n'

export async function startRecordingServer(port = 0): Promise<RecordingServer> {
  const taken = new Map<string, number>()
  const sockets = new Set<Socket>()
  const state = { pastDot: 0, atDot: (): AtDot => ({ afterMs: 0 }), hangsUntil: 0 }

  const hung = async (): Promise<void> => {
    for (let left = 1; left > 0; ) {
      left = state.hangsUntil - performance.now()
      if (left > 0) await sleep(left)
    }
  }
  /** @returns the reply to the dot */
  const dotted = async (message: string): Promise<string> => {
    const doing = state.atDot()
    state.pastDot++
    try {
      await hung()
      if (doing === 'deferred') return '451 4.3.0 try again'
      await sleep(doing.afterMs)
      const attempt = /^X-Attempt: (\S+)\r$/m.exec(message)?.[1] ?? 'none'
      taken.set(attempt, (taken.get(attempt) ?? 0) + 1)
      return '250 2.0.0 Ok: queued'
    } finally {
      state.pastDot--
    }
  }

  const serve = async (socket: Socket): Promise<void> => {
    socket.setEncoding('latin1')
    let text = ''
    let inBody = false
    const say = (line: string): unknown => !socket.destroyed && socket.write(`${line}\r\n`)
    const next = async (): Promise<boolean> => {
      const end = text.indexOf(inBody ? DOT : '\r\n')
      if (end < 0) return false
      const unit = text.slice(0, end)
      text = text.slice(end + (inBody ? DOT.length : 2))
      if (inBody) {
        inBody = false
        say(await dotted(`${unit}\r\n`))
        return true
      }
      await hung()
      const verb = unit.slice(0, 4).toUpperCase()
      inBody = verb === 'DATA'
      say(SAID[verb] ?? '500 5.5.2 what?')
      if (verb === 'QUIT') socket.end()
      return true
    }
    await hung()
    say('220 upstream.example ESMTP')
    for await (const chunk of socket) {
      text += chunk
      while (await next());
    }
  }

  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => undefined)
    // What breaks a connection is the other side's affair.
    serve(socket).catch(() => socket.destroy())
  })
  const listen = (at: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(at, '127.0.0.1', () => {
        server.off('error', reject)
        resolve()
      })
    })
  /** While it is away, its port may be the other end of somebody's connection for some seconds. */
  const listenAgain = async (): Promise<void> => {
    for (let left = 300; ; left--) {
      try {
        return await listen(own)
      } catch (error) {
        if (left === 0 || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
        await sleep(100)
      }
    }
  }
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      for (const socket of sockets) socket.resetAndDestroy()
    })
  await listen(port)
  const own = (server.address() as { port: number }).port
  return {
    port: own,
    address: `127.0.0.1:${own}`,
    taken,
    get pastDot() {
      return state.pastDot
    },
    get atDot() {
      return state.atDot
    },
    set atDot(doing) {
      state.atDot = doing
    },
    hang(ms) {
      state.hangsUntil = performance.now() + ms
    },
    async crash(ms) {
      await close()
      await sleep(ms)
      await listenAgain()
    },
    stop: close,
  }
}
