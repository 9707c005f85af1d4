/** Which hosts a request may name: a page on the web must not read this port through a browser on this machine. */
import { networkInterfaces } from 'node:os'
import { afterEach, describe, expect, test } from '@jest/globals'
import { isOwnHost } from '../../src/admin/hosts.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { ask, open, rest } from './http-client.ts'

describe('own hosts', () => {
  const isOwn = (host: string): boolean => isOwnHost(host, ['MX1.example.net', '192.0.2.25', '2001:db8::25'])
  test.each([
    'localhost',
    'LOCALHOST:9025',
    'localhost.:9025',
    '127.0.0.1',
    '127.0.0.1:9025',
    '127.200.3.4:1',
    '[::1]',
    '[::1]:9025',
    '[0:0:0:0:0:0:0:1]:9025',
    '[::ffff:127.0.0.1]:9025',
    'mx1.example.net',
    'Mx1.Example.Net.:80',
    '192.0.2.25:9025',
    '[2001:DB8::25]:9025',
  ])('%s is one', (host) => expect(isOwn(host)).toBe(true))

  test.each([
    '',
    'evil.example',
    'evil.example:9025',
    'localhost.evil.example',
    'evil.localhost',
    'localhost@evil.example',
    'localhost:9025.evil.example',
    'localhost:9025:9025',
    'localhost, evil.example',
    'localhost/evil',
    '127.0.0.1.evil.example',
    '127.1',
    '2130706433',
    '0.0.0.0',
    '128.0.0.1',
    '::1',
    '[::1',
    '[::2]',
    '[localhost]',
    '192.0.2.26',
    'example.net',
  ])('%j is none', (host) => expect(isOwn(host)).toBe(false))
})

describe('over a socket', () => {
  let app: TestApp | undefined
  afterEach(async () => {
    await app?.stop()
    app = undefined
  })
  const paths = ['/metrics', '/livez', '/readyz', '/api/v1/status', '/nothing']
  const request = (path: string, host: string): string => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`

  test('over loopback another host hears 421 on every path, and why', async () => {
    app = await startApp('127.0.0.1:1')
    for (const path of paths) {
      const { status, body } = await ask(app.adminPort, request(path, 'evil.example:9025'))
      expect({ path, status }).toEqual({ path, status: 421 })
      expect(body).toMatch(/answers only to its own names .*no web page.*SPILLWAY_ADMIN_HOSTS/)
    }
    expect((await ask(app.adminPort, request('/metrics', 'mx.test.example'))).status).toBe(200)
    expect((await ask(app.adminPort, 'GET /livez HTTP/1.0\r\n\r\n')).status).toBe(200)
  })

  test('no other page makes this machine put together what it may not read: a link may lead here', async () => {
    app = await startApp('127.0.0.1:1')
    const { adminPort } = app
    const status = async (path: string, ...fields: string[]): Promise<number> =>
      (
        await ask(
          adminPort,
          `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:9025\r\n${fields.map((each) => `${each}\r\n`).join('')}\r\n`,
        )
      ).status
    const page = 'Sec-Fetch-Site: cross-site'
    for (const path of ['/api/v1/bans?limit=100000', '/api/v1/status']) {
      expect(await status(path, page, 'Sec-Fetch-Dest: empty')).toBe(403)
      expect(await status(path, page, 'Sec-Fetch-Dest: iframe')).toBe(403)
      // A page may lead a window here over and over; whoever follows a link does so once.
      expect(await status(path, page, 'Sec-Fetch-Dest: document')).toBe(403)
      expect(await status(path, page, 'Sec-Fetch-Dest: document', 'Sec-Fetch-User: ?1')).toBe(200)
      expect(await status(path, 'Sec-Fetch-Site: none', 'Sec-Fetch-Dest: document')).toBe(200)
      // A page that has the token is the operator's.
      expect(await status(path, page, 'Authorization: Bearer of-the-operator')).toBe(200)
    }
    expect(await status('/metrics', page, 'Sec-Fetch-Dest: empty')).toBe(200)
  })

  test('the operator may name others', async () => {
    app = await startApp('127.0.0.1:1', { ADMIN_HOSTS: 'status.example.net,10.1.2.3' })
    for (const host of ['status.example.net', 'STATUS.example.net:443', '10.1.2.3:9025']) {
      expect((await ask(app.adminPort, request('/api/v1/status', host))).status).toBe(200)
    }
    expect((await ask(app.adminPort, request('/api/v1/status', 'www.example.net'))).status).toBe(421)
  })

  test('off loopback any host may come, for what tells nothing of anybody; the rest needs the token', async () => {
    const outer = Object.values(networkInterfaces())
      .flat()
      .find((each) => each?.family === 'IPv4' && !each.internal)?.address
    if (outer === undefined) throw new Error('this machine has no address but loopback')
    const token = '0123456789abcdef0123'
    app = await startApp('127.0.0.1:1', { ADMIN_LISTEN: '0.0.0.0:0', ADMIN_TOKEN: token })
    const from = async (bytes: string): Promise<string> => {
      const socket = await open(app?.adminPort as number, outer, outer)
      socket.write(bytes)
      return rest(socket)
    }
    for (const host of ['10.244.1.7:9025', 'spillway.mail.svc.cluster.local:9025', 'evil.example']) {
      for (const path of ['/metrics', '/livez', '/readyz'])
        expect(await from(request(path, host))).toMatch(/^HTTP\/1\.1 200 /)
    }
    const denied = await from(request('/api/v1/status', 'evil.example'))
    expect(denied).toMatch(/^HTTP\/1\.1 401 [\s\S]*\r\nWWW-Authenticate: Bearer\r\n/)
    const allowed = request('/api/v1/status', 'any.example').replace(
      '\r\n\r\n',
      `\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    )
    expect(await from(allowed)).toMatch(/^HTTP\/1\.1 200 /)
  })
})
