/**
 * SPILLWAY_UPSTREAM_TLS through the whole program: what the operator is told of a mail server whose certificate does not do, that
 * no client bounces for it, and that a real Postfix takes mail over verified TLS in every way of hearing who the client is.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { afterAll, describe, expect, test } from '@jest/globals'
import { type Postfix, startPostfix } from '../../services/postfix.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import { type Certificate, DAY_MS, makeCertificate } from '../../support/certificates.ts'
import { stoppedAfterEach } from '../../support/started.ts'

const CA = makeCertificate({ subject: 'The CA' })
const signed = (...names: string[]): Certificate => makeCertificate({ names, issuer: CA })
const GOOD = signed('DNS:localhost')
const OTHER = signed('DNS:a.example', 'DNS:b.example')

const folder = mkdtempSync(join(tmpdir(), 'spillway-upstream-tls-'))
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const REQUIRED = { UPSTREAM_TLS: 'required', UPSTREAM_TLS_CA: file('ca.pem', CA.cert) }
afterAll(() => rmSync(folder, { recursive: true }))

const started = stoppedAfterEach()
const { upstream, atEnd } = started
const app = (upstreams: string, settings: Record<string, string> = REQUIRED): Promise<TestApp> =>
  started.app(upstreams, settings)
interface Told {
  readonly state: string
  readonly error?: string
}
const toldOf = async (node: TestApp): Promise<Told> => {
  const { body } = await node.get('/api/v1/status')
  return (JSON.parse(body) as { upstreams: Told[] }).upstreams[0] as Told
}
const until = (node: TestApp, wanted: string): Promise<Told> =>
  eventually(
    () => toldOf(node),
    ({ state }) => state === wanted,
  )
const send = async (node: TestApp, from?: string): Promise<string> => {
  const client = await node.client(from)
  await client.hello()
  return client.send('a@sender.example', 'anna@example.test')
}

describe('a mail server that is not used', () => {
  const cases: [what: string, tls: Certificate | undefined, error: string][] = [
    ['is for other names', OTHER, 'TLS: its certificate is for other names (a.example, b.example), not for localhost'],
    [
      'is signed by itself',
      makeCertificate({ names: ['DNS:localhost'] }),
      'TLS: its certificate is not signed by a CA that is trusted here (self-signed certificate). SPILLWAY_UPSTREAM_TLS_CA names whom to trust',
    ],
    [
      'has expired',
      makeCertificate({ names: ['DNS:localhost'], issuer: CA, from: 0, until: DAY_MS }),
      'TLS: its certificate has expired (1970-01-02T00:00:00Z)',
    ],
    ['is not there', undefined, 'TLS: STARTTLS is not offered, and SPILLWAY_UPSTREAM_TLS=required'],
  ]
  test.each(cases)('because its certificate %s: the operator is told, clients hear 451', async (_, tls, error) => {
    const server = await upstream(tls ? { tls } : {})
    const node = await app(`localhost:${server.port}`)
    expect(await until(node, 'down')).toMatchObject({ error })
    const { body } = await node.get('/readyz?verbose')
    expect(body).toContain(`upstream localhost:${server.port} (127.0.0.1:${server.port}): down since `)
    expect(body).toContain(`: ${error}`)
    const line = await node.waitForLog(({ msg }) => String(msg).startsWith('upstream is down'))
    expect(line).toMatchObject({ msg: `upstream is down: ${error}`, upstream: `localhost:${server.port}` })
    expect(await send(node)).toMatch(/^451 4\./)
    expect(server.mailed()).toEqual([])
  })

  test.each(cases)('%s: opportunistic takes it all the same', async (_, tls) => {
    const server = await upstream(tls ? { tls } : {})
    const node = await app(`localhost:${server.port}`, {})
    expect(await send(node)).toMatch(/^250 /)
    expect(server.lastMailed()?.socket instanceof TLSSocket).toBe(tls !== undefined)
  })
})

/** A server whose certificate can be exchanged; connections from then on are shown the other. */
const changing = (first: Certificate): { tls: Certificate; shown: { now: Certificate } } => {
  const shown = { now: first }
  const tls = {
    get cert() {
      return shown.now.cert
    },
    get key() {
      return shown.now.key
    },
  }
  return { tls, shown }
}

