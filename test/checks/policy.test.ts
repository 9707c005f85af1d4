/** Each check of the policy on the wire: reply, row in the metrics, log line; and the same in observe mode. */
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { formOf, REASONS } from '../../src/core/reasons.ts'
import { BALANCER, eventually, startApp, type TestApp, turn } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const IP = '203.0.113.7'
const HOUR = 3_600_000
let upstream: Upstream

beforeAll(async () => {
  upstream = await startUpstream({
    script: (verb, line) => (verb === 'RCPT' && line.includes('<no') ? '550 5.1.1 no such user' : 'default'),
  })
})
afterAll(() => upstream.stop())

async function withApp(settings: Record<string, string>, run: (app: TestApp) => Promise<void>): Promise<void> {
  const app = await startApp(upstream.address, { PROXY_PROTOCOL_FROM: BALANCER, LOG_SAMPLE: '1', ...settings })
  try {
    await run(app)
  } finally {
    await app.stop()
  }
}

async function to(client: Client, address = 'b@example.net', from = 'a@example.org'): Promise<string> {
  await client.command('RSET')
  await client.command(`MAIL FROM:<${from}>`)
  return client.command(`RCPT TO:<${address}>`)
}
async function greeted(app: TestApp, ip = IP): Promise<Client> {
  const client = await app.clientAs(ip)
  await client.hello()
  return client
}
const greeting = async (app: TestApp, ip = IP): Promise<string> => (await app.clientAs(ip)).reply()

/** Connects from each, which passes; then from the client of the test. */
const after =
  (...others: string[]) =>
  async (app: TestApp): Promise<string> => {
    for (const other of others) expect(await greeting(app, other)).toMatch(/^220/)
    return greeting(app)
  }

interface Case {
  readonly reason: keyof typeof REASONS
  readonly settings: Record<string, string>
  /** Gives the reply that is the check's; whatever comes before it passes. */
  readonly act: (app: TestApp) => Promise<string>
  readonly limit?: { used: number; max: number; window?: number }
}

const CASES: readonly Case[] = [
  { reason: 'denied', settings: { DENY: '203.0.113.0/24' }, act: (app) => greeting(app) },
  {
    reason: 'ip_concurrency',
    settings: { LIMIT_IP_CONCURRENCY: '2' },
    act: after(IP, IP),
    limit: { used: 3, max: 2 },
  },
  {
    reason: 'ip_connections',
    settings: { LIMIT_IP_CONNECTIONS: '2/1h' },
    act: after(IP, IP),
    limit: { used: 3, max: 2, window: HOUR },
  },
  {
    reason: 'net_connections',
    settings: { LIMIT_NET_CONNECTIONS: '2/1h', LIMIT_IP_CONNECTIONS: 'off' },
    act: after('203.0.113.1', '203.0.113.2'),
    limit: { used: 3, max: 2, window: HOUR },
  },
  {
    reason: 'global_connections',
    settings: { LIMIT_GLOBAL_CONNECTIONS: '2/1h', LIMIT_IP_CONNECTIONS: 'off', LIMIT_NET_CONNECTIONS: 'off' },
    act: after('192.0.2.1', '198.51.100.2'),
    limit: { used: 3, max: 2, window: HOUR },
  },
  {
    reason: 'ip_messages',
    settings: { LIMIT_IP_MESSAGES: '2/1h' },
    act: async (app) => {
      const client = await greeted(app)
      for (let i = 0; i < 2; i++) expect(await to(client)).toMatch(/^250/)
      return to(client)
    },
    limit: { used: 3, max: 2, window: HOUR },
  },
  {
    reason: 'global_messages',
    settings: { LIMIT_GLOBAL_MESSAGES: '2/1h', LIMIT_IP_MESSAGES: 'off' },
    act: async (app) => {
      for (const other of ['192.0.2.1', '198.51.100.2']) expect(await to(await greeted(app, other))).toMatch(/^250/)
      return to(await greeted(app))
    },
    limit: { used: 3, max: 2, window: HOUR },
  },
  {
    reason: 'ip_recipients',
    settings: { LIMIT_IP_RECIPIENTS: '3/1h' },
    act: async (app) => {
      const client = await greeted(app)
      for (let i = 0; i < 3; i++) expect(await to(client)).toMatch(/^250/)
      return to(client)
    },
    limit: { used: 4, max: 3, window: HOUR },
  },
  {
    reason: 'unknown_recipients',
    settings: { LIMIT_IP_UNKNOWN_RECIPIENTS: '3/1h' },
    act: async (app) => {
      const client = await greeted(app)
      for (let i = 0; i < 3; i++) expect(await to(client, `no${i}@example.net`)).toMatch(/^550 5\.1\.1/)
      return to(client)
    },
    limit: { used: 3, max: 3, window: HOUR },
  },
  {
    reason: 'recipients',
    settings: { LIMIT_RECIPIENTS_PER_MESSAGE: '2' },
    act: async (app) => {
      const client = await greeted(app)
      expect(await to(client)).toMatch(/^250/)
      expect(await client.command('RCPT TO:<c@example.net>')).toMatch(/^250/)
      return client.command('RCPT TO:<d@example.net>')
    },
    limit: { used: 3, max: 2 },
  },
  {
    reason: 'rcpt_domain',
    settings: { RCPT_DOMAINS: 'example.net,example.com' },
    act: async (app) => {
      const client = await greeted(app)
      expect(await to(client, 'b@EXAMPLE.com')).toMatch(/^250/)
      expect(await to(client, 'Postmaster')).toMatch(/^250/)
      return to(client, 'b@other.example')
    },
  },
  {
    reason: 'size',
    settings: { MESSAGE_MAX_SIZE: '1MB' },
    act: async (app) => {
      const client = await greeted(app)
      expect(await client.command('MAIL FROM:<a@example.org> SIZE=1000000')).toMatch(/^250/)
      await client.command('RSET')
      return client.command('MAIL FROM:<a@example.org> SIZE=1000001')
    },
    limit: { used: 1_000_001, max: 1_000_000 },
  },
]

