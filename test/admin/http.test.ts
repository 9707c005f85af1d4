/** Towards the operator: health, status, and who may read it. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { mayUse } from '../../src/admin/routes.ts'
import { eventually, startApp, type TestApp } from '../support/app.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let app: TestApp
beforeAll(async () => {
  upstream = await startUpstream()
  app = await startApp(upstream.address)
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})

test('/livez and /readyz say yes while it listens; upstreams are told, and asked for only on request', async () => {
  expect(await app.get('/livez')).toEqual({ status: 200, body: 'ok\n' })
  expect(await app.get('/readyz')).toEqual({ status: 200, body: 'ok\n' })
  expect((await app.get('/readyz?verbose')).body).toContain(`upstream ${upstream.address}: up`)
  expect((await app.get('/readyz?upstreams')).status).toBe(200)
})

test('with every upstream away it stays ready: senders shall hear 4xx, not a closed port', async () => {
  const alone = await startApp('127.0.0.1:1')
  try {
    expect((await alone.get('/readyz')).status).toBe(200)
    expect((await alone.get('/livez')).status).toBe(200)
    expect(await alone.get('/readyz?upstreams')).toEqual({ status: 503, body: 'no upstream is up\n' })
  } finally {
    await alone.stop()
  }
})

test('/api/v1/status tells the state of the node', async () => {
  const client = await app.client()
  await client.hello()
  const { status, body } = await app.get('/api/v1/status')
  expect(status).toBe(200)
  expect(JSON.parse(body)).toMatchObject({
    version: '0.0.0-test',
    node: 'mx.test.example',
    ready: true,
    connectionsOpen: 1,
    unknownGuard: false,
    upstreams: [{ upstream: upstream.address, up: true }],
  })
  client.destroy()
  await eventually(
    () => app.running.status().connectionsOpen,
    (open) => open === 0,
  )
})

test('/api/v1/status begins with a verdict, and /api/v1/top tells what comes most often', async () => {
  const client = await app.client('127.0.0.3')
  await client.hello('told.example')
  await client.command('QUIT')
  await client.closed()
  const top = async (by: string): Promise<string> => (await app.get(`/api/v1/top?by=${by}`)).body
  await eventually(
    () => top('helo'),
    (body) => JSON.parse(body).rows.some(({ key }: { key: string }) => key === 'told.example'),
  )
  expect(JSON.parse(await top('network')).rows[0]).toMatchObject({ key: '127.0.0.0/24', turnedAway: 0 })
  expect(JSON.parse(await top('reason'))).toEqual({ by: 'reason', rows: [] })
  expect((await app.get('/api/v1/top')).status).toBe(400)
  const status = JSON.parse((await app.get('/api/v1/status')).body)
  expect(Object.keys(status)[0]).toBe('verdict')
  // Tests have it so; the shipped default is auto.
  expect(status.verdict).toMatchObject({ severity: 'warn', text: expect.stringContaining('Overload is off') })
})

test('other paths are 404 and say what there is; other methods are 405', async () => {
  const { status, body } = await app.get('/nothing')
  expect(status).toBe(404)
  expect(body).toContain('/metrics')
  const response = await fetch(`http://127.0.0.1:${app.adminPort}/metrics`, { method: 'POST' })
  expect(response.status).toBe(405)
})

describe('who may read', () => {
  test.each([
    ['127.0.0.1', undefined, undefined, true],
    ['::1', undefined, 'secret', true],
    ['::ffff:127.0.0.1', undefined, 'secret', true],
    ['192.0.2.1', undefined, undefined, false],
    ['192.0.2.1', 'Bearer anything', undefined, false],
    ['192.0.2.1', undefined, 'secret', false],
    ['192.0.2.1', 'Bearer wrong', 'secret', false],
    ['192.0.2.1', 'Basic secret', 'secret', false],
    ['192.0.2.1', 'Basic bWU6c2VjcmV0', 'secret', false],
    ['192.0.2.1', 'Bearer secret', 'secret', true],
    ['', 'Bearer secret', 'secret', true],
    ['', undefined, 'secret', false],
  ])('connected to %j with %j, token %j: %s', (local, authorization, token, may) => {
    expect(mayUse(local, authorization, token)).toBe(may)
  })

  test.each([
    ['Basic secret', 'secret', false],
    ['Basic bWU6c2VjcmV0', 'secret', true],
    ['Basic bWU6c2VjcmV0eA==', 'secret', false],
    ['Basic OnVuZGVmaW5lZA==', undefined, false],
  ])('where a password will do, with %j, token %j: %s', (authorization, token, may) => {
    expect(mayUse('192.0.2.1', authorization, token, true)).toBe(may)
  })
})
