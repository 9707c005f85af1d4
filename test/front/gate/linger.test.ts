/** Closing after the last reply: nobody loses it, and nobody holds the socket for long. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { Linger } from '../../../src/front/gate/linger.ts'
import { waitUntil } from '../../services/processes.ts'

const REPLY = `421 4.7.0 ${'x'.repeat(200)}\r\n`
const MAX = 8

let linger: Linger
let server: Server
let port: number
let accepted: Socket[]
let clients: Socket[]
beforeEach(async () => {
  linger = new Linger(() => MAX)
  accepted = []
  clients = []
  server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined)
    accepted.push(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as { port: number }).port
})
afterEach(async () => {
  linger.stop()
  for (const socket of [...accepted, ...clients]) socket.destroy()
  server.close()
  await once(server, 'close')
})

/** A client that reads nothing until it is asked to, and its socket on our side. */
async function client(): Promise<{ client: Socket; ours: Socket }> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => undefined)
  socket.pause()
  clients.push(socket)
  await once(socket, 'connect')
  const ours = await waitUntil(
    () => accepted.find(({ remotePort }) => remotePort === socket.localPort),
    1000,
    () => 'not accepted',
  )
  return { client: socket, ours }
}

async function heard(socket: Socket): Promise<string> {
  const parts: string[] = []
  socket.on('data', (chunk) => parts.push(chunk.toString('latin1')))
  socket.resume()
  await once(socket, 'end')
  return parts.join('')
}

test('a client that spoke first, and goes on speaking, reads the whole reply', async () => {
  const { client: early, ours } = await client()
  early.write('EHLO a.example\r\n'.repeat(1500))
  linger.farewell(ours, REPLY)
  const speaking = setInterval(() => early.write('MAIL FROM:<a@b>\r\n'), 5)
  // It reads only once we have begun to discard what it sends.
  await waitUntil(
    () => (ours.bytesRead > 16_000 ? true : undefined),
    1000,
    () => `${ours.bytesRead} octets read`,
  )
  await expect(heard(early)).resolves.toBe(REPLY)
  clearInterval(speaking)
  early.end()
  await waitUntil(
    () => (linger.size === 0 ? true : undefined),
    1000,
    () => 'it is still there',
  )
})

test('clients that close are gone long before the sweep, all of them together', async () => {
  const all = await Promise.all(Array.from({ length: 5 }, client))
  const started = performance.now()
  for (const { ours } of all) linger.farewell(ours, REPLY)
  const replies = Promise.all(all.map(({ client: each }) => heard(each)))
  for (const { client: each } of all) each.end()
  await expect(replies).resolves.toEqual(all.map(() => REPLY))
  await waitUntil(
    () => (linger.size === 0 ? true : undefined),
    1000,
    () => `${linger.size} are still there`,
  )
  expect(performance.now() - started).toBeLessThan(500)
})

test('our side is closed at once, before anything is read', async () => {
  const { client: one, ours } = await client()
  one.write('EHLO a.example\r\n')
  linger.farewell(ours, REPLY)
  expect([ours.writableEnded, ours.bytesRead]).toEqual([true, 0])
  await expect(heard(one)).resolves.toBe(REPLY)
  expect(ours.destroyed).toBe(false)
})

test('one that is refused while the node is being stopped is read as well', async () => {
  const [first, second] = [await client(), await client()]
  linger.farewell(first.ours, REPLY)
  linger.stop()
  linger.farewell(second.ours, REPLY)
  second.client.end('QUIT\r\n')
  await expect(heard(second.client)).resolves.toBe(REPLY)
  await waitUntil(
    () => (second.ours.destroyed ? true : undefined),
    1000,
    () => 'it is still there',
  )
})

test('a client that never closes is cut off within two seconds, and sooner if there are too many', async () => {
  const { ours } = await client()
  linger.farewell(ours, REPLY)
  await once(ours, 'close')
  expect(linger.size).toBe(0)

  const all: Socket[] = []
  for (let i = 0; i < 4 * MAX + 2; i++) all.push((await client()).ours)
  for (const each of all) linger.farewell(each, REPLY)
  expect(linger.size).toBeLessThanOrEqual(2 * MAX)
  // The oldest have gone.
  expect(all.slice(-MAX).filter(({ destroyed }) => destroyed)).toEqual([])
})