/** The reply at the first stage that the reason may come up. */
const formHere = (reason: keyof typeof REASONS) => {
  const { stages } = REASONS[reason]
  return { ...formOf(reason, stages[0]), stages }
}

const row = (reason: keyof typeof REASONS, mode: string): string => {
  const { action, stages } = formHere(reason)
  return `spillway_refusals_total{stage="${stages[0]}",reason="${reason}",action="${action}",mode="${mode}"}`
}

describe.each(CASES)('$reason', ({ reason, settings, act, limit }) => {
  const { code, enhanced, action, stages } = formHere(reason)
  const { wire } = REASONS[reason]
  const { check } = REASONS[reason] as { check: string }

  test('is refused with its reply, its row and its log line', () =>
    withApp(settings, async (app) => {
      const reply = await act(app)
      const us = code < 500 ? 'mx.test.example ' : ''
      expect(reply).toContain(`${code} ${enhanced} ${us}[${IP}] ${wire} (`)
      expect(await app.metric(row(reason, 'enforce'))).toBe(1)
      expect(await app.metric(row(reason, 'observe'))).toBe(0)
      for (const client of app.clients) client.destroy()
      const id = /\(([0-9A-Z]{13})\)$/.exec(reply)?.[1]
      const line = await app.waitForLog((each) => each.id === id)
      const who = { ip: IP, source: IP, net: '203.0.113.0/24', standing: 'new' }
      expect(line).toMatchObject({ ...who, stage: stages[0], reason, code, sample: 1 })
      expect(line.limit).toEqual(limit && { name: reason, ...limit })
    }))

  if (action === 'drop') {
    test('R2 R4 closes behind its one line, without a reset', () =>
      withApp(settings, async (app) => {
        await act(app)
        const client = await app.clientAs(IP)
        expect(await client.closed()).toMatch(/^[45][^\r\n]*\r\n$/)
        expect(client.wasReset).toBe(false)
      }))
  }

  test('in observe mode lets pass, counts, and is told in the log line', () =>
    withApp({ ...settings, OBSERVE: check }, async (app) => {
      expect(await act(app)).toMatch(/^2/)
      expect(await app.metric(row(reason, 'observe'))).toBe(1)
      expect(await app.metric(row(reason, 'enforce'))).toBe(0)
      for (const client of app.clients) client.destroy()
      const line = await app.waitForLog((each) => each.observe !== undefined)
      expect(line).toMatchObject({ ip: IP, observe: [check] })
      expect(line.reason).toBeUndefined()
    }))

  test(reason === 'size' ? 'holds for the allow list too' : 'is not for clients on the allow list', () =>
    withApp({ ...settings, ALLOW: IP }, async (app) => {
      expect(await act(app)).toMatch(reason === 'size' ? /^552/ : /^2/)
      // The others of this test are not on the list, but never over a limit.
      expect(await app.metric(row(reason, 'enforce'))).toBe(reason === 'size' ? 1 : 0)
    }),
  )
})

