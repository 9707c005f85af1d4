/** What a message costs its client that no mail server was asked about: nothing, so that the retry finds room. */
import { afterEach, describe, expect, test } from '@jest/globals'
import type { Client } from '../../../src/core/client.ts'
import type { Usage } from '../../../src/core/usage.ts'
import { Charges } from '../../../src/front/session/charges.ts'
import type { Limits } from '../../../src/state/limits.ts'
import { freePorts } from '../../services/ports.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import type { Client as SmtpClient } from '../../support/client.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const LIMIT = { LIMIT_IP_MESSAGES: '3/1h', LIMIT_GLOBAL_MESSAGES: '4/1h', LIMIT_IP_RECIPIENTS: '8/1h' }
const upstreamAt = async (port: number, script?: Upstream['script']): Promise<Upstream> => {
  const upstream = await startUpstream({ port, ...(script !== undefined && { script }) })
  ends.push(() => upstream.stop())
  return upstream
}
const appBefore = async (address: string, settings: Record<string, string> = {}): Promise<TestApp> => {
  const app = await startApp(address, { ...LIMIT, ...settings })
  ends.push(() => app.stop())
  return app
}
const hello = async (app: TestApp): Promise<SmtpClient> => {
  const client = await app.client()
  await client.hello()
  return client
}
const MAIL = 'MAIL FROM:<a@example.org>'
/** One message to two recipients; gives the first reply to RCPT. */
async function tried(client: SmtpClient, end = 'RSET'): Promise<string> {
  expect(await client.command(MAIL)).toMatch(/^250/)
  const reply = await client.command('RCPT TO:<b@example.net>')
  await client.command('RCPT TO:<c@example.net>')
  await client.command(end)
  return reply
}
const isUp = (app: TestApp, address: string) =>
  eventually(
    () => app.metric(`spillway_upstream_up{upstream="${address}"}`),
    (up) => up === 1,
  )
/** Three messages, and no more, are let in. */
async function hasAllOfIt(app: TestApp): Promise<void> {
  const client = await hello(app)
  for (let i = 0; i < 3; i++) expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^450 4\.7\.28/)
}

describe('R1 R3 where no mail server was asked, the retry finds all of the limit', () => {
  test.each(['RSET', 'DATA', 'EHLO again', 'QUIT'])('they are away, and the transaction ends by %s', async (end) => {
    const [port = 0] = await freePorts(1)
    const app = await appBefore(`127.0.0.1:${port}`)
    for (let i = 0; i < 6; i++) expect(await tried(await hello(app), end)).toMatch(/^451 4\.3\.2 .*away/)
    await upstreamAt(port)
    await isUp(app, `127.0.0.1:${port}`)
    await hasAllOfIt(app)
  })

  test('they are away, and postmaster was named first', async () => {
    const [port = 0] = await freePorts(1)
    const app = await appBefore(`127.0.0.1:${port}`)
    const client = await hello(app)
    for (let i = 0; i < 6; i++) {
      await client.command(MAIL)
      expect(await client.command('RCPT TO:<postmaster@example.net>')).toMatch(/^451 4\.3\.2 .*away/)
      expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451 4\.3\.2 .*away/)
      await client.command('RSET')
    }
    await upstreamAt(port)
    await isUp(app, `127.0.0.1:${port}`)
    await hasAllOfIt(app)
  })

  test('the client leaves while a server is awaited', async () => {
    let silent = true
    const upstream = await startUpstream({
      greeting: (connection) => {
        // Health checks come first: only the clients' connections find it silent.
        if (silent && upstream.connections.length > 1) return
        connection.say('220 upstream.example ESMTP')
      },
    })
    ends.push(() => upstream.stop())
    const app = await appBefore(upstream.address, { UPSTREAM_HEALTH_INTERVAL: '1h' })
    for (let i = 0; i < 6; i++) {
      const client = await hello(app)
      await client.command(MAIL)
      const before = upstream.connections.length
      client.write('RCPT TO:<b@example.net>\r\n')
      await eventually(
        () => upstream.connections.length,
        (count) => count > before,
      )
      client.resetConnection()
      await eventually(
        () => app.metric('spillway_connections_open{family="ipv4"}'),
        (open) => open === 0,
      )
    }
    silent = false
    await hasAllOfIt(app)
  })
})