describe('R47 a certificate that goes bad between two health checks is no verdict on a client', () => {
  test('it hears 451, the server is left, and is used again once its certificate is right', async () => {
    const { tls, shown } = changing(GOOD)
    const server = await upstream({ tls })
    const node = await app(`localhost:${server.port}`, { ...REQUIRED, UPSTREAM_HEALTH_INTERVAL: '1s' })
    await until(node, 'up')
    shown.now = OTHER
    expect(await send(node)).toMatch(/^451 4\./)
    expect(server.mailed()).toEqual([])
    expect((await until(node, 'down')).error).toMatch(/^TLS: its certificate is for other names/)
    shown.now = GOOD
    await until(node, 'up')
    expect(await send(node)).toMatch(/^250 /)
  })

  test('it goes to another server', async () => {
    const { tls, shown } = changing(GOOD)
    const [bad, good] = [await upstream({ tls }), await upstream({ tls: GOOD })]
    const node = await app(`localhost:${bad.port},localhost:${good.port}`, {
      ...REQUIRED,
      UPSTREAM_HEALTH_INTERVAL: '1h',
    })
    await eventually(
      async () => (await node.get('/readyz?verbose')).body,
      (body) => body.match(/: up/g)?.length === 2,
    )
    shown.now = OTHER
    for (let i = 0; i < 4; i++) expect(await send(node)).toMatch(/^250 /)
    expect(bad.mailed()).toEqual([])
    expect(bad.connections.length).toBeGreaterThan(1)
  })
})

describe('a real Postfix that takes mail by TLS only', () => {
  async function postfix(tls: Certificate): Promise<Postfix> {
    const started = await startPostfix({
      recipients: ['anna@example.test'],
      listeners: [{ kind: 'plain' }, { kind: 'xclient' }, { kind: 'haproxy' }],
      tls: { cert: file('cert.pem', tls.cert), key: file('key.pem', tls.key) },
      params: { smtpd_tls_security_level: 'encrypt', smtpd_tls_received_header: 'yes', mynetworks: '192.0.2.1/32' },
    })
    atEnd(() => started.stop())
    return started
  }

  // Postfix offers XCLIENT in the clear and again behind STARTTLS; it is sent inside TLS only. TLS goes on behind XCLIENT.
  // A PROXY header comes before the greeting, and so before TLS, in the clear.
  test.each([
    ['none', 'plain', '127.0.0.1'],
    ['xclient', 'xclient', '127.0.0.7'],
    ['proxy-v1', 'haproxy', '127.0.0.7'],
    ['proxy-v2', 'haproxy', '127.0.0.7'],
  ])('%s: the certificate is verified, and the client known', async (clientIp, listener, seen) => {
    const server = await postfix(GOOD)
    const settings = { ...REQUIRED, UPSTREAM_CLIENT_IP: clientIp, RELAY_GUARD: 'on' }
    const node = await app(`localhost:${server.port(listener)}`, settings)
    await until(node, 'up')
    expect(await send(node, '127.0.0.7')).toMatch(/^250 2\.0\.0 Ok: queued/)
    const [message] = await server.waitForMessages('anna@example.test', 1)
    expect(String(message)).toMatch(
      new RegExp(`Received: from client\\.example \\(\\S* ?\\[${seen.replaceAll('.', '\\.')}\\]\\)`),
    )
    expect(String(message)).toMatch(/\(using TLSv1\.3 with cipher/)
  })

  test('by its address, which must be in the certificate', async () => {
    const server = await postfix(signed('IP:127.0.0.1'))
    const node = await app(`127.0.0.1:${server.port('plain')}`)
    await until(node, 'up')
    expect(await send(node)).toMatch(/^250 /)
    expect(await until(await app(`localhost:${server.port('plain')}`), 'down')).toMatchObject({
      error: 'TLS: its certificate is for other names (127.0.0.1), not for localhost',
    })
  })
})

test('a CA that can no longer be read when the program starts is said by the name of its setting', async () => {
  const path = file('gone.pem', CA.cert)
  const starting = startApp('localhost:25', { ...REQUIRED, UPSTREAM_TLS_CA: path }, (settings) => {
    rmSync(path)
    return settings
  })
  await expect(starting).rejects.toThrow(/^SPILLWAY_UPSTREAM_TLS_CA: .*gone\.pem: there is no such file/)
})