describe('addresses', () => {
  test('an IPv6 client counts by its /64, its neighbourhood is the /48, and it reads its own address', () =>
    withApp({ LIMIT_IP_CONNECTIONS: '2/1h', LIMIT_NET_CONNECTIONS: '3/1h' }, async (app) => {
      expect(await greeting(app, '2001:db8:1:2::1')).toMatch(/^220/)
      expect(await greeting(app, '2001:db8:1:2::2')).toMatch(/^220/)
      expect(await greeting(app, '2001:db8:1:2:f::3')).toMatch(/^421 4\.7\.28 .* \[2001:db8:1:2:f::3\] .* your address/)
      expect(await greeting(app, '2001:db8:1:3::1')).toMatch(/^220/)
      expect(await greeting(app, '2001:db8:1:4::1')).toMatch(/^421 4\.7\.28 .* from your network/)
      expect(await greeting(app, '2001:db8:2::1')).toMatch(/^220/)
      expect(await app.metric('spillway_connections_open{family="ipv6"}')).toBe(4)
    }))

  test('ALLOW wins over DENY, never over MAX_CONNECTIONS', () =>
    withApp({ ALLOW: IP, DENY: '203.0.113.0/24', MAX_CONNECTIONS: '2' }, async (app) => {
      expect(await greeting(app, '203.0.113.8')).toMatch(/^554 5\.7\.1/)
      expect(await greeting(app)).toMatch(/^220/)
      expect(await greeting(app)).toMatch(/^220/)
      expect(await greeting(app)).toMatch(/^421 4\.3\.2 .*Busy/)
      expect(await app.metric(row('max_connections', 'enforce'))).toBe(1)
    }))
})

describe('connections of one neighbourhood', () => {
  const row = 'spillway_refusals_total{stage="connect",reason="net_concurrency",action="drop",mode="enforce"}'
  /** @returns how many got in */
  const crowd = async (app: TestApp, count: number): Promise<number> => {
    let greeted = 0
    for (let i = 0; i < count; i++) if ((await greeting(app, `2001:db8:7:${i}::1`)).startsWith('220')) greeted++
    return greeted
  }

  test('are half of those that others leave, however many addresses it has', () =>
    withApp({ MAX_CONNECTIONS: '220' }, async (app) => {
      expect(await crowd(app, 112)).toBe(110)
      expect(await greeting(app, '2001:db8:7:ffff::1')).toMatch(/^421 4\.7\.0 .* your network/)
      expect(await greeting(app, '192.0.2.1')).toMatch(/^220/)
      expect(await app.metric(row)).toBe(3)
    }))

  test('never lock out a client beside them that has sent good mail', () =>
    withApp({ MAX_CONNECTIONS: '220' }, async (app) => {
      const good = await greeted(app, '2001:db8:7:ffff::1')
      expect(await good.send('a@example.org', 'b@example.net')).toMatch(/^250/)
      await good.command('QUIT')
      await good.closed()
      expect(await crowd(app, 112)).toBe(110)
      expect(await greeting(app, '2001:db8:7:eeee::1')).toMatch(/^421 4\.7\.0/)
      expect(await greeting(app, '2001:db8:7:ffff::1')).toMatch(/^220/)
    }))

  test('are half of what strangers may hold, where a part is kept for friends', () =>
    withApp({ MAX_CONNECTIONS: '320', OVERLOAD: '0', ALLOW: '192.0.2.1' }, async (app) => {
      // From now on strangers have 224 places.
      expect(await greeting(app, '192.0.2.1')).toMatch(/^220/)
      expect(await crowd(app, 115)).toBe(112)
      expect(await greeting(app, '203.0.113.1')).toMatch(/^220/)
    }))

  test('are not limited for trusted clients', () =>
    withApp({ MAX_CONNECTIONS: '120', ALLOW: '2001:db8:7::/48' }, async (app) => {
      expect(await crowd(app, 120)).toBe(120)
      expect(await greeting(app, '2001:db8:7:ffff::1')).toMatch(/^421 4\.3\.2 .*Busy/)
      expect(await app.metric(row)).toBe(0)
    }))
})

