// The least that Node can do, for comparison: a server that writes a line and closes, and a pipe between two sockets.
// bench/processes.ts starts it with `refuse LENGTH` or `pipe PORT`. It sends its port over the IPC channel, and ends
// when the channel closes.

import { createConnection, createServer, type Socket } from 'node:net'

const [what, number] = process.argv.slice(2)

function refuse(length: number): (socket: Socket) => void {
  const line = `554 5.7.1 ${'x'.repeat(length)}`.slice(0, length - 2).concat('\r\n')
  return (socket) => {
    socket.on('error', () => undefined)
    socket.end(line, 'latin1')
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

const server = createServer(what === 'pipe' ? pipe(Number(number)) : refuse(Number(number)))
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  process.send?.({ port: (server.address() as { port: number }).port })
})
process.on('disconnect', () => process.exit(0))
