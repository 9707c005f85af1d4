/** Going on too soon, and names that no mail server has: on the wire, and what of it is never held against anybody. */
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { heloSignOf } from '../../../src/checks/helo.ts'
import type { Client } from '../../../src/core/client.ts'
import { netOf } from '../../../src/core/ip.ts'
import { MutableSigns } from '../../../src/front/session/signs.ts'
import { HeloCrowds } from '../../../src/state/helo-crowds.ts'
import { BALANCER, startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let app: TestApp
const ends: (() => Promise<unknown>)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  app = await node({ PIPELINING: 'reject', HELO: 'reject' })
  ends.length = 0
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})
afterEach(async () => {
  jest.restoreAllMocks()
  for (const end of ends.splice(0).reverse()) await end()
})

async function node(settings: Record<string, string>): Promise<TestApp> {
  const made = await startApp(upstream.address, { LOG_SAMPLE: '1', PROXY_PROTOCOL_FROM: BALANCER, ...settings })
  ends.push(() => made.stop())
  return made
}
const count = (of: TestApp, reason: string, stage: string, action: string, mode: string) =>
  of.metric(`spillway_refusals_total{stage="${stage}",reason="${reason}",action="${action}",mode="${mode}"}`)

describe('going on too soon', () => {
  test.each([
    ['EHLO', 'EHLO bot.example\r\nMAIL FROM:<a@example.org>\r\n', '503'],
    ['EHLO, with half a line', 'EHLO bot.example\r\nMA', undefined],
    ['HELO', 'HELO bot.example\r\nNOOP\r\n', '250'],
  ])('R14 behind %s is 554', async (_, said, next) => {
    const client = await app.client()
    await client.reply()
    client.write(said)
    expect(await client.reply()).toMatch(/^554 5\.5\.0 \[127\.0\.0\.1\] Your client went on before it was answered \(/)
    if (next !== undefined) expect((await client.reply()).slice(0, 3)).toBe(next)
  })

  test('R14 behind MAIL is 554 after HELO, and what was agreed on after EHLO', async () => {
    const [old, modern] = [await app.client(), await app.client()]
    for (const client of [old, modern]) await client.reply()
    const group = 'MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n'
    await old.command('HELO old.example')
    old.write(group)
    expect(await old.reply()).toMatch(/^554 5\.5\.0 /)
    expect(await old.reply()).toMatch(/^503/)
    expect(await count(app, 'pipelining', 'mail', 'reject', 'enforce')).toBe(1)
    await modern.command('EHLO modern.example')
    modern.write(`RSET\r\n${group}DATA\r\n`)
    for (const code of ['250', '250', '250', '354']) expect((await modern.reply()).slice(0, 3)).toBe(code)
    // As Exim does it.
    modern.write('Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n')
    for (const code of ['250', '221']) expect((await modern.reply()).slice(0, 3)).toBe(code)
  })

  test('as shipped it is counted once a session, and named in the log', async () => {
    const shipped = await node({})
    const client = await shipped.client()
    await client.reply()
    client.write('HELO bot\r\nMAIL FROM:<a@example.org>\r\nRSET\r\nMAIL FROM:<a@example.org>\r\nAUTH LOGIN\r\nQUIT\r\n')
    for (const code of ['250', '250', '250', '250', '502', '221']) expect((await client.reply()).slice(0, 3)).toBe(code)
    const line = await shipped.waitForLog(({ helo }) => helo === 'bot')
    expect(line).toMatchObject({ observe: ['pipelining', 'helo'] })
    expect(await count(shipped, 'pipelining', 'helo', 'reject', 'observe')).toBe(1)
    expect(await count(shipped, 'pipelining', 'mail', 'reject', 'observe')).toBe(0)
    expect(await count(shipped, 'helo', 'helo', 'reject', 'observe')).toBe(1)
  })
})

describe('a command that does not end in CRLF', () => {
  const refused = (code: string) => new RegExp(`^${code} .*A command of your client did not end in CRLF \\(`)

  test.each([
    ['ends in a bare LF', 'EHLO bot.example\n'],
    ['has a bare CR in it', 'NOOP x\ry\r\nEHLO bot.example\r\n'],
    ['is empty', '\nEHLO bot.example\r\n'],
  ])('%s: 554 at EHLO, or 450 with defer', async (_, said) => {
    for (const [mode, code] of Object.entries({ reject: '554 5\\.5\\.2', defer: '450 4\\.5\\.2' })) {
      const made = await node({ COMMAND_NEWLINE: mode, ALLOW: '198.51.100.9' })
      const [client, trusted] = [await made.client(), await made.clientAs('198.51.100.9')]
      for (const each of [client, trusted]) {
        await each.reply()
        each.write(said)
        if (!said.startsWith('EHLO')) await each.reply()
      }
      expect(await client.reply()).toMatch(refused(code))
      expect(await trusted.reply()).toMatch(/^250/)
    }
  })

  test('is 554 at the next MAIL where EHLO was well; whole lines in pieces are nothing', async () => {
    const of = await node({ COMMAND_NEWLINE: 'reject' })
    const client = await of.client()
    await client.hello()
    for (const piece of ['NOO', 'P\r', '\nNOOP', '\r\n']) {
      client.write(piece)
      await new Promise((resolve) => setImmediate(resolve))
    }
    for (let i = 0; i < 2; i++) expect(await client.reply()).toMatch(/^250/)
    expect(await client.send('a@example.org', 'b@example.net', 'bare\nin a message\r\n')).toMatch(/^250/)
    client.write('RSET\n')
    expect(await client.reply()).toMatch(/^250/)
    expect(await client.command('MAIL FROM:<a@example.org>')).toMatch(refused('554 5\\.5\\.2'))
    expect(await count(of, 'command_newline', 'mail', 'reject', 'enforce')).toBe(1)
  })

  test('is obeyed as shipped, counted once a session, and named in the log', async () => {
    const shipped = await node({})
    const client = await shipped.client()
    await client.reply()
    client.write('EHLO device.example\nMAIL FROM:<a@example.org>\nRCPT TO:<b@example.net>\nDATA\n')
    for (const code of ['250', '250', '250', '354']) expect((await client.reply()).slice(0, 3)).toBe(code)
    client.write('Subject: x\r\n\r\nx\r\n.\r\nQUIT\n')
    for (const code of ['250', '221']) expect((await client.reply()).slice(0, 3)).toBe(code)
    expect(await shipped.waitForLog(({ helo }) => helo === 'device.example')).toMatchObject({
      ...{ outcome: 'relayed', observe: expect.arrayContaining(['command-newline']) },
    })
    expect(await count(shipped, 'command_newline', 'helo', 'reject', 'observe')).toBe(1)
    expect(await count(shipped, 'command_newline', 'mail', 'reject', 'observe')).toBe(0)
  })
})

describe('a name', () => {
  const CLIENT = { ip: '198.51.100.7', local: { ip: '192.0.2.25', port: 25 } }
  test.each([
    ['MX.test.example', 'ours'],
    ['mx.test.example.', 'ours'],
    ['[192.0.2.25]', 'ours'],
    ['192.0.2.25', 'ours'],
    ['203.0.113.9', 'address'],
    ['2001:db8::1', 'address'],
    ['localhost', 'unqualified'],
    ['FRIEND-PC', 'unqualified'],
    ['two words.example', 'syntax'],
    ['a..example', 'syntax'],
    ['<x.example>', 'syntax'],
    [`${'a'.repeat(64)}.example`, 'syntax'],
    ['mail.example', undefined],
    ['mail.example.', undefined],
    ['my_server.example', undefined],
    ['m\xc3\xbcller.example', undefined],
    ['[198.51.100.7]', undefined],
    ['[10.0.0.5]', undefined],
    ['[IPv6:2001:db8::1]', undefined],
    ['[::1', undefined],
    ['3com.example', undefined],
  ])('%s: %s', (name, sign) => {
    expect(heloSignOf(name, CLIENT, 'mx.test.example')).toBe(sign)
  })

  test('that is ours is nothing where the client is this machine', () => {
    expect(heloSignOf('mx.test.example', { ip: '192.0.2.25', local: CLIENT.local }, 'mx.test.example')).toBeUndefined()
  })

  test('that is a private address of ours is nothing: behind another NAT a mail server has the same', () => {
    const ours = { ip: '198.51.100.7', local: { ip: '172.17.0.2', port: 25 } }
    expect(heloSignOf('[172.17.0.2]', ours, 'mx.test.example')).toBeUndefined()
    expect(heloSignOf('172.17.0.2', ours, 'mx.test.example')).toBe('address')
  })

  test('that is no address needs none of ours: the system is not asked', () => {
    const unasked = {
      ip: '198.51.100.7',
      get local(): never {
        throw new Error('asked')
      },
    }
    expect(heloSignOf('mail.example', unasked, 'mx.test.example')).toBeUndefined()
    expect(heloSignOf('localhost', unasked, 'mx.test.example')).toBe('unqualified')
    expect(() => heloSignOf('203.0.113.9', unasked, 'mx.test.example')).toThrow('asked')
  })

  test('that is wrong is 550, and 450 with defer; the next one is heard', async () => {
    const client = await app.client('127.0.0.5')
    await client.reply()
    expect(await client.command('EHLO localhost')).toMatch(/^550 5\.7\.1 \[127\.0\.0\.5\] The name in your HELO /)
    expect(await client.command('HELO localhost')).toMatch(/^550 5\.7\.1 /)
    expect(await client.command('EHLO mail.example')).toMatch(/^250/)
    client.destroy()
    expect(await app.waitForLog(({ reason }) => reason === 'helo')).toMatchObject({ why: 'unqualified', code: 550 })
    const mild = await node({ HELO: 'defer' })
    const other = await mild.client()
    await other.reply()
    expect(await other.command('EHLO localhost')).toMatch(/^450 4\.7\.1 mx\.test\.example \[127\.0\.0\.1\] The name /)
  })

  test('that changes is 550; in other letters, or with HELO for EHLO, it is the same', async () => {
    const client = await app.client()
    await client.reply()
    for (const line of ['EHLO mail.example', 'HELO Mail.Example']) expect(await client.command(line)).toMatch(/^250/)
    expect(await client.command('EHLO other.example')).toMatch(/^550 5\.7\.1 /)
  })

  test('that hundreds of networks have is 450 even with reject, for a minute or two; a provider is never a crowd', async () => {
    let now = 30_000_000 * 60_000
    jest.spyOn(Date, 'now').mockImplementation(() => now)
    const flooded = await node({ HELO: 'reject' })
    const hello = async (ip: string, name: string): Promise<string> => {
      const client = await flooded.clientAs(ip)
      await client.reply()
      const reply = await client.command(`EHLO ${name}`)
      client.destroy()
      return reply.slice(0, 9)
    }
    const heard: string[] = []
    for (let i = 0; i < 260; i++) heard.push(await hello(`100.64.${i % 256}.${i >> 8}`, 'bot.example'))
    const first = heard.findIndex((reply) => reply !== '250-mx.te')
    expect(heard[first]).toBe('450 4.7.1')
    expect(first).toBeGreaterThan(150)
    for (let i = 0; i < 250; i++) expect(await hello(`203.0.113.${i}`, 'out.provider.example')).toBe('250-mx.te')
    now += 60_000
    expect(await hello('198.51.100.7', 'bot.example')).toBe('450 4.7.1')
    expect(await hello('198.51.100.7', 'mail.example')).toBe('250-mx.te')
    now += 120_000
    expect(await hello('198.51.100.7', 'bot.example')).toBe('250-mx.te')
  }, 60_000)

  test('that one holder of IPv6 addresses says from hundreds of networks of his is no crowd', () => {
    const crowds = new HeloCrowds({ isInUse: () => true, now: () => 0, seed: new Uint8Array(8) })
    const isCommon = (ip: string): boolean => {
      const signs = new MutableSigns()
      signs.named('mail.victim.example', '', { ip, net: netOf(ip), standing: 'new' } as Client, crowds)
      return signs.common
    }
    for (let i = 0; i < 1000; i++) expect(isCommon(`2001:db8:${i.toString(16)}::1`)).toBe(false)
    // Of as many holders it is one.
    const heard = Array.from({ length: 1000 }, (_, i) => isCommon(`2a00:${i.toString(16)}::1`))
    expect(heard.at(-1)).toBe(true)
    expect(heard.indexOf(true)).toBeGreaterThan(150)
  })
})