describe('budgets of their own', () => {
  const TIGHT = { LIMIT_IP_MESSAGES: '1/1h', LIMIT_IP_RECIPIENTS: '1/1h', LIMIT_IP_UNKNOWN_RECIPIENTS: '1/1h' }
  test.each(['postmaster@example.net', 'Postmaster', 'ABUSE@example.net'])(
    'R10 %s gets past the limits of the sender, within a budget',
    (address) =>
      withApp(TIGHT, async (app) => {
        const client = await greeted(app)
        expect(await to(client)).toMatch(/^250/)
        expect(await to(client)).toMatch(/^450 4\.7\.28/)
        for (let i = 0; i < 20; i++) expect(await to(client, address)).toMatch(/^250/)
        expect(await to(client, address)).toMatch(/^450/)
      }),
  )

  test('R10 also as the second recipient of a message whose first was put off', () =>
    withApp({ LIMIT_IP_MESSAGES: '1/1h' }, async (app) => {
      const client = await greeted(app)
      await to(client)
      expect(await to(client)).toMatch(/^450/)
      expect(await client.command('RCPT TO:<postmaster@example.net>')).toMatch(/^250/)
      expect(await client.command('RCPT TO:<c@example.net>')).toMatch(/^450/)
    }))

  test('R10 but not past what everybody together may send', () =>
    withApp({ LIMIT_GLOBAL_MESSAGES: '2/1h', LIMIT_IP_MESSAGES: 'off' }, async (app) => {
      const client = await greeted(app)
      for (let i = 0; i < 2; i++) expect(await to(client, 'postmaster@example.net')).toMatch(/^250/)
      expect(await to(client, 'postmaster@example.net')).toMatch(/^451 4\.3\.2/)
    }))

  test('R11 a verification of somebody taken lately passes; a null sender is no class of its own', () =>
    withApp({ LIMIT_IP_MESSAGES: '1/1h' }, async (app) => {
      const client = await greeted(app)
      expect(await to(client, 'b@example.net')).toMatch(/^250/)
      for (let i = 0; i < 3; i++) expect(await to(client, 'b@example.net', '')).toMatch(/^250/)
      // Of somebody never taken it is a message like others: MAIL is taken, the recipient is 4yz.
      expect(await to(client, 'c@example.net', '')).toMatch(/^450 4\.7\.28/)
    }))
})

