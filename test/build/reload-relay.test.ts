/** A reload that changes how mail servers are reached, how long they may take and how many connections they get. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { afterAll, describe, expect, test } from '@jest/globals'
import { startPostfix } from '../services/postfix.ts'
import { eventually, type TestApp, turn } from '../support/app.ts'
import { makeCertificate } from '../support/certificates.ts'
import type { Client } from '../support/client.ts'
import { reverseName, startDns } from '../support/dns.ts'
import { stoppedAfterEach } from '../support/started.ts'
import { EXTENSIONS } from '../support/upstream.ts'

const folder = mkdtempSync(join(tmpdir(), 'spillway-reload-relay-'))
afterAll(() => rmSync(folder, { recursive: true }))
const CA_FILE = join(folder, 'ca.pem')
const [CA, OTHER_CA] = [makeCertificate({ subject: 'The CA' }), makeCertificate({ subject: 'The other CA' })]
const TLS = makeCertificate({ names: ['IP:127.0.0.1'], issuer: CA })

const { upstream, app, atEnd } = stoppedAfterEach()
interface Told {
  readonly state: string
  readonly connections: number
  readonly error?: string
}
const told = async (node: TestApp): Promise<Told> => {
  const { body } = await node.get('/api/v1/status')
  return (JSON.parse(body) as { upstreams: Told[] }).upstreams[0] as Told
}
const until = (node: TestApp, wanted: string): Promise<Told> =>
  eventually(
    () => told(node),
    ({ state }) => state === wanted,
  )
const greeted = async (node: TestApp, from?: string): Promise<Client> => {
  const client = await node.client(from)
  await client.hello()
  return client
}
const send = (client: Client, text = 'hello\r\n'): Promise<string> =>
  client.send('a@sender.example', 'anna@example.test', `Subject: test\r\n\r\n${text}`)
/** A client whose RCPT was accepted. */
async function begin(node: TestApp): Promise<Client> {
  const client = await greeted(node)
  for (const line of ['MAIL FROM:<a@sender.example>', 'RCPT TO:<anna@example.test>']) {
    expect(await client.command(line)).toMatch(/^250/)
  }
  return client
}
/** Asks for a recipient; its reply is awaited later. */
async function ask(node: TestApp): Promise<Client> {
  const client = await greeted(node)
  await client.command('MAIL FROM:<a@sender.example>')
  client.write('RCPT TO:<anna@example.test>\r\n')
  return client
}

describe('connections to each mail server', () => {
  test('more of them: clients that wait get theirs at once', async () => {
    const server = await upstream()
    // No health check comes to their help.
    const rare = { UPSTREAM_HEALTH_INTERVAL: '1h' }
    const node = await app(server.address, { ...rare, UPSTREAM_MAX_CONNECTIONS: '1' })
    await begin(node)
    const waiting = [await ask(node), await ask(node)]
    await turn(node)
    expect(server.mailed()).toHaveLength(1)
    await node.reload({ ...rare, UPSTREAM_MAX_CONNECTIONS: '3' })
    for (const client of waiting) expect(await client.reply(1000)).toMatch(/^250/)
    expect(await node.metric(`spillway_upstream_connections_limit{upstream="${server.address}"}`)).toBe(3)
  })

  test('fewer of them: nobody is cut off, and nobody gets one until there are so few', async () => {
    // Nobody is asked back while it waits for the reply to its dot, however long that takes.
    const answers: (() => void)[] = []
    const server = await upstream({
      script: async (verb) => {
        if (verb === 'DOT') await new Promise<void>((resolve) => answers.push(resolve))
        return 'default'
      },
    })
    const node = await app(server.address, { UPSTREAM_MAX_CONNECTIONS: '3' })
    const holding = [await begin(node), await begin(node), await begin(node)]
    for (const [i, client] of holding.entries()) {
      expect(await client.command('DATA')).toMatch(/^354/)
      client.write('.\r\n')
      await eventually(
        () => answers.length,
        (count) => count === i + 1,
      )
    }
    await node.reload({ UPSTREAM_MAX_CONNECTIONS: '1' })
    const next = await ask(node)
    await turn(node)
    for (const [i, client] of holding.entries()) {
      expect(server.mailed()).toHaveLength(3)
      expect((await told(node)).connections).toBe(3 - i)
      answers[i]?.()
      expect(await client.reply()).toMatch(/^250/)
      expect(await client.command('QUIT')).toMatch(/^221/)
    }
    expect(await next.reply()).toMatch(/^250/)
    expect((await told(node)).connections).toBe(1)
  })
})

