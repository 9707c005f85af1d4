// The least that Node can do for a session, with STARTTLS or with NOOP in its place: a server that says the same as Spillway, line
// for line, and reads no more of what it answers than the first letter of STARTTLS. It is started with the paths of a certificate
// and of its key, and the length of the reply to EHLO. It sends its port over the IPC channel, and ends when the channel closes.

import { readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'

const [cert = '', key = '', length = '100'] = process.argv.slice(2)
const secureContext = createSecureContext({ cert: readFileSync(cert), key: readFileSync(key) })
const EHLO = `250 ${'x'.repeat(Number(length) - 6)}\r\n`
const READY = '220 2.0.0 Ready to start TLS\r\n'
const OK = '250 2.0.0 OK\r\n'
const BYE = '221 2.0.0 mx.test.example closing connection\r\n'
const S = 83

/** Answers each line with the next reply, and calls `done` after the last. */
function answer(socket: Socket, replies: readonly string[], done: (last: Buffer) => void): void {
  let next = 0
  const heard = (chunk: Buffer): void => {
    if (chunk[chunk.length - 1] !== 10) return
    const isLast = next === replies.length - 1
    if (isLast) socket.off('data', heard)
    const reply = replies[next++] as string
    if (reply !== '') socket.write(reply, 'latin1')
    if (isLast) done(chunk)
  }
  socket.on('data', heard)
}

function finish(socket: Socket): void {
  answer(socket, [EHLO, BYE], () => socket.end())
}

const server = createServer((socket) => {
  socket.on('error', () => undefined)
  socket.setNoDelay(true)
  socket.write('220 mx.test.example ESMTP Spillway\r\n')
  answer(socket, [EHLO, ''], (line) => {
    socket.write(line[0] === S ? READY : OK, 'latin1')
    if (line[0] !== S) {
      finish(socket)
      return
    }
    const secure = new TLSSocket(socket, { isServer: true, secureContext })
    secure.on('error', () => undefined)
    finish(secure)
  })
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  process.send?.({ port: (server.address() as { port: number }).port })
})
process.on('disconnect', () => process.exit(0))
