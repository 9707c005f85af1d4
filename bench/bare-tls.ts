// The least that Node can do for a session with STARTTLS: a server that says the same as Spillway, line for line, without reading
// what it answers. Started with the paths of a certificate and of its key, and the length of the reply to EHLO. It sends its port
// over the IPC channel, and ends when the channel closes.

import { readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'

const [cert = '', key = '', length = '100'] = process.argv.slice(2)
const secureContext = createSecureContext({ cert: readFileSync(cert), key: readFileSync(key) })
const EHLO = `250 ${'x'.repeat(Number(length) - 6)}\r\n`
const SECURE = [EHLO, '221 2.0.0 mx.test.example closing connection\r\n']

function answer(socket: Socket, replies: readonly string[], done: () => void): void {
  let next = 0
  const heard = (chunk: Buffer): void => {
    if (chunk[chunk.length - 1] !== 10) return
    socket.write(replies[next++] as string, 'latin1')
    if (next < replies.length) return
    socket.off('data', heard)
    done()
  }
  socket.on('data', heard)
}

const server = createServer((socket) => {
  socket.on('error', () => undefined)
  socket.setNoDelay(true)
  socket.write('220 mx.test.example ESMTP Spillway\r\n')
  answer(socket, [EHLO, '220 2.0.0 Ready to start TLS\r\n'], () => {
    const secure = new TLSSocket(socket, { isServer: true, secureContext })
    secure.on('error', () => undefined)
    answer(secure, SECURE, () => secure.end())
  })
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  process.send?.({ port: (server.address() as { port: number }).port })
})
process.on('disconnect', () => process.exit(0))
