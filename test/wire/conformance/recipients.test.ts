/** Recipients: who is taken, who hears what, and who gets the message; in front of each mail server. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { TestApp } from '../../support/app.ts'
import type { Client } from '../../support/client.ts'
import { SERVERS } from '../servers.ts'
import { type Scripted, startScripted } from './scripted.ts'
import { ANNA, asSaid, bodyOf, copies, DOMAIN, FROM, ID, OTTO, type Stand, startStand } from './stand.ts'

const POSTMASTER = `postmaster@${DOMAIN}`
const ABUSE = `abuse@${DOMAIN}`

/** From MAIL to the reply of RCPT; whatever was begun is given up. */
async function rcpt(client: Client, to: string, from = FROM): Promise<string> {
  await client.command('RSET')
  expect(await client.command(`MAIL FROM:<${from}>`)).toMatch(/^250/)
  return client.command(`RCPT TO:<${to}>`)
}

describe.each(SERVERS)('with $name', (kind) => {
  let stand: Stand
  let tight: TestApp
  beforeAll(async () => {
    stand = await startStand(kind, { recipients: [ANNA, OTTO, POSTMASTER, ABUSE] })
    tight = await stand.another({ LIMIT_IP_MESSAGES: '1/1h', LIMIT_IP_RECIPIENTS: '1/1h' })
  })
  afterAll(() => stand.stop())

  test('R12 one reply to one recipient; of a mixed set the accepted get the message, and a refusal poisons no other', async () => {
    const client = await stand.greeted()
    const asked = [`nobody@${DOMAIN}`, ANNA, 'x@elsewhere.example', OTTO, `no.one@${DOMAIN}`]
    client.write(`MAIL FROM:<${FROM}>\r\n${asked.map((to) => `RCPT TO:<${to}>\r\n`).join('')}DATA\r\n`)
    const heard: string[] = []
    for (let i = 0; i < 7; i++) heard.push((await client.reply()).slice(0, 3))
    expect(heard.join(' ')).toMatch(/^250 55[0-9] 250 5[0-9]{2} 250 55[0-9] 354$/)
    client.write('Subject: mixed\r\n\r\nto two\r\n.\r\n')
    expect(await client.reply()).toMatch(/^250/)
    for (const to of [ANNA, OTTO]) {
      expect(bodyOf(await stand.delivered(to, 'Subject: mixed'))).toBe('to two\n')
      expect(copies(stand.server, to, 'Subject: mixed')).toBe(1)
    }
  })

  test('R12 where none was accepted DATA is 554, and the next transaction knows nothing of it', async () => {
    const client = await stand.greeted()
    expect(await rcpt(client, `nobody@${DOMAIN}`)).toMatch(/^55[0-9]/)
    expect(await client.command('DATA')).toMatch(/^554 5\.5\.1 .*\([0-9A-Z]{13}\)$/)
    expect(await client.send(FROM, OTTO, 'Subject: behind 554\r\n\r\nx\r\n')).toMatch(/^250/)
    await stand.delivered(OTTO, 'Subject: behind 554')
  })

  test('R10 postmaster and abuse get past the limits of the sender, and the mail arrives', async () => {
    const client = await stand.greeted(tight)
    expect(await rcpt(client, ANNA)).toMatch(/^250/)
    expect(await rcpt(client, ANNA)).toMatch(/^450 4\.7\.28/)
    for (const to of [POSTMASTER, `PostMaster@${DOMAIN}`, ABUSE, `ABUSE@${DOMAIN}`]) {
      expect(await rcpt(client, to)).toMatch(/^250/)
    }
    await client.command('RSET')
    expect(await client.send(FROM, POSTMASTER, 'Subject: help\r\n\r\nx\r\n')).toMatch(/^250/)
    await stand.delivered(POSTMASTER, 'Subject: help')
    // Without a domain it is for the server to say whose postmaster that is.
    const said = await rcpt(await stand.direct(), 'Postmaster')
    expect(asSaid(await rcpt(client, 'Postmaster'))).toBe(said)
  })

  test('R11 mail from the null sender is taken and delivered', async () => {
    const client = await stand.greeted()
    expect(await client.send('', ANNA, 'Subject: a bounce\r\n\r\nx\r\n')).toMatch(/^250/)
    expect(bodyOf(await stand.delivered(ANNA, 'Subject: a bounce'))).toBe('x\n')
  })

  test('R11 in a flood it is put off at RCPT and never refused; who verifies a user of ours is let through', async () => {
    const app = await stand.another({ LIMIT_IP_MESSAGES: '1/1h', LIMIT_IP_UNKNOWN_RECIPIENTS: '2/1h' })
    const client = await stand.greeted(app)
    expect(await rcpt(client, ANNA)).toMatch(/^250/)
    // Known from now on: verifications cost this client nothing, and it may verify.
    for (let i = 0; i < 3; i++) expect(await rcpt(client, ANNA, '')).toMatch(/^250/)
    expect(await rcpt(client, OTTO, '')).toMatch(/^450 4\.7\.28 /)
    await client.command('QUIT')
    await app.stop()
  })

  test('R44 MAIL reaches the server with the first recipient, and not before', async () => {
    const client = await stand.greeted()
    expect(await client.command('MAIL FROM:<never.asked@sender.example>')).toMatch(/^250/)
    expect(await client.command('RCPT TO:<a b>')).toMatch(/^501/)
    expect(await client.command('RSET')).toMatch(/^250/)
    expect(await client.command('MAIL FROM:<was.asked@sender.example>')).toMatch(/^250/)
    expect(await client.command(`RCPT TO:<nobody@${DOMAIN}>`)).toMatch(/^55[0-9]/)
    // Where the server logs what it refuses, it has the one and not the other.
    expect(stand.server.log()).not.toContain('never.asked')
  })

  test('R44 its 5yz to MAIL is the reply to every recipient', async () => {
    const sender = 'MAIL FROM:<bad@sender@example..org>'
    const direct = await stand.direct()
    const said = await direct.command(sender)
    const client = await stand.greeted()
    expect(await client.command(sender)).toMatch(/^250/)
    const replies = [await client.command(`RCPT TO:<${ANNA}>`), await client.command(`RCPT TO:<${OTTO}>`)]
    // The scripted one takes any sender.
    const expected = /^5/.test(said) ? said : '250 2.1.5 Ok'
    expect(replies.map(asSaid)).toEqual([expected, expected])
    if (/^5/.test(said)) expect(await client.command('DATA')).toMatch(/^554/)
    await client.command('RSET')
    expect(await client.send(FROM, ANNA)).toMatch(/^250/)
  })
})

