/** POST /api/v1/pressure: who may, what is taken, and what is answered to a wrong body. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { LONGEST_BODY, type Request, readRequest } from '../../src/admin/request.ts'
import { createRouter } from '../../src/admin/routes.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import type { PressureReport } from '../../src/core/overload.ts'
import { AS_OPERATOR, startApp, type TestApp, WITH_TOKEN } from '../support/app.ts'
import { NO_BANS, NO_ORDERS_GIVEN } from '../support/bans.ts'
import { ask, open, rest } from './http-client.ts'

const nothing = (): never => {
  throw new Error('not asked for')
}
const taken: PressureReport[] = []
const answer = createRouter({
  ...{ metrics: nothing, status: nothing, reload: nothing, token: () => 'the-token', names: () => [] },
  clock: SYSTEM_CLOCK,
  upstreams: () => ['mail1:25', 'mail2:25'],
  reported: (report) => void taken.push(report),
  feedback: nothing,
  bans: NO_BANS,
  orders: NO_ORDERS_GIVEN,
})
beforeEach(() => void taken.splice(0))

const RIGHT = { upstream: 'mail2:25', value: 1.25 }

/** @param local our address on the connection */
async function send(sent: unknown, fields: Record<string, string> = {}, local = '127.0.0.1', method = 'POST') {
  const body = Buffer.from(typeof sent === 'string' ? sent : JSON.stringify(sent))
  const head = Object.entries({
    ...{ Host: 'localhost', Authorization: 'Bearer the-token', 'Content-Length': String(body.length) },
    ...fields,
  })
  const lines = head.map(([name, value]) => `${name}: ${value}`)
  const request = readRequest([`${method} /api/v1/pressure HTTP/1.1`, ...lines].join('\r\n')) as Request
  const response = await answer({ ...request, body }, local)
  return { code: response.code, text: String(response.body) }
}

describe('a report', () => {
  test('is taken over loopback, and its answer says for how long it counts', async () => {
    const { code, text } = await send(RIGHT)
    expect({ code, body: JSON.parse(text) }).toEqual({ code: 200, body: { ...RIGHT, seconds: 60 } })
    expect(taken).toEqual([RIGHT])
  })

  test.each<[string, number, Record<string, string>, string, string]>([
    ['without the token', 401, { Authorization: '' }, '192.0.2.1', 'POST'],
    ['without the token, over loopback', 401, { Authorization: '' }, '127.0.0.1', 'POST'],
    ['with a wrong token', 401, { Authorization: 'Bearer wrong' }, '192.0.2.1', 'POST'],
    ['under a name that is not ours', 421, { Host: 'page.example' }, '127.0.0.1', 'POST'],
    ['by a page in a browser', 403, { Origin: 'https://page.example' }, '127.0.0.1', 'POST'],
    ['by GET', 405, {}, '127.0.0.1', 'GET'],
  ])('is not taken %s', async (_, wanted, fields, local, method) => {
    expect((await send(RIGHT, fields, local, method)).code).toBe(wanted)
    expect(taken).toEqual([])
  })

  test('off loopback is taken with the token', async () => {
    expect((await send(RIGHT, { Authorization: 'Bearer the-token' }, '192.0.2.1')).code).toBe(200)
    expect(taken).toEqual([RIGHT])
  })

  test.each<[unknown, string]>([
    ['', 'the body is a JSON object, such as {"upstream":"mail1:25","value":0.5}'],
    ['upstream=mail1:25', 'the body is a JSON object'],
    ['[]', 'the body is a JSON object'],
    ['null', 'the body is a JSON object'],
    [{ value: 1 }, 'upstream: one of mail1:25, mail2:25'],
    [{ upstream: 'mail1', value: 1 }, 'upstream: one of mail1:25, mail2:25'],
    [{ code: 200, type: 'text/html', body: 'x' }, 'upstream: one of'],
    [{ upstream: ['mail1:25'], value: 1 }, 'upstream: one of'],
    [{ upstream: 'mail1:25' }, 'value: a number from 0 to 1000000; 1 is at its target'],
    [{ upstream: 'mail1:25', value: '1' }, 'value: a number'],
    [{ upstream: 'mail1:25', value: -0.1 }, 'value: a number'],
    ['{"upstream": "mail1:25", "value": 1e999}', 'value: a number'],
    [{ upstream: 'mail1:25', value: 1_000_001 }, 'value: a number'],
    [{ upstream: 'mail1:25', value: null }, 'value: a number'],
  ])('%j is 400, with words that help', async (body, words) => {
    const { code, text } = await send(body)
    expect(code).toBe(400)
    expect(text).toContain(words)
    expect(taken).toEqual([])
  })

  test('0 and the highest value are taken', async () => {
    for (const value of [0, 1_000_000]) expect((await send({ ...RIGHT, value })).code).toBe(200)
  })
})

describe('over the wire', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp('127.0.0.1:1', WITH_TOKEN)
  })
  afterAll(() => app.stop())
  const BODY = '{"upstream": "127.0.0.1:1", "value": 0.5}'
  const head = (...fields: string[]) =>
    [
      'POST /api/v1/pressure HTTP/1.1',
      'Host: localhost',
      `Authorization: ${AS_OPERATOR.Authorization}`,
      ...fields,
      '',
      '',
    ].join('\r\n')

  test('the body may come with the head, or octet by octet; what follows it is ignored', async () => {
    const request = head(`Content-Length: ${BODY.length}`) + BODY
    expect((await ask(app.adminPort, `${request}GET / HTTP/1.1\r\n\r\n`)).status).toBe(200)
    const socket = await open(app.adminPort)
    for (const octet of request) await new Promise<void>((resolve) => socket.write(octet, () => resolve()))
    expect(await rest(socket)).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  })

  test.each([
    ['of unknown length', head('Transfer-Encoding: chunked'), 411],
    ['that is too long', head(`Content-Length: ${LONGEST_BODY + 1}`), 413],
    ['without a right length', head('Content-Length: -1'), 400],
    ['with two lengths', head('Content-Length: 1', 'Content-Length: 2'), 400],
    ['that is not there', head(), 400],
  ])('a body %s is refused at once', async (_, bytes, code) => {
    expect((await ask(app.adminPort, bytes)).status).toBe(code)
  })

  test('one that never comes is not waited for longer than the head of a request', async () => {
    const socket = await open(app.adminPort)
    const begun = performance.now()
    socket.write(head('Content-Length: 40'))
    expect(await rest(socket)).toBe('')
    expect(performance.now() - begun).toBeGreaterThan(4000)
  }, 15_000)
})
