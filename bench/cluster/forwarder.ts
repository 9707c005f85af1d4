// A TCP forwarder in front of a server: clients that connect through it can be cut off while others still reach the
// server.

import { once } from 'node:events'
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net'

export interface Forwarder {
  readonly port: number
  /** How late everything arrives from now on, in milliseconds, in each direction. */
  slow(ms: number): void
  /** How many pieces have come, and wait to be passed on. */
  waiting(): number
  /** Resets the open connections and accepts no more. */
  cut(): Promise<void>
}

/** Forwards from a free port of 127.0.0.1 to another. */
export async function startForwarder(to: number): Promise<Forwarder> {
  const open = new Set<Socket>()
  let late = 0
  let held = 0
  const server = createServer((client) => {
    const upstream = createConnection({ port: to, host: '127.0.0.1', noDelay: true })
    client.setNoDelay(true)
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        open.delete(socket)
        other.destroy()
      })
      const waiting: { readonly chunk: Buffer; readonly due: number }[] = []
      const go = (): void => {
        const now = performance.now()
        while (waiting[0] !== undefined && waiting[0].due <= now) {
          held--
          other.write((waiting.shift() as { chunk: Buffer }).chunk)
        }
        if (waiting[0] !== undefined) setTimeout(go, waiting[0].due - now)
      }
      // Nothing overtakes what is under way, also when it is quick again.
      socket.on('data', (chunk: Buffer) => {
        if (late === 0 && waiting.length === 0) {
          other.write(chunk)
          return
        }
        held++
        if (waiting.push({ chunk, due: performance.now() + late }) === 1) setTimeout(go, late)
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    slow(ms) {
      late = ms
    },
    waiting: () => held,
    async cut() {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      for (const socket of open) socket.resetAndDestroy()
      await closed
    },
  }
}