describe('unknown recipients', () => {
  test('a list with some dead addresses among many good ones is no harvest', () =>
    withApp({ LIMIT_IP_UNKNOWN_RECIPIENTS: '3/1h' }, async (app) => {
      const client = await greeted(app)
      await client.command('MAIL FROM:<list@example.org>')
      for (let i = 0; i < 60; i++) {
        const dead = i % 5 === 4
        expect(await client.command(`RCPT TO:<${dead ? 'no' : 'u'}${i}@example.net>`)).toMatch(dead ? /^550/ : /^250/)
      }
      expect(await client.command('DATA')).toMatch(/^354/)
    }))

  test.each([
    ['EHLO', '550 5.7.1 not with that name'],
    ['MAIL', '553 5.1.8 Sender address rejected: Domain not found'],
    ['MAIL', '550 5.1.1 no such user'],
    ['RCPT', '550 5.1.8 Sender address rejected: Domain not found'],
    ['RCPT', '550 Sender verify failed'],
  ])('R43 who is refused himself, at %s by %s, brings nobody to doubt the directory', async (at, reply) => {
    const directory = await startUpstream({
      script: (verb, line, { lines }) => {
        const his = lines.some((each) => each.includes('bad.example'))
        if (at === 'EHLO' && /^(EHLO|HELO) bad\.example$/.test(line)) return reply
        if (at !== 'EHLO' && his && verb === at) return reply
        return verb === 'RCPT' && line.includes('<no') ? '550 5.1.1 no such user' : 'default'
      },
    })
    const app = await startApp(directory.address, { LIMIT_IP_UNKNOWN_RECIPIENTS: '3/1h' })
    try {
      const honest = await app.client()
      await honest.hello()
      await honest.command('MAIL FROM:<a@example.org>')
      for (let i = 0; i < 40; i++) expect(await honest.command(`RCPT TO:<u${i}@example.net>`)).toMatch(/^250/)
      const bad = await app.client('127.0.0.66')
      await bad.hello('bad.example')
      await bad.command('MAIL FROM:<a@bad.example>')
      for (let i = 0; i < 40; i++) expect(await bad.command(`RCPT TO:<u${i}@example.net>`)).toMatch(/^55/)
      expect(await app.metric('spillway_unknown_guard_active')).toBe(0)
      // And the harvest limit has not counted him.
      expect(await app.metric(row('unknown_recipients', 'enforce'))).toBe(0)
      expect(await honest.command('RCPT TO:<nobody@example.net>')).toMatch(/^550 5\.1\.1/)
    } finally {
      await directory.stop()
      await app.stop()
    }
  })

  test.each(['on', 'off'])('R43 the directory is gone, UNKNOWN_GUARD=%s', async (guard) => {
    let broken = false
    const directory = await startUpstream({
      script: (verb) => (verb === 'RCPT' && broken ? '550 5.1.1 no such user' : 'default'),
    })
    const app = await startApp(directory.address, { UNKNOWN_GUARD: guard, LIMIT_IP_UNKNOWN_RECIPIENTS: 'off' })
    try {
      const client = await app.client()
      await client.hello()
      await client.command('MAIL FROM:<a@example.org>')
      for (let i = 0; i < 40; i++) expect(await client.command(`RCPT TO:<u${i}@example.net>`)).toMatch(/^250/)
      await client.command('RSET')
      broken = true
      await client.command('MAIL FROM:<a@example.org>')
      const replies: string[] = []
      for (let i = 0; i < 40; i++) replies.push((await client.command(`RCPT TO:<u${i}@example.net>`)).slice(0, 9))
      expect(replies.slice(0, 19)).toEqual(Array(19).fill('550 5.1.1'))
      expect(replies.slice(19)).toEqual(Array(21).fill(guard === 'on' ? '451 4.3.0' : '550 5.1.1'))
      expect(await app.metric('spillway_unknown_guard_active')).toBe(1)
      expect(await client.command('DATA')).toMatch(guard === 'on' ? /^451/ : /^554/)
      expect(await app.metric(row('unknown_guard', 'enforce'))).toBe(guard === 'on' ? 21 : 0)
    } finally {
      await directory.stop()
      await app.stop()
    }
  })
})

test('R4 hundreds of refused clients that go on talking all read their reply; the log is sampled and adds up', () =>
  withApp({ DENY: '127.0.0.8', LOG_SAMPLE: 'auto' }, async (app) => {
    const talk = `EHLO x\r\nMAIL FROM:<a@example.org>\r\n${'x'.repeat(5000)}\r\n`
    const clients = await Promise.all(
      Array.from({ length: 300 }, async () => {
        // Half-open, so that it can go on talking when it has read the end.
        const socket = connect({ port: app.port, localAddress: '127.0.0.8', allowHalfOpen: true })
        const heard = { text: '', reset: false }
        socket.on('error', () => {
          heard.reset = true
        })
        socket.on('data', (chunk) => {
          heard.text += chunk.toString()
        })
        socket.write(talk)
        await new Promise((resolve) => socket.once('end', resolve).once('close', resolve))
        socket.write(talk)
        return { socket, heard }
      }),
    )
    // A reset would be seen by now.
    await turn(app)
    for (const { socket } of clients) socket.destroy()
    expect(clients.map(({ heard: { text, reset } }) => ({ reply: text.slice(0, 9), reset }))).toEqual(
      Array(300).fill({ reply: '554 5.7.1', reset: false }),
    )
    await eventually(
      () => app.metric('spillway_connections_open{family="ipv4"}'),
      (open) => open === 0,
    )
    await app.running.stop()
    const lines = app.log().filter((line) => line.reason === 'denied')
    expect(lines.length).toBeLessThan(100)
    expect(lines.reduce((sum, line) => sum + (line.sample as number), 0)).toBe(300)
  }))
