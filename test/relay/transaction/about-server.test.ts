/**
 * R47 A server's 5yz that is about the server and not about the mail: nobody bounces for it. Which those are is
 * test/relay/smtp/reply.test.ts.
 */
import { describe, expect, test } from '@jest/globals'
import { eventually } from '../../support/app.ts'
import type { Script } from '../../support/upstream.ts'
import { BODY, MAIL, RCPT, read, send } from '../relays.ts'
import { relays, start, stopAfterEach, upstream } from '../scene.ts'

stopAfterEach()
const saying =
  (at: string, reply: string): Script =>
  (verb) =>
    verb === at ? reply : 'default'

describe('R47 it is 451, under the words of the server', () => {
  test.each([
    ['MAIL', '503 5.5.1 nested MAIL', '451 4.5.1 nested MAIL'],
    ['MAIL', '502 what?', '451 what?'],
    ['MAIL', '521 5.3.2 no mail here', '451 4.3.2 no mail here'],
    ['MAIL', '554-5.3.5 Local\r\n554 5.3.5 configuration error', '451 4.3.5 Local 4.3.5 configuration error'],
    ['RCPT', '503 5.5.1 need MAIL', '451 4.5.1 need MAIL'],
    ['RCPT', '550 5.4.3 directory has failed', '451 4.4.3 directory has failed'],
    ['DATA', '503 5.5.1 need RCPT', '451 4.5.1 need RCPT'],
    ['DATA', '554 5.5.1 no valid recipients', '451 4.5.1 no valid recipients'],
    ['DATA', '500 what?', '451 what?'],
    ['DOT', '554 5.3.2 stopping', '451 4.3.2 stopping'],
    ['DOT', '552 5.3.1 disk full', '451 4.3.1 disk full'],
    ['DOT', '500 5.5.2 what?', '451 4.5.2 what?'],
  ])('at %s: %j', async (at, reply, heard) => {
    await start([await upstream(saying(at, reply))])
    expect(await send(relays.client())).toBe(heard)
  })

  test('and counted as put off, also where it is said in the middle of the text', async () => {
    const server = await upstream(saying('DOT', '554 5.3.2 stopping'))
    await start([server])
    const client = relays.client()
    for (const early of [false, true]) {
      expect(read(await client.rcpt(MAIL, RCPT))).toMatch(/^250 /)
      expect(read(await client.data())).toMatch(/^354 /)
      await client.write(BODY)
      if (early) {
        server.lastMailed()?.say('554 5.3.2 stopping')
        await eventually(relays.held, (held) => held === 0)
      }
      const final = await client.end()
      expect([read(final.answer), final.result]).toEqual(['451 4.3.2 stopping', 'deferred'])
      client.reset()
    }
  })

  test.each([
    ['MAIL', '550 5.7.1 not from you'],
    ['RCPT', '550 5.1.1 no such user'],
    ['RCPT', '503 5.5.4 Unsupported option X'],
    ['DATA', '554 5.7.1 not from there'],
    ['DOT', '554 5.6.0 not that'],
    ['DOT', '552 5.3.4 too large'],
  ])('but its verdict stays what it is: %s, %j', async (at, reply) => {
    await start([await upstream(saying(at, reply))])
    expect(await send(relays.client())).toBe(reply)
  })
})

test('R47 R41 at MAIL another server is asked', async () => {
  const [bad, good] = [await upstream(saying('MAIL', '503 5.5.1 nested MAIL')), await upstream()]
  await start([bad, good])
  for (let i = 0; i < 4 && bad.mailed().length === 0; i++) {
    expect(await send(relays.client(`client${i}.example`))).toMatch(/^250 /)
  }
  expect(bad.mailed().length).toBeGreaterThan(0)
})

test('R47 a declared size that one server does not take goes to another, and is put off where there is none', async () => {
  const small = await upstream(undefined, { extensions: ['PIPELINING', 'SIZE 500'] })
  const large = await upstream(undefined, { extensions: ['PIPELINING', 'SIZE'] })
  await start([small, large])
  const envelope = { mailLine: `${MAIL.mailLine} SIZE=501`, needs: ['SIZE'], size: 501 }
  for (let i = 0; i < 4; i++) expect(read(await relays.client(`c${i}.example`).rcpt(envelope, RCPT))).toMatch(/^250 /)
  expect(small.mailed()).toEqual([])
  await large.stop()
  expect(read(await relays.client('d.example').rcpt(envelope, RCPT))).toBe('refused: upstream_lost')
  expect(read(await relays.client('e.example').rcpt({ ...envelope, size: 500 }, RCPT))).toMatch(/^250 /)
})

describe('R47 a refusal of EHLO', () => {
  const names = (refused: RegExp): Script => {
    return (_, line) => (refused.test(line) ? '550 5.7.1 not with that name' : 'default')
  }

  test('of that name alone is its verdict, and others go on', async () => {
    const server = await upstream(names(/^(EHLO|HELO) bad\.example$/))
    await start([server], { healthIntervalMs: 30 })
    for (let i = 0; i < 3; i++) {
      expect(read(await relays.client('bad.example').rcpt(MAIL, RCPT))).toBe('550 5.7.1 not with that name')
    }
    expect(await send(relays.client('good.example'))).toMatch(/^250 /)
    expect(relays.upstreams.servers().map(({ up }) => up)).toEqual([true])
  })

  test('of every name is about us: 451, and the server is left', async () => {
    const server = await upstream()
    await start([server], { healthIntervalMs: 30 })
    server.script = names(/^(EHLO|HELO) /)
    expect(read(await relays.client('good.example').rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
    await eventually(
      () => relays.upstreams.servers().map(({ up }) => up),
      ([up]) => up === false,
    )
    server.script = undefined
    await eventually(
      () => relays.upstreams.servers().map(({ up }) => up),
      ([up]) => up === true,
    )
    expect(await send(relays.client('good.example'))).toMatch(/^250 /)
  })

  test('of every name behind the XCLIENT of one client is 451 to that one, and the server is not left', async () => {
    const server = await upstream(
      (verb, _, { lines }) =>
        /^(EHLO|HELO)$/.test(verb) && lines.some((each) => /^XCLIENT .*203\.0\.113\.9/.test(each))
          ? '554 5.7.1 not from there'
          : 'default',
      { extensions: ['PIPELINING', 'XCLIENT NAME ADDR'] },
    )
    await start([server], { healthIntervalMs: 30, dial: { clientIp: 'xclient' } })
    for (let i = 0; i < 3; i++) {
      expect(read(await relays.client('bad.example', '203.0.113.9').rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
    }
    const checks = server.connections.length
    await eventually(
      () => server.connections.length,
      (now) => now > checks + 2,
    )
    expect(relays.upstreams.servers().map(({ up }) => up)).toEqual([true])
    expect(await send(relays.client('good.example'))).toMatch(/^250 /)
  })
})