describe('times', () => {
  test('a transaction keeps the one it began with, and the next has the new one', async () => {
    let isSilent = false
    const server = await upstream({ script: (verb) => (isSilent && verb === 'DATA' ? 'silence' : 'default') })
    const node = await app(server.address, { UPSTREAM_REPLY_TIMEOUT: '1h' })
    const before = await begin(node)
    await node.reload({ UPSTREAM_REPLY_TIMEOUT: '300ms' })
    const after = await begin(node)
    isSilent = true
    before.write('DATA\r\n')
    expect(await after.command('DATA')).toMatch(/^451/)
    await turn(node)
    const [kept] = server.mailed()
    expect(kept?.closed).toBe(false)
    kept?.say('451 4.3.0 at last')
    expect(await before.reply()).toMatch(/^451 4\.3\.0 at last/)
  })

  test('health checks come as often as the new interval says, and are late by the new time', async () => {
    const server = await upstream({ greeting: (connection) => void setTimeout(() => connection.say('220 late'), 150) })
    const node = await app(server.address, { UPSTREAM_HEALTH_INTERVAL: '1h' })
    await until(node, 'up')
    const checks = server.connections.length
    await node.reload({ UPSTREAM_HEALTH_INTERVAL: '100ms', UPSTREAM_HEALTH_TIMEOUT: '100ms' })
    await until(node, 'slow')
    await eventually(
      () => server.connections.length,
      (count) => count > checks + 2,
    )
    await node.reload({ UPSTREAM_HEALTH_INTERVAL: '100ms' })
    await until(node, 'up')
  })
})

describe('the way to the mail servers', () => {
  test('TLS: each is checked again before it gets mail, and kept connections without it are not used', async () => {
    const server = await upstream({ tls: TLS })
    const node = await app(server.address, { UPSTREAM_TLS: 'off' })
    const stays = await greeted(node)
    const leaves = await greeted(node)
    expect(await send(stays)).toMatch(/^250/)
    expect(await send(leaves)).toMatch(/^250/)
    expect(await leaves.command('QUIT')).toMatch(/^221/)
    const plain = server.mailed()
    expect(plain).toHaveLength(2)
    await turn(node)
    writeFileSync(CA_FILE, CA.cert)
    await node.reload({ UPSTREAM_TLS: 'required', UPSTREAM_TLS_CA: CA_FILE })
    await eventually(
      () => plain.every(({ closed }) => closed),
      (closed) => closed,
      2000,
    )
    expect(await send(stays)).toMatch(/^250/)
    expect(await send(await greeted(node))).toMatch(/^250/)
    expect(plain.flatMap(({ bodies }) => bodies)).toHaveLength(2)
    const secure = server.mailed().filter((each) => !plain.includes(each))
    expect(secure.map(({ socket }) => socket instanceof TLSSocket)).not.toContain(false)
    expect(secure.flatMap(({ bodies }) => bodies)).toHaveLength(2)
  })

  test('a message that is under way ends on the connection it began on, which serves no other', async () => {
    const server = await upstream({ tls: TLS })
    const node = await app(server.address, { UPSTREAM_TLS: 'off' })
    const client = await begin(node)
    await node.reload({ UPSTREAM_TLS: 'opportunistic' })
    await until(node, 'up')
    expect(await client.command('DATA')).toMatch(/^354/)
    client.write('.\r\n')
    expect(await client.reply()).toMatch(/^250/)
    expect(server.mailed()[0]?.bodies).toHaveLength(1)
    await eventually(
      () => server.mailed()[0]?.closed,
      (closed) => closed === true,
      2000,
    )
    expect(await send(client)).toMatch(/^250/)
    expect(server.mailed()[0]?.bodies).toHaveLength(1)
    expect(server.mailed()[1]?.socket instanceof TLSSocket).toBe(true)
  })

  test('a CA file that changes behind its path is read again; one that is broken changes nothing', async () => {
    writeFileSync(CA_FILE, OTHER_CA.cert)
    const server = await upstream({ tls: TLS })
    const settings = { UPSTREAM_TLS: 'required', UPSTREAM_TLS_CA: CA_FILE }
    const node = await app(server.address, settings)
    expect((await until(node, 'down')).error).toMatch(/not signed by a CA that is trusted/)
    writeFileSync(CA_FILE, CA.cert)
    const { changed, hash } = await node.reload(settings)
    expect(changed).toMatchObject([{ setting: 'SPILLWAY_UPSTREAM_TLS_CA', read: expect.stringContaining('sha256') }])
    await until(node, 'up')
    const client = await greeted(node)
    expect(await send(client)).toMatch(/^250/)
    writeFileSync(CA_FILE, CA.cert.slice(0, 200))
    const broken = await node.reload({ ...settings, OBSERVE: 'all' })
    expect(broken).toMatchObject({ result: 'failed', hash, mistakes: [{ name: 'SPILLWAY_UPSTREAM_TLS_CA' }] })
    expect(broken.mistakes[0]?.expected).toMatch(/one of its certificates is cut off/)
    // As it was: the connection that is parked is good, and so is the server.
    const { length } = server.mailed()
    expect(await send(client)).toMatch(/^250/)
    expect(server.mailed()).toHaveLength(length)
    writeFileSync(CA_FILE, CA.cert)
    expect(await node.reload(settings)).toMatchObject({ result: 'ok', changed: [] })
    expect((await told(node)).state).toBe('up')
  })

  test('how a real Postfix learns of the client: a wrong way stops it before it gets mail', async () => {
    const postfix = await startPostfix({
      recipients: ['anna@example.test'],
      listeners: [{ kind: 'plain' }, { kind: 'xclient' }],
      params: {
        mynetworks: '127.0.0.1/32',
        smtpd_relay_restrictions: 'permit_mynetworks, reject_unauth_destination',
        default_transport: 'smtp:[127.0.0.1]:9',
      },
    })
    atEnd(() => postfix.stop())
    const settings = { RELAY_GUARD: 'on', UPSTREAM_CLIENT_IP: 'xclient' }
    const node = await app(`127.0.0.1:${postfix.port('xclient')}`, settings)
    await until(node, 'up')
    const client = await greeted(node, '127.0.0.7')
    expect(await send(client)).toMatch(/^250 2\.0\.0 Ok: queued/)
    // It trusts our own address, and would relay for everybody.
    await node.reload({ ...settings, UPSTREAM_CLIENT_IP: 'none' })
    expect((await until(node, 'down')).error).toMatch(/takes mail for foreign domains/)
    expect(await send(client)).toMatch(/^451/)
    await node.reload({ ...settings, UPSTREAM_CLIENT_IP: 'none', RELAY_GUARD: 'off' })
    await until(node, 'up')
    await node.reload(settings)
    await until(node, 'up')
    expect(await send(await greeted(node, '127.0.0.7'))).toMatch(/^250 2\.0\.0 Ok: queued/)
    const messages = await postfix.waitForMessages('anna@example.test', 2)
    for (const message of messages)
      expect(String(message)).toMatch(/Received: from client\.example \(.*\[127\.0\.0\.7\]\)/)
  })

  test('the relay guard: switched on, it asks before a server gets more mail', async () => {
    const server = await upstream()
    const node = await app(server.address)
    const client = await greeted(node)
    expect(await send(client)).toMatch(/^250/)
    await node.reload({ RELAY_GUARD: 'on' })
    const sent = send(client)
    await until(node, 'down')
    expect(await sent).toMatch(/^451/)
    expect(server.bodies()).toHaveLength(1)
    await node.reload({})
    await until(node, 'up')
  })
})

