/** What is a request and what is none, as text and over a real socket. */
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { hopeless, LONGEST_HEAD, readRequest } from '../../src/admin/request.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { ask } from './http-client.ts'

describe('readRequest', () => {
  test('a request as clients send it', () => {
    const head =
      'GET /readyz?verbose&x=a?b HTTP/1.1\r\nHost: localhost:9025\r\nauthorization:\tBearer secret \r\nX: \xe9'
    const request = readRequest(head)
    expect(request).toMatchObject({
      method: 'GET',
      path: '/readyz',
      host: 'localhost:9025',
      authorization: 'Bearer secret',
    })
    expect('query' in request && [...request.query]).toEqual([
      ['verbose', ''],
      ['x', 'a?b'],
    ])
  })

  test.each(['GET / HTTP/1.0', 'HEAD / HTTP/1.1\nHost: a', 'GET /%ff%00%zz?%zz HTTP/1.1\r\nHost:'])(
    '%j is one',
    (head) => {
      expect(readRequest(head)).toHaveProperty('method')
    },
  )

  test.each([
    ['GET / HTTP/1.1', 400],
    ['GET / HTTP/1.1\r\nHost: a\r\nHost: a', 400],
    ['GET / HTTP/1.1\r\nHost : a', 400],
    ['GET / HTTP/1.1\r\nHost: a\r\n folded', 400],
    ['GET / HTTP/1.1\r\nHost: a\0b', 400],
    ['GET / HTTP/1.1\r\nHost: a\rX: b', 400],
    ['GET /', 400],
    ['GET  / HTTP/1.1\r\nHost: a', 400],
    ['GET /a b HTTP/1.1\r\nHost: a', 400],
    ['GET /\0 HTTP/1.1\r\nHost: a', 400],
    ['GET /\xff HTTP/1.1\r\nHost: a', 400],
    ['GET * HTTP/1.1\r\nHost: a', 400],
    ['GET metrics HTTP/1.1\r\nHost: a', 400],
    ['GET http://localhost/metrics HTTP/1.1\r\nHost: localhost', 400],
    ['EHLO client.example', 400],
    ['PRI * HTTP/2.0', 505],
    ['GET / HTTP/3.0\r\nHost: a', 505],
    ['PUT /metrics HTTP/1.1\r\nHost: a', 405],
    ['CONNECT a:25 HTTP/1.1\r\nHost: a', 405],
    ['OPTIONS * HTTP/1.1\r\nHost: a', 405],
    ['get / HTTP/1.1\r\nHost: a', 405],
  ])('%j is answered %d', (head, code) => {
    expect(readRequest(head)).toMatchObject({ code })
  })

  test.each([
    ['', undefined],
    ['GET / HT', undefined],
    [`GET /${'a'.repeat(LONGEST_HEAD)}`, 431],
    ['\x16\x03\x01', 400],
    ['\0', 400],
    [' GET / HTTP/1.1', 400],
  ])('of what begins %j is said: %s', (begun, code) => {
    expect(hopeless(begun)?.code).toBe(code)
  })
})

describe('over a socket', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp('127.0.0.1:1')
  })
  afterAll(() => app.stop())

  const host = 'Host: localhost\r\n'
  test.each(
    [
      [`GET // HTTP/1.1\r\n${host}\r\n`, 404],
      [`GET //evil.example/metrics HTTP/1.1\r\n${host}\r\n`, 404],
      [`GET /% HTTP/1.1\r\n${host}\r\n`, 404],
      [`GET /%00 HTTP/1.1\r\n${host}\r\n`, 404],
      [`GET /../metrics HTTP/1.1\r\n${host}\r\n`, 404],
      [`GET /metrics/ HTTP/1.1\r\n${host}\r\n`, 404],
      [`GET * HTTP/1.1\r\n${host}\r\n`, 400],
      [`GET http://localhost/metrics HTTP/1.1\r\n${host}\r\n`, 400],
      [`GET /\0 HTTP/1.1\r\n${host}\r\n`, 400],
      [`GET /${'a'.repeat(20_000)} HTTP/1.1\r\n${host}\r\n`, 431],
      [`GET /livez HTTP/1.1\r\n${`X: ${'a'.repeat(100)}\r\n`.repeat(100)}\r\n`, 431],
      ['GET /livez HTTP/1.1\r\n\r\n', 400],
      [`CONNECT localhost:25 HTTP/1.1\r\n${host}\r\n`, 405],
      [`OPTIONS * HTTP/1.1\r\n${host}\r\n`, 405],
      ['\x16\x03\x01\x02\x00', 400],
      ['EHLO me\r\n\r\n', 400],
      [`\r\n\r\nGET /livez HTTP/1.1\r\n${host}\r\n`, 200],
      ['GET /livez HTTP/1.0\n\n', 200],
      [`GET /livez HTTP/1.1\r\n${host}Upgrade: h2c\r\nConnection: upgrade\r\n\r\n`, 200],
      [`GET /livez HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nhello`, 200],
      [`POST /metrics HTTP/1.1\r\n${host}Content-Length: 30000\r\n\r\n${'x'.repeat(30_000)}`, 405],
    ].map(([bytes, code]) => [String(bytes).slice(0, 60), code, bytes] as [string, number, string]),
  )('%j … is answered %d, with a reason, and the connection is closed', async (_, code, bytes) => {
    const { status, body, head } = await ask(app.adminPort, bytes)
    expect(status).toBe(code)
    expect(body.trim()).not.toBe('')
    expect(head).toMatch(/\r\nConnection: close(\r\n|$)/)
    expect(Number(/^Content-Length: (\d+)$/m.exec(head)?.[1])).toBe(Buffer.byteLength(body))
    expect(app.log().filter(({ level }) => level === 'error')).toEqual([])
  })

  test('byte by byte, it is the same request', async () => {
    const socket = connect(app.adminPort, '127.0.0.1')
    socket.setNoDelay(true)
    let got = ''
    socket.on('data', (chunk: Buffer) => {
      got += chunk.toString()
    })
    for (const byte of `GET /livez HTTP/1.1\r\n${host}\r\n`) {
      await new Promise<void>((resolve) => socket.write(byte, () => resolve()))
    }
    await new Promise((resolve) => socket.once('end', resolve))
    expect(got).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nok\n$/)
    socket.destroy()
  })

  test('HEAD has the header of GET and no body', async () => {
    const { status, head, body } = await ask(app.adminPort, `HEAD /metrics HTTP/1.1\r\n${host}\r\n`)
    expect(status).toBe(200)
    expect(Number(/^Content-Length: (\d+)$/m.exec(head)?.[1])).toBeGreaterThan(10_000)
    expect(body).toBe('')
  })

  test('405 names what may be used', async () => {
    expect((await ask(app.adminPort, `PUT / HTTP/1.1\r\n${host}\r\n`)).head).toMatch(
      /\r\nAllow: GET, HEAD, POST, DELETE(\r\n|$)/,
    )
  })
})
