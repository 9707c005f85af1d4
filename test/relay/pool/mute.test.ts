/** A mail server that takes connections and says nothing, from the start. */
import { createServer, type Socket } from 'node:net'
import { expect, test } from '@jest/globals'
import type { Status } from '../../../src/admin/status.ts'
import { eventually } from '../../support/app.ts'
import { stoppedAfterEach } from '../../support/started.ts'

const started = stoppedAfterEach()

test('is down after the time of a health check, with the reason, and is used when it speaks after all', async () => {
  const held: Socket[] = []
  let isMute = true
  const good = await started.upstream()
  const mute = createServer((socket) => {
    if (isMute) return void held.push(socket)
    const behind = good.port
    void import('node:net').then(({ connect }) => socket.pipe(connect(behind, '127.0.0.1')).pipe(socket))
  })
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve))
  const { port } = mute.address() as { port: number }
  started.atEnd(() => {
    for (const socket of held) socket.destroy()
    mute.close()
  })
  const app = await started.app(`127.0.0.1:${port}`, { UPSTREAM_HEALTH_TIMEOUT: '300ms' })
  const state = async () => (JSON.parse((await app.get('/api/v1/status')).body) as Status).upstreams[0]
  const down = await eventually(state, (now) => now?.state !== 'unknown')
  expect(down).toMatchObject({ state: 'down', up: false, error: expect.stringContaining('no greeting within 300 ms') })
  isMute = false
  for (const socket of held.splice(0)) socket.destroy()
  await eventually(state, (now) => now?.state === 'up')
})
