/** POST /api/v1/reload: who may, by which method, and what is answered. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { type Request, readRequest } from '../../src/admin/request.ts'
import type { Response } from '../../src/admin/response.ts'
import { createRouter, LOCAL_SOCKET } from '../../src/admin/routes.ts'
import type { ReloadReport } from '../../src/config/reload.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { AS_OPERATOR, startApp, type TestApp, WITH_TOKEN } from '../support/app.ts'
import { NO_BANS, NO_ORDERS_GIVEN } from '../support/bans.ts'
import { ask } from './http-client.ts'

const OK: ReloadReport = { result: 'ok', hash: '0', changed: [], needsRestart: [], mistakes: [] }
const asked: string[] = []
let report = OK
const reload = async (by: string): Promise<ReloadReport> => {
  asked.push(by)
  return report
}
const nothing = (): never => {
  throw new Error('not asked for')
}
let token: string | undefined = 'the-token'
const parts = {
  ...{ metrics: nothing, status: nothing, token: () => token, names: () => [], clock: SYSTEM_CLOCK },
  ...{ upstreams: () => [], reported: nothing, feedback: nothing, bans: NO_BANS, orders: NO_ORDERS_GIVEN },
}
const answer = createRouter({ ...parts, reload })

/** @param local our address on the connection @returns the response, and whether a reload was begun */
async function send(method: string, fields: Record<string, string> = {}, local = '127.0.0.1') {
  const before = asked.length
  const head = Object.entries({ Host: 'localhost', Authorization: 'Bearer the-token', ...fields }).map(
    ([name, value]) => `${name}: ${value}`,
  )
  const request = readRequest([`${method} /api/v1/reload HTTP/1.1`, ...head].join('\r\n'))
  const response: Response = 'code' in request ? request : await answer(request, local)
  return { code: response.code, response, begun: asked.length > before }
}

describe('a reload', () => {
  test('is begun by POST over loopback', async () => {
    expect(await send('POST')).toMatchObject({ code: 200, begun: true })
    expect(asked.at(-1)).toBe('POST /api/v1/reload')
  })

  test.each(['GET', 'HEAD'])('is not begun by %s', async (method) => {
    const { code, begun, response } = await send(method)
    expect({ code, begun, fields: response.fields }).toEqual({ code: 405, begun: false, fields: ['Allow: POST'] })
  })

  test.each(['192.0.2.1', '127.0.0.1'])('needs the token, at %s', async (away) => {
    expect(await send('POST', { Authorization: '' }, away)).toMatchObject({ code: 401, begun: false })
    expect(await send('POST', { Authorization: 'Bearer wrong' }, away)).toMatchObject({ code: 401, begun: false })
    expect(await send('POST', { Authorization: 'Bearer the-token' }, away)).toMatchObject({ code: 200, begun: true })
  })

  test('takes the token in force: the one before is worth nothing any more', async () => {
    const away = '192.0.2.1'
    token = 'the-next-token'
    expect(await send('POST', { Authorization: 'Bearer the-token' }, away)).toMatchObject({ code: 401, begun: false })
    expect(await send('POST', { Authorization: 'Bearer the-next-token' }, away)).toMatchObject({
      code: 200,
      begun: true,
    })
    token = undefined
    expect(await send('POST', { Authorization: 'Bearer undefined' }, away)).toMatchObject({ code: 401, begun: false })
    token = 'the-token'
  })

  test('is not begun where there is no token, over loopback either, and the answer says what to do', async () => {
    token = undefined
    for (const authorization of ['', 'Bearer undefined', 'Bearer '])
      expect(await send('POST', { Authorization: authorization })).toMatchObject({
        ...{ code: 403, begun: false },
        response: { body: expect.stringContaining('set SPILLWAY_ADMIN_TOKEN_FILE and reload (SIGHUP)') },
      })
    // The socket in the file system is the operator's.
    expect(await send('POST', { Authorization: '' }, LOCAL_SOCKET)).toMatchObject({ code: 200, begun: true })
    token = 'the-token'
  })

  test('over loopback, is not begun under a name that is not ours', async () => {
    expect(await send('POST', { Host: 'page.example' })).toMatchObject({ code: 421, begun: false })
  })

  test.each(['https://page.example', 'null'])('is not begun by a page in a browser (Origin: %s)', async (origin) => {
    expect(await send('POST', { Host: '127.0.0.1:9025', Origin: origin })).toMatchObject({ code: 403, begun: false })
  })

  test('that finds mistakes is 422, and one that could not read is 500', async () => {
    report = { ...OK, result: 'failed' }
    expect(await send('POST')).toMatchObject({ code: 422 })
    report = { ...OK, result: 'failed', error: 'out of memory' }
    expect(await send('POST')).toMatchObject({ code: 500 })
    report = OK
  })
})

test('where there is nothing to read again, there is no such path', async () => {
  const request = readRequest('POST /api/v1/reload HTTP/1.1\r\nHost: localhost') as Request
  expect((await createRouter({ ...parts, reload: undefined })(request, '127.0.0.1')).code).toBe(404)
})

describe('over the wire', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp('127.0.0.1:1', WITH_TOKEN)
  })
  afterAll(() => app.stop())

  test('the report is the body of the response, also after a request with a body', async () => {
    const body = '{"ignored": true}'
    const fields = `Host: localhost\r\nAuthorization: ${AS_OPERATOR.Authorization}\r\nContent-Length: ${body.length}`
    const head = `POST /api/v1/reload HTTP/1.1\r\n${fields}\r\n\r\n`
    const reply = await ask(app.adminPort, head + body)
    expect(reply.status).toBe(200)
    expect(JSON.parse(reply.body)).toMatchObject({ result: 'ok', changed: [], needsRestart: [], mistakes: [] })
    expect(await app.metric('spillway_reload_total{result="ok"}')).toBe(1)
  })

  test('other paths take no POST', async () => {
    for (const path of ['/metrics', '/livez', '/readyz', '/api/v1/status']) {
      const reply = await ask(app.adminPort, `POST ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
      expect(reply.status).toBe(405)
      expect(reply.head).toContain('Allow: GET, HEAD')
    }
  })
})
