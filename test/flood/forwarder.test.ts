/** The way to Redis that can be slow. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { expect, test } from '@jest/globals'
import { startForwarder } from '../../bench/cluster/forwarder.ts'
import { eventually } from '../support/app.ts'

test('what is under way is late, and nothing overtakes it when the way is quick again', async () => {
  const server = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const forwarder = await startForwarder((server.address() as AddressInfo).port)
  const client = connect({ port: forwarder.port, host: '127.0.0.1', noDelay: true })
  try {
    let text = ''
    const heard = (length: number): Promise<void> =>
      new Promise((resolve) => {
        const look = (chunk: Buffer): void => {
          text += chunk.toString()
          if (text.length < length) return
          client.off('data', look)
          resolve()
        }
        client.on('data', look)
      })
    client.write('a')
    await heard(1)
    forwarder.slow(200)
    const began = performance.now()
    client.write('b')
    await heard(2)
    // There and back.
    expect(performance.now() - began).toBeGreaterThan(390)
    client.write('c')
    // It has left the client, and is on its way.
    await eventually(forwarder.waiting, (pieces) => pieces > 0)
    forwarder.slow(0)
    client.write('d')
    await heard(4)
    expect(text).toBe('abcd')
  } finally {
    client.destroy()
    await forwarder.cut()
    server.close()
  }
})
