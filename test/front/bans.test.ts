/** Bans on the wire: what leads to one, who is spared, where it is answered, and what the operator does about it. */
import { describe, expect, test } from '@jest/globals'
import { BALANCER, eventually, type TestApp } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { stoppedAfterEach } from '../support/started.ts'

const started = stoppedAfterEach()
const TOKEN = 'the-token-of-the-operator'
const IP = '203.0.113.7'
const begin = async (settings: Record<string, string> = {}): Promise<TestApp> => {
  const upstream = await started.upstream({
    script: (verb, line) => (verb === 'RCPT' && line.includes('<no') ? '550 5.1.1 no such user' : 'default'),
  })
  return started.app(upstream.address, {
    ...{ PROXY_PROTOCOL_FROM: BALANCER, ADMIN_TOKEN: TOKEN, LOG_SAMPLE: '1', BAN_AFTER: '10', TONGUE: 'defer' },
    ...settings,
  })
}
const greeting = async (app: TestApp, ip = IP): Promise<string> => (await app.clientAs(ip)).reply()
const greeted = async (app: TestApp, ip = IP): Promise<Client> => {
  const client = await app.clientAs(ip)
  await client.hello()
  return client
}
/** A session that speaks HTTP: 5 points. */
const foreign = async (app: TestApp, ip = IP): Promise<void> => {
  const client = await app.clientAs(ip)
  if (!(await client.reply()).startsWith('220')) return
  await client.command('GET / HTTP/1.1')
  client.destroy()
}
const prove = async (app: TestApp, ip = IP): Promise<void> => {
  for (let i = 0; i < 2; i++) await foreign(app, ip)
}
type Asked = { readonly status: number; readonly body: string }
const ask = async (app: TestApp, method: string, path = '', body?: object, token = TOKEN): Promise<Asked> => {
  const response = await fetch(`http://127.0.0.1:${app.adminPort}/api/v1/bans${path}`, {
    ...{ method, headers: { Authorization: `Bearer ${token}` } },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: await response.text() }
}
const add = (app: TestApp, network: string, more: object = {}): Promise<Asked> =>
  ask(app, 'POST', '', { network, ...more })
const listed = async (app: TestApp) => JSON.parse((await ask(app, 'GET')).body) as { total: number; bans: object[] }
const BY_ITSELF = `421 4.7.0 mx.test.example [${IP}] Your address or network is banned here for some time (`
const BY_OPERATOR = `554 5.7.1 [${IP}] Your address or network is banned here for some time (`

describe('a client that has proved itself a bot', () => {
  test('is banned, told so at the gate, listed, counted and logged', async () => {
    const app = await begin()
    await foreign(app)
    expect(await greeting(app)).toMatch(/^220/)
    await foreign(app)
    expect(await greeting(app)).toContain(BY_ITSELF)
    expect(await greeting(app, '203.0.113.8')).toMatch(/^220/)
    const { total, bans } = await listed(app)
    expect(total).toBe(1)
    expect(bans).toEqual([
      {
        ...{ network: `${IP}/32`, by: 'automatic', reason: 'tongue', before: 0 },
        ...{ since: expect.stringMatching(/^20.*Z$/), until: expect.stringMatching(/^20.*Z$/) },
      },
    ])
    expect(await app.metric('spillway_bans_active')).toBe(1)
    expect(await app.metric('spillway_bans_total{reason="tongue"}')).toBe(1)
    const refused = 'spillway_refusals_total{stage="connect",reason="banned",action="drop",mode="enforce"}'
    expect(await app.metric(refused)).toBe(1)
    expect(await app.waitForLog(({ msg }) => msg === 'banned')).toMatchObject({
      ...{ network: `${IP}/32`, by: 'automatic', reason: 'tongue', seconds: 600, before: 0 },
    })
    for (const client of app.clients) client.destroy()
    expect(await app.waitForLog(({ reason }) => reason === 'banned')).toMatchObject({
      ...{ ip: IP, standing: 'banned', code: 421, banned: `${IP}/32`, bannedBy: 'automatic', bannedFor: 'tongue' },
    })
  })

  test('by wrong commands and by a harvest; not by RSET, by refusals, or by a list that is half alive', async () => {
    const app = await begin({ LIMIT_IP_UNKNOWN_RECIPIENTS: '5/10m', BAN_AFTER: '5' })
    const until421 = async (ip: string, line: string, count: number): Promise<string> => {
      const client = await greeted(app, ip)
      client.write(`${line}\r\n`.repeat(count))
      return client.closed()
    }
    expect(await until421('203.0.113.1', 'NONSENSE', 30)).toMatch(/421 4\.7\.0/)
    expect(await greeting(app, '203.0.113.1')).toMatch(/^421 4\.7\.0/)
    expect(await until421('203.0.113.2', 'RSET', 110)).toMatch(/421 4\.7\.0/)
    expect(await greeting(app, '203.0.113.2')).toMatch(/^220/)
    // As Postfix does for a message that is too large and has many recipients.
    const rcpts = Array.from({ length: 30 }, (_, i) => `RCPT TO:<u${i}@example.net>`)
    const pipelined = ['MAIL FROM:<a@example.org> SIZE=99999999', ...rcpts].join('\r\n')
    expect(await until421('203.0.113.5', pipelined, 1)).toMatch(/552 5\.3\.4[\s\S]*421 4\.7\.0/)
    expect(await greeting(app, '203.0.113.5')).toMatch(/^220/)
    const names = async (ip: string, to: readonly string[]): Promise<string> => {
      const client = await greeted(app, ip)
      await client.command('MAIL FROM:<a@example.org>')
      let reply = ''
      for (const each of to) reply = await client.command(`RCPT TO:<${each}@example.net>`)
      return reply
    }
    const dead = Array.from({ length: 6 }, (_, i) => `no${i}`)
    const alive = Array.from({ length: 7 }, (_, i) => `yes${i}`)
    expect(await names('203.0.113.3', [...alive, ...dead])).toMatch(/^450 4\.7\.1 .*unknown recipients/)
    expect(await greeting(app, '203.0.113.3')).toMatch(/^220/)
    expect(await names('203.0.113.4', dead)).toMatch(/^450 4\.7\.1 .*unknown recipients/)
    expect(await greeting(app, '203.0.113.4')).toMatch(/^421 4\.7\.0 .*banned/)
  })

  test('not by bounces and verifications, which go to whom others have named', async () => {
    const app = await begin({ LIMIT_IP_UNKNOWN_RECIPIENTS: '5/10m', BAN_AFTER: '5' })
    const names = async (ip: string, from: string): Promise<string> => {
      const client = await greeted(app, ip)
      await client.command(`MAIL FROM:<${from}>`)
      let reply = ''
      for (let i = 0; i < 6; i++) reply = await client.command(`RCPT TO:<no${i}@example.net>`)
      return reply
    }
    expect(await names('203.0.113.6', '')).toMatch(/^450 4\.7\.1 .*unknown recipients/)
    expect(await greeting(app, '203.0.113.6')).toMatch(/^220/)
    // Some servers send them in a name of their own.
    for (const from of ['MAILER-DAEMON@example.org', 'postmaster@example.org'])
      expect(await names('203.0.113.10', from)).toMatch(/^450 4\.7\.1 .*unknown recipients/)
    expect(await greeting(app, '203.0.113.10')).toMatch(/^220/)
    expect(await names('203.0.113.9', 'a@example.org')).toMatch(/^450 4\.7\.1 .*unknown recipients/)
    expect(await greeting(app, '203.0.113.9')).toMatch(/^421/)
    // Nor with the next message of a server that bounces.
    expect(await names('203.0.113.6', 'a@example.org')).toMatch(/^450 4\.7\.1 .*unknown recipients/)
    expect(await greeting(app, '203.0.113.6')).toMatch(/^220/)
  })

  test('as one of a network that guesses, if it has guessed itself', async () => {
    const app = await begin({ LIMIT_NET_UNKNOWN_RECIPIENTS: '20/10m', BAN_AFTER: '3' })
    const names = async (ip: string, to: readonly string[]): Promise<string[]> => {
      const client = await greeted(app, ip)
      await client.command('MAIL FROM:<a@example.org>')
      const codes: string[] = []
      for (const each of to) codes.push((await client.command(`RCPT TO:<${each}@example.net>`)).slice(0, 9))
      return codes
    }
    for (let i = 1; i <= 5; i++) {
      const dead = Array.from({ length: 4 }, (_, k) => `no${i}.${k}`)
      expect(await names(`198.51.100.${i}`, dead)).toEqual(Array(4).fill('550 5.1.1'))
    }
    expect(await names('198.51.100.9', ['someone'])).toEqual(['450 4.7.1'])
    expect(await greeting(app, '198.51.100.9')).toMatch(/^220/)
    expect(await names('198.51.100.1', ['someone'])).toEqual(['450 4.7.1'])
    expect(await greeting(app, '198.51.100.1')).toMatch(/^421 4\.7\.0 .*banned/)
    expect(await names('198.51.101.1', ['someone'])).toEqual(['250 2.1.5'])
  })

  test('hears it in its other sessions too, at the next command', async () => {
    const app = await begin()
    const open = await greeted(app)
    await open.command('MAIL FROM:<a@example.org>')
    await prove(app)
    expect(await open.command('RCPT TO:<b@example.net>')).toContain(BY_ITSELF)
    expect(await open.closed()).toBe('')
  })

  test('once a session, however often it does the same in it', async () => {
    const app = await begin({ BAN_AFTER: '3' })
    const client = await greeted(app)
    for (let i = 0; i < 5; i++) expect(await client.command('x'.repeat(600))).toMatch(/^500 5\.5\.2/)
    expect(await greeting(app)).toMatch(/^220/)
    const again = await greeted(app)
    expect(await again.command('x'.repeat(600))).toMatch(/^500 5\.5\.2/)
    expect(await greeting(app)).toContain(BY_ITSELF)
  })

  test('does not hurt a known client of its network', async () => {
    const app = await begin({ KNOWN_AFTER: '1', KNOWN_DAYS: '1' })
    const sender = await greeted(app)
    expect(await sender.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    await sender.command('QUIT')
    await sender.closed()
    const since = Date.now()
    const ban = { network: '203.0.113.0/24', kind: 'ban', by: 'automatic', reason: 'network', before: 0 } as const
    app.running.bans.take([{ ...ban, since, until: since + 60_000 }])
    expect(await greeting(app)).toMatch(/^220/)
    expect(await greeting(app, '203.0.113.8')).toMatch(/^421 4\.7\.0/)
    // The operator's word holds for a known client too.
    await add(app, IP)
    expect(await greeting(app)).toContain(BY_OPERATOR)
  })

  test('is not banned where it shares its address with senders whose mail is accepted, as behind a balancer that is not listed', async () => {
    const app = await begin()
    const sends = async (name: string): Promise<void> => {
      const sender = await app.clientAs(IP)
      await sender.reply()
      await sender.command(`EHLO ${name}`)
      expect(await sender.send('a@example.org', 'b@example.net')).toMatch(/^250/)
      sender.destroy()
    }
    for (const name of ['mail.a.example', 'mail.b.example', 'mail.c.example']) await sends(name)
    for (let i = 0; i < 3; i++) await prove(app)
    expect(await greeting(app)).toMatch(/^220/)
    const told = ({ msg }: { msg?: unknown }): boolean => /several senders share it/.test(String(msg))
    expect(await app.waitForLog(told)).toMatchObject({ level: 'warn', ip: IP, setting: 'SPILLWAY_PROXY_PROTOCOL_FROM' })
    expect(app.log().filter(told)).toHaveLength(1)
    // Of one sender, however much mail it has brought, it is known or it is not.
    for (let i = 0; i < 3; i++) {
      const sender = await greeted(app, '203.0.113.8')
      expect(await sender.send('a@example.org', 'b@example.net')).toMatch(/^250/)
      sender.destroy()
    }
    await prove(app, '203.0.113.8')
    expect(await greeting(app, '203.0.113.8')).toMatch(/^421/)
  })

  test('is let in again when its time is over', async () => {
    const app = await begin({ BAN_TIME: '1s' })
    await prove(app)
    expect(await greeting(app)).toContain(BY_ITSELF)
    await eventually(
      () => greeting(app),
      (reply) => reply.startsWith('220'),
    )
    expect(await app.metric('spillway_bans_active')).toBe(0)
  })

  test('is only counted where the check observes, and keeps its standing', async () => {
    const app = await begin({ OBSERVE: 'banned' })
    await prove(app)
    expect(await greeting(app)).toMatch(/^220/)
    for (const client of app.clients) client.destroy()
    const line = await app.waitForLog(({ observe }) => observe !== undefined)
    expect(line).toMatchObject({ observe: ['banned'] })
    expect(line.standing).not.toBe('banned')
    const observed = 'spillway_refusals_total{stage="connect",reason="banned",action="drop",mode="observe"}'
    expect(await app.metric(observed)).toBe(1)
  })

  test('is not banned where BAN_AFTER is as it is shipped', async () => {
    const upstream = await started.upstream()
    const app = await started.app(upstream.address, { PROXY_PROTOCOL_FROM: BALANCER, TONGUE: 'defer' })
    for (let i = 0; i < 5; i++) await prove(app)
    expect(await greeting(app)).toMatch(/^220/)
    expect(await app.metric('spillway_bans_active')).toBe(0)
  })

  test.each(['ALLOW', 'RELAYS'])(
    'is not banned where it is on SPILLWAY_%s; nor any longer when it comes onto it',
    async (list) => {
      const app = await begin()
      const open = await greeted(app)
      await prove(app)
      expect(await greeting(app)).toContain(BY_ITSELF)
      const settings = {
        ...{ PROXY_PROTOCOL_FROM: BALANCER, ADMIN_TOKEN: TOKEN, BAN_AFTER: '10', TONGUE: 'defer' },
        [list]: '203.0.113.0/24',
      }
      expect(await app.reload(settings)).toMatchObject({ result: 'ok' })
      expect(await open.command('NOOP')).toMatch(/^250/)
      expect(await greeting(app)).toMatch(/^220/)
      await prove(app, '203.0.113.9')
      expect(await greeting(app, '203.0.113.9')).toMatch(/^220/)
      expect((await listed(app)).total).toBe(1)
    },
  )
})

describe('the operator', () => {
  test('bans a network and lifts the ban: both at once, also in open sessions, and both are logged', async () => {
    const app = await begin()
    const open = await greeted(app)
    const { status, body } = await add(app, '203.0.113.0/24', { time: '2h', reason: 'harvest since noon' })
    expect(status).toBe(200)
    expect(JSON.parse(body)).toMatchObject({ network: '203.0.113.0/24', by: 'operator', reason: 'harvest since noon' })
    expect(await open.command('NOOP')).toContain(BY_OPERATOR)
    expect(await greeting(app)).toContain(BY_OPERATOR)
    expect(await greeting(app, '203.0.114.1')).toMatch(/^220/)
    expect(await app.waitForLog(({ msg }) => msg === 'banned')).toMatchObject({ by: 'operator', seconds: 7200 })
    expect(await app.metric('spillway_bans_total{reason="operator"}')).toBe(1)
    // One address out of it.
    expect((await ask(app, 'DELETE', `/${IP}`)).status).toBe(200)
    expect(await greeting(app)).toMatch(/^220/)
    expect(await greeting(app, '203.0.113.8')).toMatch(/^554/)
    expect((await ask(app, 'DELETE', '/203.0.113.0%2F24')).status).toBe(200)
    expect(await greeting(app, '203.0.113.8')).toMatch(/^220/)
    expect((await listed(app)).total).toBe(0)
    expect(await app.waitForLog(({ msg }) => msg === 'ban lifted')).toMatchObject({
      network: `${IP}/32`,
      by: 'operator',
    })
    expect((await ask(app, 'DELETE', '/203.0.113.0/24')).status).toBe(404)
  })

  test('lifts a ban that came by itself, and it does not come again', async () => {
    const app = await begin()
    await prove(app)
    expect((await ask(app, 'DELETE', `/${IP}`)).status).toBe(200)
    await prove(app)
    expect(await greeting(app)).toMatch(/^220/)
  })

  test('DENY_STAGE=rcpt: a ban and the deny list are answered at each recipient', async () => {
    const app = await begin({ DENY_STAGE: 'rcpt', DENY: '203.0.113.66' })
    await add(app, IP)
    const replies = async (ip: string): Promise<string[]> => {
      const client = await greeted(app, ip)
      await client.command('MAIL FROM:<a@example.org>')
      const said = [await client.command('RCPT TO:<b@example.net>'), await client.command('RCPT TO:<postmaster>')]
      return [...said, await client.command('DATA')]
    }
    expect(await replies(IP)).toEqual([
      expect.stringMatching(/^550 5\.7\.1 \[203\.0\.113\.7\] Your address or network is banned/),
      expect.stringMatching(/^550 5\.7\.1 .*banned/),
      expect.stringMatching(/^554/),
    ])
    expect((await replies('203.0.113.66'))[0]).toMatch(/^550 5\.7\.1 \[203\.0\.113\.66\] Refused by local policy/)
    await prove(app, '203.0.113.9')
    expect(await replies('203.0.113.9')).toEqual([
      expect.stringMatching(/^450 4\.7\.1 mx\.test\.example \[203\.0\.113\.9\] .*banned/),
      expect.stringMatching(/^450 4\.7\.1/),
      expect.stringMatching(/^451/),
    ])
    const open = await greeted(app, '203.0.113.10')
    await open.command('MAIL FROM:<a@example.org>')
    await add(app, '203.0.113.10')
    expect(await open.command('NOOP')).toMatch(/^250/)
    expect(await open.command('RCPT TO:<b@example.net>')).toMatch(/^550 5\.7\.1/)
  })

  test('hears what is wrong with what it asked for, and nothing is banned', async () => {
    const app = await begin({ ALLOW: '198.51.100.7', RELAYS: '2001:db8:9:1::5' })
    const cases: [object, string][] = [
      [{ network: '0.0.0.0/0' }, '0.0.0.0/0 is too wide: an IPv4 network to ban has a prefix length of at least 8'],
      [{ network: '::/0' }, '::/0 is too wide: an IPv6 network to ban has a prefix length of at least 16'],
      [{ network: '127.0.0.0/8' }, '127.0.0.0/8 has a balancer in it (SPILLWAY_PROXY_PROTOCOL_FROM)'],
      [{ network: '198.51.100.0/25' }, '198.51.100.0/25 has addresses that are on SPILLWAY_ALLOW'],
      [{ network: '198.51.0.0/16' }, '198.51.0.0/16 has addresses that are on SPILLWAY_ALLOW'],
      [{ network: '2001:db8:9::/48' }, '2001:db8:9::/48 has addresses that are on SPILLWAY_RELAYS'],
      [{ network: '2001:db8::/80' }, 'narrower than a /64'],
      [{ network: 'mail.example.net' }, 'names are not looked up here'],
      [{ network: '192.0.2.1-9' }, 'is a range'],
      [{ network: 5 }, 'network: an address or a CIDR network'],
      [{}, 'network: an address or a CIDR network'],
      [{ network: '192.0.2.1', time: '5' }, 'a bare 5 has no unit'],
      [{ network: '192.0.2.1', time: '400d' }, 'at most 365d'],
      [{ network: '192.0.2.1', time: 'never' }, 'it cannot be turned off'],
      [{ network: '192.0.2.1', reason: 'x'.repeat(201) }, 'reason: up to 200 characters'],
      [{ network: '192.0.2.1', reason: 'a\u202eb' }, 'reason: up to 200 characters'],
      [{ network: '192.0.2.1', until: 'noon' }, 'the body has network, time and reason'],
    ]
    for (const [body, words] of cases) {
      const { status, body: said } = await ask(app, 'POST', '', body)
      expect(said).toContain(words)
      expect(status).toBe(400)
    }
    expect((await listed(app)).total).toBe(0)
  })

  test('needs the token to change anything, and no page of the web may', async () => {
    const app = await begin()
    expect((await ask(app, 'POST', '', { network: IP }, 'wrong')).status).toBe(401)
    expect((await ask(app, 'DELETE', `/${IP}`, undefined, 'wrong')).status).toBe(401)
    const url = `http://127.0.0.1:${app.adminPort}/api/v1/bans`
    const headers = { Authorization: `Bearer ${TOKEN}`, Origin: 'https://evil.example' }
    const fromPage = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ network: IP }) })
    expect(fromPage.status).toBe(403)
    expect((await ask(app, 'DELETE')).status).toBe(405)
    expect((await ask(app, 'GET', `/${IP}`)).status).toBe(405)
    expect((await ask(app, 'GET', '?limit=0')).status).toBe(400)
    expect((await listed(app)).total).toBe(0)
  })

  test('an IPv6 address stands for its /64, and the list shows as many as it is asked for, the latest first', async () => {
    const app = await begin()
    expect(JSON.parse((await add(app, '2001:db8:1:2::3')).body)).toMatchObject({ network: '2001:db8:1:2::/64' })
    expect(await greeting(app, '2001:db8:1:2::4')).toMatch(/^554/)
    await add(app, '::ffff:192.0.2.1')
    const { body } = await ask(app, 'GET', '?limit=1')
    expect(JSON.parse(body)).toMatchObject({ total: 2, bans: [{ network: '192.0.2.1/32' }] })
  })
})
