// Free ports for servers of tests, and whether something answers on them.

import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createConnection, createServer, type Server } from 'node:net'

/** Below those that the system gives to outgoing connections, and to servers that ask for any: these would be taken again soon. */
const [FIRST, LAST] = [11_000, 32_767]

/**
 * Ports of 127.0.0.1, all different, that nobody listens on now. Somebody else may take one before the server does, but seldom: a
 * server that finds its port taken has to be started again with another.
 */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer())
  const ports = await Promise.all(servers.map(listen))
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    const attempt = (): void => void server.listen(randomInt(FIRST, LAST + 1), '127.0.0.1')
    server.on('listening', () => resolve((server.address() as { port: number }).port))
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') attempt()
      else reject(error)
    })
    attempt()
  })
}

/** How many sockets listen on a port of IPv4. Two may, where both set SO_REUSEPORT: connections then go to either. */
export function listening(port: number): number {
  const local = new RegExp(`^ *\\d+: [0-9A-F]{8}:${port.toString(16).toUpperCase().padStart(4, '0')} \\S+ 0A `, 'gm')
  return readFileSync('/proc/net/tcp', 'latin1').match(local)?.length ?? 0
}

/** Whether an SMTP server greets on a port of 127.0.0.1 within `ms`. Leaves with QUIT, and waits for the goodbye. */
export function greets(port: number, ms = 5_000): Promise<boolean> {
  return new Promise((resolve) => {
    let greeted = false
    const socket = createConnection(port, '127.0.0.1')
    socket.setTimeout(ms, () => socket.destroy())
    socket.once('data', (data) => {
      greeted = data.toString('latin1').startsWith('220')
      socket.end('QUIT\r\n').resume()
    })
    // What went wrong does not matter here; 'close' follows it.
    socket.on('error', () => undefined).on('close', () => resolve(greeted))
  })
}