describe('what a message is given', () => {
  test('bare newlines and the trace header: from the next transaction on', async () => {
    const server = await upstream()
    const node = await app(server.address)
    const client = await begin(node)
    await node.reload({ BARE_NEWLINE: 'reject', TRACE_HEADER: 'on' })
    expect(await client.command('DATA')).toMatch(/^354/)
    client.write('a bare\nline\r\n.\r\n')
    expect(await client.reply()).toMatch(/^250/)
    expect(server.bodies().at(-1)?.toString()).toBe('a bare\r\nline\r\n')
    expect(await send(client, 'a bare\nline\r\n')).toMatch(/^550 5\.5\.2/)
    expect(await send(client)).toMatch(/^250/)
    expect(server.bodies().at(-1)?.toString()).toMatch(/^Received: from client\.example/)
  })

  test('names of clients are asked of the new DNS servers', async () => {
    const [empty, full] = [
      await startDns({}),
      await startDns({ [`${reverseName('127.0.0.7')} ptr`]: ['named.example'], 'named.example a': ['127.0.0.7'] }),
    ]
    atEnd(
      () => empty.stop(),
      () => full.stop(),
    )
    const server = await upstream({ extensions: [...EXTENSIONS, 'XCLIENT NAME ADDR'] })
    const settings = { UPSTREAM_CLIENT_IP: 'xclient' }
    const node = await app(server.address, { ...settings, DNS_SERVERS: empty.address })
    const heard = async (): Promise<string | undefined> => {
      expect(await send(await greeted(node, '127.0.0.7'))).toMatch(/^250/)
      return server.lastMailed()?.lines.find((line) => line.startsWith('XCLIENT'))
    }
    expect(await heard()).toMatch(/NAME=\[UNAVAILABLE\]/)
    await node.reload({ ...settings, DNS_SERVERS: full.address })
    expect(await heard()).toMatch(/NAME=named\.example/)
  })
})
