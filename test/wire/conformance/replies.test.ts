/** Which reply, when: what a client reads in front of each mail server, and what it never reads. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { REASONS } from '../../../src/core/reasons.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import type { Client } from '../../support/client.ts'
import { SERVERS } from '../servers.ts'
import { startScripted } from './scripted.ts'
import { ANNA, asSaid, copies, DOMAIN, FROM, ID, type Stand, settled, startStand } from './stand.ts'

const HUNDRED = Array.from({ length: 100 }, (_, i) => `u${i}@${DOMAIN}`)

/** Replies until the connection is closed. */
async function all(client: Client): Promise<string[]> {
  const replies: string[] = []
  for (;;) {
    const reply = await client.reply().catch(() => undefined)
    if (reply === undefined) return replies
    replies.push(reply)
  }
}

describe.each(SERVERS)('with $name', (kind) => {
  let stand: Stand
  beforeAll(async () => {
    stand = await startStand(kind, { recipients: [ANNA, ...HUNDRED] })
  })
  afterAll(() => stand.stop())

  test('R7 R9 the greeting, EHLO, HELO and 354 have no enhanced code, and one name', async () => {
    const client = await stand.app.client()
    expect(await client.reply()).toMatch(/^220 mx\.test\.example [^0-9]/)
    expect(await client.command('EHLO client.example')).toMatch(
      /^250-mx\.test\.example\r\n(250[- ][A-Z0-9]+.*(\r\n|$))+$/,
    )
    expect(await client.command('HELO client.example')).toBe('250 mx.test.example')
    await client.command(`MAIL FROM:<${FROM}>`)
    expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^250/)
    expect(await client.command('DATA')).toMatch(/^354 [^0-9]/)
    client.destroy()
  })

  test('R5 R6 an unknown recipient hears what the server says, and the id', async () => {
    const direct = await stand.direct()
    await direct.command(`MAIL FROM:<${FROM}>`)
    const client = await stand.greeted()
    await client.command(`MAIL FROM:<${FROM}>`)
    for (const to of [`nobody@${DOMAIN}`, 'anna@elsewhere.example']) {
      const said = await direct.command(`RCPT TO:<${to}>`)
      const heard = await client.command(`RCPT TO:<${to}>`)
      expect(said).toMatch(/^5/)
      expect(asSaid(heard)).toBe(said)
      expect(heard).toMatch(ID)
      for (const line of heard.split('\r\n')) expect(line).toMatch(/^5[0-9]{2}[ -](?![24]\.[0-9]+\.[0-9])/)
    }
    expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^250/)
  })

  test('R3 a hundred recipients are taken, one too many is 452 4.5.3, and the session goes on', async () => {
    const app = await stand.another({ LIMIT_RECIPIENTS_PER_MESSAGE: '100' })
    const client = await stand.greeted(app)
    await client.command(`MAIL FROM:<${FROM}>`)
    client.write([...HUNDRED, ANNA].map((to) => `RCPT TO:<${to}>\r\n`).join(''))
    for (const _ of HUNDRED) expect(await client.reply()).toMatch(/^250/)
    expect(await client.reply()).toMatch(/^452 4\.5\.3 .*\([0-9A-Z]{13}\)$/)
    expect(await client.command('RSET')).toMatch(/^250/)
    expect(await client.send(FROM, ANNA, 'Subject: behind 452\r\n\r\nx\r\n')).toMatch(/^250/)
    await stand.delivered(ANNA, 'Subject: behind 452')
  })

  test('R2 R8 a 421 in the middle of a pipelined group is the last thing said, and the last thing done', async () => {
    const client = await stand.greeted()
    const group = [
      `MAIL FROM:<${FROM}>`,
      `RCPT TO:<${ANNA}>`,
      ...Array.from({ length: 101 }, () => 'NOOP'),
      `RCPT TO:<u1@${DOMAIN}>`,
      'DATA',
      'Subject: behind 421\r\n\r\nx\r\n.',
      'QUIT',
      '',
    ]
    client.write(group.join('\r\n'))
    const heard = await all(client)
    expect(heard.slice(0, -1).map((reply) => reply.slice(0, 3))).toEqual(Array(102).fill('250'))
    expect(heard.at(-1)).toMatch(/^421 4\.7\.0 mx\.test\.example /)
    expect(client.wasReset).toBe(false)
    await settled(stand.app)
    // What comes later on the same way has arrived: what was behind the 421 has not.
    const next = await stand.greeted()
    await next.send(FROM, ANNA, 'Subject: after 421\r\n\r\nx\r\n')
    await stand.delivered(ANNA, 'Subject: after 421')
    expect(copies(stand.server, ANNA, 'Subject: behind 421')).toBe(0)
    expect(stand.server.messages(`u1@${DOMAIN}`)).toEqual([])
  })

  test('R1 over the limits everybody hears 4yz, and no 5yz has load as its cause', async () => {
    const app = await stand.another({ LIMIT_IP_MESSAGES: '2/1h', LIMIT_IP_CONNECTIONS: '4/1h' })
    const [client, other] = [await stand.greeted(app), await stand.greeted(app)]
    const replies: string[] = []
    for (const each of [client, other, client, other, client]) {
      replies.push(await each.send(FROM, ANNA, 'Subject: flood\r\n\r\nx\r\n'))
      await each.command('RSET')
    }
    for (let i = 0; i < 4; i++) replies.push(await (await app.client()).reply())
    expect(replies.map((reply) => reply.slice(0, 10))).toEqual([
      ...Array(2).fill(replies[0]?.slice(0, 10)),
      ...Array(3).fill('450 4.7.28'),
      ...Array(2).fill('220 mx.tes'),
      ...Array(2).fill('421 4.7.28'),
    ])
    expect(replies[0]).toMatch(/^250/)
    const { body } = await app.get('/metrics')
    expect(body).not.toMatch(/^spillway_refusals_total\{[^}]*action="reject"[^}]*\} [1-9]/m)
    await app.stop()
  })

  // The last one: behind it this server is no more.
  test('R1 R5 when it is gone its users hear 451, in a session under way and in new ones', async () => {
    const client = await stand.greeted()
    await client.command(`MAIL FROM:<${FROM}>`)
    expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^250/)
    await stand.server.stop()
    // Some hang up; Exim, where there is time for it, says 421 on its way out, and then its words are heard.
    expect(await client.command(`RCPT TO:<u1@${DOMAIN}>`)).toMatch(
      /^451 (4\.3\.[02] mx\.test\.example |mx\.test\.example: Service not available)/,
    )
    const next = await stand.greeted()
    await next.command(`MAIL FROM:<${FROM}>`)
    for (const to of [ANNA, `nobody@${DOMAIN}`, 'postmaster']) {
      expect(await next.command(`RCPT TO:<${to}>`)).toMatch(/^451 4\.3\.[02] mx\.test\.example /)
    }
    expect(await next.command('DATA')).toMatch(/^451/)
    expect(await next.command('QUIT')).toMatch(/^221/)
    // And when that is known, without asking.
    await eventually(
      async () => (await stand.app.get('/metrics')).body,
      (body) => /^spillway_upstream_up\{.*\} 0$/m.test(body),
    )
    const last = await stand.greeted()
    expect(await last.command(`MAIL FROM:<${FROM}>`)).toMatch(/^250/)
    expect(await last.command(`RCPT TO:<${ANNA}>`)).toMatch(/^451 4\.3\.2 mx\.test\.example /)
    expect(await last.command('DATA')).toMatch(/^451/)
  })
})

