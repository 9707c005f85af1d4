// The least that Node can do, for comparison: a server that writes a line and closes, and a pipe between two sockets.
// bench/processes.ts starts it with `refuse LENGTH`, `drop LENGTH` or `pipe PORT`. It sends its port over the IPC
// channel, and ends when the channel closes.

import { createConnection, createServer, type Socket } from 'node:net'

const [what, number] = process.argv.slice(2)

const lineOf = (length: number): string => `554 5.7.1 ${'x'.repeat(length)}`.slice(0, length - 2).concat('\r\n')

/** Closes our side and waits for the client to close its own. */
function refuse(length: number): (socket: Socket) => void {
  const line = lineOf(length)
  return (socket) => {
    socket.on('error', () => undefined)
    socket.end(line, 'latin1')
  }
}

/** Closes the socket as soon as the line is written. A client that has sent something is reset, and may lose the line. */
function drop(length: number): (socket: Socket) => void {
  const line = lineOf(length)
  return (socket) => {
    socket.on('error', () => undefined)
    socket.write(line, 'latin1')
    socket.destroySoon()
  }
}

function pipe(port: number): (socket: Socket) => void {
  return (socket) => {
    const upstream = createConnection({ port, host: '127.0.0.1' })
    socket.on('error', () => upstream.destroy())
    upstream.on('error', () => socket.destroy())
    socket.pipe(upstream).pipe(socket)
  }
}

const serve = { refuse, drop, pipe }[what as 'refuse' | 'drop' | 'pipe'](Number(number))
const server = createServer(serve)
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  process.send?.({ port: (server.address() as { port: number }).port })
})
process.on('disconnect', () => process.exit(0))