describe('with the scripted upstream that refuses', () => {
  let stand: Stand
  const scripted = (): Scripted => stand.server as Scripted
  beforeAll(async () => {
    stand = await startStand({ ...(SERVERS[0] as (typeof SERVERS)[number]), start: startScripted })
  })
  afterAll(() => stand.stop())

  test('R12 where one recipient may be taken later, DATA is 451', async () => {
    scripted().fault = (verb, line) => (verb === 'RCPT' && line.includes('otto') ? '450 4.2.1 later' : 'default')
    const client = await stand.greeted()
    await client.command(`MAIL FROM:<${FROM}>`)
    expect(await client.command(`RCPT TO:<nobody@${DOMAIN}>`)).toMatch(/^550/)
    expect(await client.command(`RCPT TO:<${OTTO}>`)).toMatch(/^450 4\.2\.1 later/)
    expect(await client.command('DATA')).toMatch(/^451 4\.5\.0 /)
    expect(scripted().upstream.lastMailed()?.lines).not.toContain('DATA')
  })

  test.each([
    ['550 5.7.1 Sender refused', /^550 5\.7\.1 Sender refused/, 1],
    ['553 5.1.8 No such sender', /^553 5\.1\.8 No such sender/, 1],
    // There is one server only, so nobody else could be asked.
    ['450 4.7.1 Greylisted', /^451 4\.7\.1 Greylisted/, 2],
    ['421 4.3.2 Going down', /^451 4\.3\.2 Going down/, 2],
  ])('R6 R44 MAIL is answered with %s: each recipient hears %s', async (said, expected, most) => {
    scripted().fault = (verb) => (verb === 'MAIL' ? said : 'default')
    const before = scripted().upstream.mailed().length
    const client = await stand.greeted()
    expect(await client.command('MAIL FROM:<judged@sender.example>')).toMatch(/^250/)
    for (const to of [ANNA, OTTO]) {
      const reply = await client.command(`RCPT TO:<${to}>`)
      expect(reply).toMatch(expected)
      expect(reply).toMatch(ID)
    }
    expect(await client.command('DATA')).toMatch(said.startsWith('5') ? /^554/ : /^451/)
    expect(await client.command('NOOP')).toMatch(/^250/)
    const asked = scripted()
      .upstream.mailed()
      .slice(before)
      .flatMap(({ lines }) => lines.filter((line) => line.startsWith('MAIL')))
    expect(asked.length).toBeGreaterThan(0)
    expect(asked.length).toBeLessThanOrEqual(most)
  })
})
