/** How many commands a client may spend on nothing, on mistakes and on refusals, between two messages. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const ID = /\([0-9A-HJKMNP-TV-Z]{13}\)$/
let upstream: Upstream
let app: TestApp

beforeAll(async () => {
  upstream = await startUpstream()
  app = await startApp(upstream.address, { LIMIT_IP_MESSAGES: 'off', LIMIT_IP_UNKNOWN_RECIPIENTS: 'off' })
})
beforeEach(() => {
  upstream.script = undefined
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})

const greeted = async () => {
  const client = await app.client()
  await client.hello()
  return client
}

describe('commands that bring no mail', () => {
  test.each([
    ['NOOP', /^250 2\.0\.0/],
    ['RSET', /^250 2\.0\.0/],
    ['VRFY postmaster', /^252 2\.5\.2/],
    ['HELP', /^214 2\.0\.0/],
    ['AUTH LOGIN', /^502 5\.5\.1/],
  ])('R25 %s is answered a hundred times, then 421 4.7.0 and the close', async (command, fine) => {
    const client = await greeted()
    client.write(`${command}\r\n`.repeat(105))
    for (let i = 0; i < 100; i++) expect(await client.reply()).toMatch(fine)
    const last = await client.reply()
    expect(last).toMatch(/^421 4\.7\.0 mx\.test\.example \[127\.0\.0\.1\] /)
    expect(last).toMatch(ID)
    // R8: nothing more, whatever was pipelined.
    expect(await client.closed()).toBe('')
    expect(client.wasReset).toBe(false)
  })

  test.each([
    ['XYZZY', /^500 5\.5\.2/],
    ['', /^500 5\.5\.2/],
    ['ETRN example.org', /^502 5\.5\.1/],
    ['EXPN list', /^502 5\.5\.1/],
    ['BDAT 10 LAST', /^502 5\.5\.1/],
    ['MAIL TO:<a@example.org>', /^501 5\.5\.4/],
  ])('R17 R25 twenty times %j, then 421 4.7.0', async (command, fine) => {
    const client = await greeted()
    client.write(`${command}\r\n`.repeat(25))
    for (let i = 0; i < 20; i++) expect(await client.reply()).toMatch(fine)
    expect(await client.reply()).toMatch(/^421 4\.7\.0/)
    expect(await client.closed()).toBe('')
  })

  test('R23 AUTH is 502, and no error of its client', async () => {
    const client = await greeted()
    for (let i = 0; i < 40; i++) expect(await client.command('AUTH LOGIN')).toMatch(/^502 5\.5\.1/)
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  })

  test('R25 a message that goes through gives a new budget', async () => {
    const client = await greeted()
    for (let round = 0; round < 3; round++) {
      client.write('NOOP\r\n'.repeat(60))
      for (let i = 0; i < 60; i++) expect(await client.reply()).toMatch(/^250/)
      expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    }
  })

  test('R25 DATA without a recipient brings no mail either: a hundred times, then 421 4.7.0', async () => {
    const before = upstream.mailed().length
    const client = await greeted()
    client.write('MAIL FROM:<a@example.org>\r\nDATA\r\n'.repeat(105))
    for (let i = 0; i < 100; i++) {
      expect(await client.reply()).toMatch(/^250/)
      expect(await client.reply()).toMatch(/^554 5\.5\.1/)
    }
    expect(await client.reply()).toMatch(/^250/)
    expect(await client.reply()).toMatch(/^421 4\.7\.0/)
    expect(await client.closed()).toBe('')
    expect(upstream.mailed()).toHaveLength(before)
  })

  test.each([
    ['RSET', 'MAIL FROM:<a@example.org>\r\nRSET\r\n'],
    ['another EHLO', 'MAIL FROM:<a@example.org>\r\nEHLO again\r\n'],
    ['a recipient, and RSET', 'MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nRSET\r\n'],
  ])('R25 transactions that end by %s spend it, too', async (_, transaction) => {
    const client = await greeted()
    client.write(transaction.repeat(105))
    let last = ''
    let count = 0
    for (; !last.startsWith('421'); count++) last = await client.reply()
    expect(last).toMatch(/^421 4\.7\.0/)
    expect(count).toBe(101 * (transaction.split('\r\n').length - 1))
    expect(await client.closed()).toBe('')
  })

  test('R12 R25 DATA behind refused recipients is pipelining, and spends nothing', async () => {
    upstream.script = (verb) => (verb === 'RCPT' ? '550 5.1.1 No such user' : 'default')
    const client = await greeted()
    for (let i = 0; i < 150; i++) {
      client.write(`MAIL FROM:<a@example.org>\r\nRCPT TO:<nobody${i}@example.net>\r\nDATA\r\n`)
      for (const code of ['250', '550', '554']) expect((await client.reply()).slice(0, 3)).toBe(code)
    }
    expect(await client.command('NOOP')).toMatch(/^250/)
  })

  test('R11 R25 who verifies one recipient after another in one session may do so a hundred times', async () => {
    const client = await greeted()
    for (let i = 0; i < 100; i++) {
      client.write('MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nRSET\r\n')
      for (let j = 0; j < 3; j++) expect(await client.reply()).toMatch(/^250/)
    }
    expect(await client.command('QUIT')).toMatch(/^221/)
  })

  test.each([
    ['RCPT', (i: number) => `MAIL FROM:<a@example.org>\r\nRCPT TO:<u${i}@example.net>\r\nDATA\r\n`, 3],
    ['DATA', (i: number) => `MAIL FROM:<a@example.org>\r\nRCPT TO:<u${i}@example.net>\r\nDATA\r\n`, 3],
  ])('R25 a thousand refusals of %s by the mail server, then 421 4.7.0', async (refused, transaction, replies) => {
    upstream.script = (verb) => (verb === refused ? '450 4.2.1 later' : 'default')
    const client = await greeted()
    for (let i = 0; i < 1000; i++) {
      client.write(transaction(i))
      for (let j = 0; j < replies; j++) expect(await client.reply()).toMatch(/^(250|45[01]) /)
    }
    client.write(transaction(1000))
    const last: string[] = []
    while (!last.at(-1)?.startsWith('421')) last.push(await client.reply())
    expect(last).toHaveLength(refused === 'RCPT' ? 2 : 3)
    expect(last.at(-1)).toMatch(/^421 4\.7\.0/)
    expect(await client.closed()).toBe('')
  })

  test('R25 what the mail server finds wrong is not held against the client', async () => {
    upstream.script = (verb) => (verb === 'RCPT' ? '501 5.1.3 Bad recipient address syntax' : 'default')
    const client = await greeted()
    await client.command('MAIL FROM:<a@example.org>')
    for (let i = 0; i < 30; i++) expect(await client.command(`RCPT TO:<b${i}@example.net>`)).toMatch(/^501 5\.1\.3/)
    expect(await client.command('NOOP')).toMatch(/^250/)
  })
})