describe('with the scripted upstream', () => {
  let app: TestApp
  afterAll(() => app.stop())
  beforeAll(async () => {
    const server = await startScripted({ recipients: [ANNA] })
    server.fault = (verb) => (verb === 'RCPT' ? '550 5.1.1 No such user' : 'default')
    app = await startApp(`127.0.0.1:${server.port()}`, { DENY: '127.0.0.66', MAX_CONNECTIONS: '6', LOG_SAMPLE: '1' })
    const stop = app.stop
    app = { ...app, stop: () => stop().then(() => server.stop()) }
  })

  test('R4 R6 a denied client reads 554 with the id, and the close; what it goes on to say is not answered', async () => {
    const client = await app.client('127.0.0.66')
    client.write('EHLO x\r\nMAIL FROM:<>\r\nQUIT\r\n')
    const [reply, ...more] = await all(client)
    expect(reply).toMatch(/^554 5\.7\.1 \[127\.0\.0\.66\] .*\([0-9A-Z]{13}\)$/)
    expect(more).toEqual([])
    expect(client.wasReset).toBe(false)
  })

  test('R4 no reason says 521 or 556, and R6 the id stands in all of them', () => {
    for (const { code } of Object.values(REASONS)) expect([521, 556]).not.toContain(code)
  })

  test('R1 R2 one client too many reads 421 and is closed; those before it go on', async () => {
    const inside = await Promise.all(Array.from({ length: 6 }, () => app.client()))
    for (const client of inside) expect(await client.reply()).toMatch(/^220/)
    const outside = await app.client()
    expect(await all(outside)).toEqual([expect.stringMatching(/^421 4\.3\.2 mx\.test\.example /)])
    expect(outside.wasReset).toBe(false)
    for (const client of inside) expect(await client.command('NOOP')).toMatch(/^250/)
    await settled(app)
  })
})

describe('with the scripted upstream that fails', () => {
  test.each([
    ['it closes instead of answering', undefined],
    ['it answers with 421', '421 4.3.2 going down'],
    ['it says what is no reply', 'what?'],
  ])('R5 the question about a recipient fails, as %s: 451, never 550', async (_, said) => {
    const server = await startScripted({ recipients: [ANNA] })
    const app = await startApp(`127.0.0.1:${server.port()}`)
    try {
      server.fault = (verb, __, { socket }) => {
        if (verb !== 'RCPT') return 'default'
        if (said === undefined) socket.destroy()
        return said
      }
      const client = await app.client()
      await client.hello()
      await client.command(`MAIL FROM:<${FROM}>`)
      expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^451 4\.3\.[02] /)
      expect(await client.command('NOOP')).toMatch(/^250/)
    } finally {
      await app.stop()
      await server.stop()
    }
  })
})
