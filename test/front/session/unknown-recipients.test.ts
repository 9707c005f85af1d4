/** A directory harvest, with the settings as they are shipped: whom the mail server is asked about, and what that counts as. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import type { Client } from '../../support/client.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const TRUSTED = '127.0.5.1'
const RELAY = '127.0.5.2'
const exists = new Set(['real@example.net'])
let upstream: Upstream
let app: TestApp
beforeAll(async () => {
  upstream = await startUpstream({
    script: (verb, line) => {
      const path = /^RCPT TO:<([^>]*)>/.exec(line)?.[1]
      if (verb !== 'RCPT' || path === undefined || exists.has(path)) return 'default'
      if (path.startsWith('blocked')) return '550 5.7.1 Blocked by policy'
      if (path.startsWith('full')) return '452 4.2.2 Mailbox full'
      if (path.startsWith('told.sender')) return '550 5.1.1 secret@example.org may not write to an unknown user'
      if (path.startsWith('told.address')) return '550 5.1.1 User unknown to [127.0.8.1]'
      if (path.startsWith('told.name')) return '550 5.1.1 client.example: User unknown'
      return `550 5.1.1 <${path}>: Recipient address rejected: User unknown in virtual mailbox table`
    },
  })
  app = await startApp(upstream.address, { ALLOW: TRUSTED, RELAYS: RELAY, RCPT_DOMAINS: 'example.net' })
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})

let host = 10
const begin = async (from = `127.0.5.${host++}`, sender = 'a@example.org'): Promise<Client> => {
  const client = await app.client(from)
  await client.hello()
  await client.command(`MAIL FROM:<${sender}>`)
  return client
}
const asked = (path: string): number =>
  upstream.connections.flatMap(({ lines }) => lines).filter((line) => line.startsWith(`RCPT TO:<${path}>`)).length
const rcpt = (client: Client, to: string): Promise<string> => client.command(`RCPT TO:<${to}>`)

describe('a recipient that the mail server has just called unknown', () => {
  test('is asked about once, and the next client hears the same words with an id of its own', async () => {
    const first = await rcpt(await begin(), 'once@example.net')
    const second = await rcpt(await begin(), 'once@example.net')
    expect(first).toMatch(/^550 5\.1\.1 <once@example\.net>: Recipient address rejected: User unknown .* \(\w{13}\)/)
    const words = (reply: string) => reply.replace(/\(\w{13}\)/, '')
    expect(words(second)).toBe(words(first))
    expect(second).not.toBe(first)
    expect(asked('once@example.net')).toBe(1)
    expect(await app.metric('spillway_unknown_recipients_total{source="memory"}')).toBe(1)
    expect(await app.metric('spillway_unknown_recipients_remembered')).toBeGreaterThanOrEqual(1)
  })

  test('the log tells where the words came from', async () => {
    const [from, again] = ['127.0.6.1', '127.0.6.2']
    for (const ip of [from, again]) {
      const client = await begin(ip)
      await rcpt(client, 'told@example.net')
      await client.command('QUIT')
    }
    const asking = await app.waitForLog(({ ip }) => ip === from)
    const recalled = await app.waitForLog(({ ip }) => ip === again)
    expect(asking).toMatchObject({ refusedBy: { upstream: upstream.address } })
    expect(JSON.stringify(asking)).not.toContain('memory')
    expect(recalled).toMatchObject({
      outcome: 'rejected',
      refusedBy: { upstream: upstream.address, reply: expect.stringMatching(/^550 5\.1\.1 </), source: 'memory' },
      rcpts: [{ to: '***@example.net', code: 550, source: 'memory' }],
      messages: [{ result: 'rejected', upstream: upstream.address }],
    })
  })

  test('stands beside others in one message, which goes to those who exist', async () => {
    await rcpt(await begin(), 'mixed@example.net')
    const client = await begin()
    expect(await rcpt(client, 'mixed@example.net')).toMatch(/^550 5\.1\.1/)
    expect(await rcpt(client, 'real@example.net')).toMatch(/^250/)
    expect(await rcpt(client, 'mixed@example.net')).toMatch(/^550 5\.1\.1/)
    expect(await client.command('DATA')).toMatch(/^354/)
    expect(await client.command('text\r\n.')).toMatch(/^250/)
    expect(asked('mixed@example.net')).toBe(1)
    const alone = await begin()
    await rcpt(alone, 'mixed@example.net')
    expect(await alone.command('DATA')).toMatch(/^554/)
  })

  test('that exists now: a trusted client asks, and then everybody gets through', async () => {
    await rcpt(await begin(), 'late@example.net')
    exists.add('late@example.net')
    expect(await rcpt(await begin(), 'late@example.net')).toMatch(/^550 5\.1\.1/)
    expect(await rcpt(await begin(TRUSTED), 'late@example.net')).toMatch(/^250/)
    expect(await rcpt(await begin(), 'late@example.net')).toMatch(/^250/)
  })

  test('a relay hears the words of the mail server too, as it does without memory', async () => {
    await rcpt(await begin(), 'carried@example.net')
    expect(await rcpt(await begin(RELAY), 'carried@example.net')).toMatch(/^550 5\.1\.1/)
    expect(asked('carried@example.net')).toBe(1)
  })
})

test('what is heard from memory prolongs nothing', async () => {
  const short = await startApp(upstream.address, { UNKNOWN_RECIPIENT_TTL: '1s' })
  try {
    const client = await short.client()
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    const again = async () => {
      expect(await rcpt(client, 'short@example.net')).toMatch(/^550 5\.1\.1/)
      return asked('short@example.net')
    }
    await eventually(again, (count) => count === 2)
    expect(await short.metric('spillway_unknown_recipients_total{source="memory"}')).toBeGreaterThan(0)
  } finally {
    await short.stop()
  }
})

test.each(['told.sender@example.net', 'told.address@example.net', 'told.name@example.net'])(
  '%s is asked about for each client: words with something of one client in them are not for another',
  async (to) => {
    const client = await begin('127.0.8.1', 'secret@example.org')
    expect(await rcpt(client, to)).toMatch(/^550 5\.1\.1/)
    await rcpt(await begin('127.0.8.2'), to)
    expect(asked(to)).toBe(2)
  },
)

test('a sender that is the recipient himself is no such thing', async () => {
  const to = 'self@example.net'
  for (const ip of ['127.0.8.3', '127.0.8.4']) expect(await rcpt(await begin(ip, to), to)).toMatch(/^550 5\.1\.1/)
  expect(asked(to)).toBe(1)
})

test('what a server said that is no longer in use is not repeated: the operator may have corrected the settings', async () => {
  const right = await startUpstream()
  const moved = await startApp(upstream.address)
  try {
    const client = await moved.client()
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    expect(await rcpt(client, 'moved@example.net')).toMatch(/^550 5\.1\.1/)
    expect(await moved.reload({ UPSTREAMS: right.address })).toMatchObject({ result: 'ok' })
    await eventually(
      () => moved.metric(`spillway_upstream_up{upstream="${right.address}"}`),
      (up) => up === 1,
    )
    const other = await moved.client()
    await other.hello()
    await other.command('MAIL FROM:<a@example.org>')
    expect(await rcpt(other, 'moved@example.net')).toMatch(/^250/)
  } finally {
    await moved.stop()
    await right.stop()
  }
})

test.each(['blocked@example.net', 'full@example.net', 'postmaster@example.net'])(
  '%s is asked about each time: that reply is about more than the recipient, or only for now',
  async (to) => {
    const replies = [await rcpt(await begin(), to), await rcpt(await begin(), to)]
    expect(asked(to)).toBe(2)
    expect(replies[1]?.slice(0, 9)).toBe(replies[0]?.slice(0, 9))
  },
)

test('a domain that is not ours is refused before anything is remembered of it', async () => {
  expect(await rcpt(await begin(), 'nobody@elsewhere.example')).toMatch(/^550 5\.7\.1/)
  expect(asked('nobody@elsewhere.example')).toBe(0)
})

describe('what a harvest from memory counts as', () => {
  const GUESSES = Array.from({ length: 30 }, (_, i) => `guess${i}@example.net`)

  test('the guesser meets its limit, and the mail server is asked about each name once, whoever asks', async () => {
    const codes: string[][] = []
    for (let bot = 0; bot < 3; bot++) {
      const client = await begin()
      codes.push([])
      for (const to of GUESSES) codes[bot]?.push((await rcpt(client, to)).slice(0, 9))
      await client.command('QUIT')
    }
    const wanted = [...Array(20).fill('550 5.1.1'), ...Array(10).fill('450 4.7.1')]
    expect(codes).toEqual([wanted, wanted, wanted])
    for (const to of GUESSES.slice(0, 20)) expect(asked(to)).toBe(1)
  })

  test('its messages are charged', async () => {
    const strict = await startApp(upstream.address, { LIMIT_IP_MESSAGES: '3/10m' })
    try {
      const codes: string[] = []
      for (let message = 0; message < 4; message++) {
        const client = await strict.client()
        await client.hello()
        await client.command('MAIL FROM:<a@example.org>')
        codes.push((await rcpt(client, 'charged@example.net')).slice(0, 10))
        await client.command('QUIT')
      }
      expect(codes).toEqual([...Array(3).fill('550 5.1.1 '), '450 4.7.28'])
      expect(asked('charged@example.net')).toBe(1)
    } finally {
      await strict.stop()
    }
  })

  test('its history is bad', async () => {
    const ip = '127.0.7.1'
    // Heard by another client before.
    for (let message = 0; message < 3; message++) {
      const client = await begin(ip)
      for (const to of GUESSES.slice(5 * message, 5 * message + 5)) await rcpt(client, to)
      await client.command('RSET')
      await client.command('QUIT')
    }
    for (const to of GUESSES.slice(0, 15)) expect(asked(to)).toBe(1)
    const client = await begin(ip)
    await client.command('QUIT')
    expect(await app.waitForLog((line) => line.ip === ip && line.standing === 'suspect')).toBeDefined()
  })
})