describe('where a mail server was asked, the charges stand', () => {
  test.each([
    ['MAIL', '451 4.3.0 later'],
    ['RCPT', '450 4.2.1 later'],
    ['RCPT', '550 5.1.1 No such user'],
  ])('and refused %s with %s', async (verb, said) => {
    const upstream = await upstreamAt(0, (each) => (each === verb ? said : 'default'))
    const app = await appBefore(upstream.address, { LIMIT_GLOBAL_MESSAGES: 'off' })
    const client = await hello(app)
    for (let i = 0; i < 3; i++) expect(await tried(client)).toMatch(/^(4|5)(?!50 4\.7\.28)/)
    expect(await tried(client)).toMatch(/^450 4\.7\.28/)
  })

  test('and refused the HELO of the client: that is no way to make it be asked without end', async () => {
    const upstream = await upstreamAt(0, (verb, line) =>
      (verb === 'EHLO' || verb === 'HELO') && line.includes('client.example') ? '550 5.7.1 not you' : 'default',
    )
    const app = await appBefore(upstream.address, { LIMIT_GLOBAL_MESSAGES: 'off' })
    const client = await hello(app)
    for (let i = 0; i < 3; i++) expect(await tried(client)).toMatch(/^550 5\.7\.1/)
    expect(await tried(client)).toMatch(/^450 4\.7\.28/)
  })

  test('and refused the client, whom a PROXY header has told it of, before it greeted', async () => {
    const upstream = await startUpstream({
      header: 'line',
      greeting: (connection) => {
        const isCheck = connection.header.includes('127.0.0.1 127.0.0.1')
        connection.say(isCheck ? '220 hello' : '554 5.7.1 not you')
      },
    })
    ends.push(() => upstream.stop())
    const app = await appBefore(upstream.address, {
      UPSTREAM_CLIENT_IP: 'proxy-v1',
      LIMIT_GLOBAL_MESSAGES: 'off',
    })
    const client = await app.client('127.0.7.9')
    await client.hello()
    for (let i = 0; i < 3; i++) expect(await tried(client)).toMatch(/^451 4\.3\.0/)
    expect(await tried(client)).toMatch(/^450 4\.7\.28/)
  })

  test('and the message grew too large, so that it was left without its dot', async () => {
    const upstream = await upstreamAt(0)
    const app = await appBefore(upstream.address, { LIMIT_GLOBAL_MESSAGES: 'off', MESSAGE_MAX_SIZE: '65536B' })
    const client = await hello(app)
    const body = `${`${'x'.repeat(98)}\r\n`.repeat(700)}`
    for (let i = 0; i < 3; i++) expect(await client.send('a@example.org', 'b@example.net', body)).toMatch(/^552/)
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^450 4\.7\.28/)
  })
})

test('R25 what is given back is no budget without end: a session has its thousand refusals', async () => {
  const app = await appBefore('127.0.0.1:1', { LIMIT_IP_RECIPIENTS: 'off' })
  const client = await hello(app)
  client.write(`${MAIL}\r\n${'RCPT TO:<b@example.net>\r\n'.repeat(1001)}`)
  expect(await client.reply()).toMatch(/^250/)
  for (let i = 0; i < 1000; i++) expect(await client.reply()).toMatch(/^451 4\.3\.2/)
  expect(await client.reply()).toMatch(/^421 4\.7\.0/)
})

describe('Charges', () => {
  const use = (used: number, max = 10) => ({ used, max, windowMs: 1000 })
  const client = { source: '192.0.2.1' } as Client
  /** Answers `take` with what is given, in turn, and notes what is given back. */
  function limits(...takes: Usage[]) {
    const back: [Usage, number][] = []
    let recipients = 0
    const parts: (string | undefined)[] = []
    const fake: Pick<Limits, 'take' | 'recipient' | 'giveBack'> = {
      take: (_, __, part) => {
        parts.push(part)
        return takes.shift() as Usage
      },
      recipient: () => use(++recipients, 2),
      giveBack: (_, usage, recipients) => void back.push([usage, recipients]),
    }
    return { charges: new Charges(fake, client), back, parts }
  }

  test('gives back each part as it was taken, and the recipients with the last', () => {
    const [shared, own] = [{ global_messages: use(1) }, { ip_messages: use(1) }]
    const { charges, back, parts } = limits(shared, own)
    expect(charges.shared()).toBe(shared)
    const message = charges.message()
    expect(message).toEqual({ ...own, ...shared })
    expect(charges.message()).toBe(message)
    for (let i = 0; i < 2; i++) charges.recipient(message)
    charges.end(false)
    charges.end(false)
    expect(parts).toEqual(['everybody', 'sender'])
    expect(back).toEqual([
      [shared, 0],
      [own, 2],
    ])
  })

  test('gives nothing back where a mail server was asked, also not when the client leaves later', () => {
    const { charges, back } = limits({ global_messages: use(1) }, { ip_messages: use(1) })
    charges.shared()
    charges.recipient(charges.message())
    charges.end(true)
    charges.end(false)
    expect(back).toEqual([])
  })

  test('counts no recipient that was not admitted', () => {
    const { charges, back } = limits({})
    const message = charges.message()
    for (let i = 0; i < 3; i++) charges.recipient(message)
    charges.end(false)
    expect(back).toEqual([[{}, 2]])
  })
})
