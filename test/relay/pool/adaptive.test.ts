/** How many connections a server gets with `auto`, through the whole app, on real sockets. */
import { expect, test } from '@jest/globals'
import { eventually, type TestApp } from '../../support/app.ts'
import { stoppedAfterEach } from '../../support/started.ts'
import type { Script, Upstream } from '../../support/upstream.ts'

const { upstream, app: start } = stoppedAfterEach()

const limitOf = async (app: TestApp, { address }: Pick<Upstream, 'address'>): Promise<number> =>
  (await app.metric(`spillway_upstream_connections_limit{upstream="${address}"}`)) ?? Number.NaN

/** One message from each of so many neighbourhoods. @returns what they heard */
const mailFrom = (app: TestApp, sources: number): Promise<string[]> =>
  Promise.all(
    Array.from({ length: sources }, async (_, i) => {
      const client = await app.client(`127.3.${i}.1`)
      await client.hello()
      const heard = await client.send('a@honest.example', 'anna@example.test')
      client.end()
      return heard
    }),
  )

const BUSY: Script = (verb) => (verb === 'DOT' ? '451 4.3.2 too busy' : 'default')

test('a server that puts off mail because it is busy gets fewer connections; with a number it gets as many as before', async () => {
  const [busy, same] = [await upstream({ script: BUSY }), await upstream({ script: BUSY })]
  const [auto, fixed] = [
    await start(busy.address, { UPSTREAM_MAX_CONNECTIONS: 'auto:2-20' }),
    await start(same.address, { UPSTREAM_MAX_CONNECTIONS: '10' }),
  ]
  expect(await limitOf(auto, busy)).toBe(10)
  for (let limit = 10; limit > 5; limit = await limitOf(auto, busy)) {
    for (const heard of await mailFrom(auto, 12)) expect(heard).toMatch(/^451/)
  }
  for (let i = 0; i < 3; i++) await mailFrom(fixed, 12)
  expect(await limitOf(fixed, same)).toBe(10)
})

test('after an outage it begins at a tenth, and is back where it was when the server shows that it can', async () => {
  const before = await upstream()
  const app = await start(before.address, { UPSTREAM_MAX_CONNECTIONS: 'auto:1-40' })
  expect(await limitOf(app, before)).toBe(20)
  await before.stop()
  const up = `spillway_upstream_up{upstream="${before.address}"}`
  await eventually(
    () => app.metric(up),
    (value) => value === 0,
  )
  const after = await upstream({ port: before.port })
  await eventually(
    () => app.metric(up),
    (value) => value === 1,
  )
  const limits = [await limitOf(app, after)]
  while (limits.at(-1) !== 20) {
    for (const heard of await mailFrom(app, 4)) expect(heard).toMatch(/^250/)
    const limit = await limitOf(app, after)
    if (limit !== limits.at(-1)) limits.push(limit)
  }
  expect(limits).toEqual([2, 4, 8, 16, 20])
  const { upstreams } = JSON.parse((await app.get('/api/v1/status')).body)
  expect(upstreams[0]).toMatchObject({ limit: 20 })
})

test('what strangers may hold goes by the messages of trusted and known senders, and by the level', async () => {
  const server = await upstream()
  const of = async (app: TestApp): Promise<number | undefined> =>
    app.metric(`spillway_upstream_strangers_limit{upstream="${server.address}"}`)
  const trusted = { ALLOW: '127.3.0.0/16', UPSTREAM_MAX_CONNECTIONS: '50' }
  const [strangers, calm, pressed] = [
    await start(server.address, { UPSTREAM_MAX_CONNECTIONS: '50', OVERLOAD: '1' }),
    await start(server.address, { ...trusted, OVERLOAD: '0' }),
    await start(server.address, { ...trusted, OVERLOAD: '1' }),
  ]
  for (const app of [strangers, calm]) await mailFrom(app, 12)
  expect([await of(strangers), await of(calm)]).toEqual([50, 35])
  await mailFrom(pressed, 4)
  expect(await of(pressed)).toBe(35)
  // The time that a message usually takes is not known, and is found out.
  await mailFrom(pressed, 5)
  expect(await of(pressed)).toBe(2)
})
