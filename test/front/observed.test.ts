/** Checks in observe mode against what the mail server said of the same sessions: the metric, the API and `spillway observe`. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { ObservedCheck, ObserveReport } from '../../src/admin/observe.ts'
import { observe } from '../../src/cli/observe.ts'
import { load } from '../../src/config/load.ts'
import { BALANCER, eventually, startApp, type TestApp, testSources } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const words = { json: false }
const BASE = { PROXY_PROTOCOL_FROM: BALANCER, LOG_SAMPLE: '1' }
const LIMITED = { ...BASE, OBSERVE: 'ip-connections', LIMIT_IP_CONNECTIONS: '2/1h', LIMIT_NET_CONNECTIONS: '50/1h' }
/** What the mail server does in the end, by the recipient. */
const REPLIES: Readonly<Record<string, string>> = { no: '550 5.1.1 no such user', later: '451 4.3.0 try later' }
let upstream: Upstream
let app: TestApp | undefined

/** The mail server takes so long over the message of a client that is to leave before. */
let slow = Promise.resolve()

beforeAll(async () => {
  upstream = await startUpstream({
    script: (verb, line, { lines }) => {
      if (verb === 'DOT' && lines.some((each) => each.includes('<slow@'))) return slow.then(() => '250 2.0.0 queued')
      return (verb === 'RCPT' && REPLIES[/<(\w+)@/.exec(line)?.[1] ?? '']) || 'default'
    },
  })
})
afterAll(() => upstream.stop())
afterEach(async () => {
  await app?.stop()
  app = undefined
})

async function begin(settings: Record<string, string>): Promise<TestApp> {
  app = await startApp(upstream.address, settings)
  return app
}

/** A whole session. @param to before the @; undefined: it leaves after EHLO */
async function session(from: TestApp, ip: string, to?: string, helo = 'client.example'): Promise<Client> {
  const client = await from.clientAs(ip)
  await client.hello(helo)
  if (to !== undefined) await client.send('a@example.org', `${to}@example.net`)
  await client.command('QUIT')
  return client
}

const report = async (of: TestApp): Promise<ObserveReport> =>
  JSON.parse((await of.get('/api/v1/observe')).body) as ObserveReport
const reported = (of: TestApp, check: string, sessions: number): Promise<ObservedCheck> =>
  eventually(
    async () => (await report(of)).checks.find((each) => each.check === check) as ObservedCheck,
    (each) => each?.sessions === sessions,
  )
const verb = (of: TestApp, ...args: string[]) =>
  observe(load(testSources('127.0.0.1:1', { ADMIN_LISTEN: `127.0.0.1:${of.adminPort}` })), args, words)
const heard = (check: string, what: string, standing: string): string =>
  `spillway_observe_would_refuse_total{check="${check}",heard="${what}",standing="${standing}"}`

describe('an observed limit', () => {
  test('is set against what the mail server said, and a value is suggested that fits whoever is seen', async () => {
    const of = await begin(LIMITED)
    for (let i = 0; i < 5; i++) await session(of, '203.0.113.7', 'b', 'mail.example.org')
    for (let i = 0; i < 4; i++) await session(of, '203.0.113.8', 'no')
    for (let i = 0; i < 3; i++) await session(of, '203.0.113.9', 'later')
    for (let i = 0; i < 3; i++) await session(of, '203.0.113.10')
    // The third and later ones of each.
    const { senders, ...told } = await reported(of, 'ip-connections', 7)
    expect(told).toEqual({
      ...{ check: 'ip-connections', observing: true, sessions: 7, moreSenders: false, falsePositives: 0.6 },
      heard: { accepted: 3, refused: 2, none: 2 },
      standings: { accepted: { seen: 3 }, refused: { new: 1, suspect: 1 }, none: { new: 2 } },
      peaks: [{ used: 5, max: 2, source: '203.0.113.7', standing: 'seen', suggested: '7/1h' }],
      setting: { name: 'SPILLWAY_LIMIT_IP_CONNECTIONS', now: '2/1h', suggested: '7/1h' },
    })
    expect(senders).toMatchObject([{ source: '203.0.113.7', standing: 'seen', helo: 'mail.example.org', sessions: 3 }])
    expect(await of.metric(heard('ip-connections', 'accepted', 'seen'))).toBe(3)
    expect(await of.metric(heard('ip-connections', 'none', 'new'))).toBe(2)

    const { output, code } = await verb(of, 'ip-connections')
    expect(code).toBe(0)
    for (const line of [
      'ip-connections: it would have refused 7 sessions since 20',
      '  The mail servers accepted mail of 3, refused 2, and said nothing of 2.\n',
      '  False positives: 60 % of the sessions that the mail servers judged.\n',
      '  It would have put off this honest sender, as far as the mail servers tell:\n',
      '    203.0.113.7 (seen, HELO "mail.example.org"): 3 sessions, the last one 20',
      '  The most that a seen sender used is 5, where it may use 2: 203.0.113.7. SPILLWAY_LIMIT_IP_CONNECTIONS=7/1h would',
      '  It is SPILLWAY_LIMIT_IP_CONNECTIONS=2/1h now.\n',
    ])
      expect(output).toContain(line)

    // The suggested value does what is said of it, enforced.
    await of.reload({ ...LIMITED, OBSERVE: 'none', LIMIT_IP_CONNECTIONS: '7/1h' })
    await session(of, '203.0.113.7', 'b')
    expect((await verb(of, 'ip-connections')).output).toMatch(
      /^ip-connections is not in observe mode\. .*\nip-connections, which is not in observe mode now: it would have refused 7 /,
    )
  })

  test('counts what is accepted after the client has left', async () => {
    const of = await begin({ ...BASE, OBSERVE: 'recipients', LIMIT_RECIPIENTS_PER_MESSAGE: '1' })
    const { promise, resolve } = Promise.withResolvers<void>()
    slow = promise
    const client = await of.clientAs('203.0.113.7')
    await client.hello()
    for (const line of ['MAIL FROM:<a@a.example>', 'RCPT TO:<slow@b.example>', 'RCPT TO:<c@b.example>', 'DATA'])
      expect(await client.command(line)).toMatch(/^[23]/)
    client.write('Subject: test\r\n\r\nhello\r\n.\r\n')
    await eventually(
      () => upstream.bodies().length,
      (count) => count > 0,
    )
    client.resetConnection()
    await eventually(
      () => of.metric('spillway_connections_open{family="ipv4"}'),
      (open) => open === 0,
    )
    expect((await report(of)).checks.find(({ check }) => check === 'recipients')?.sessions).toBe(0)
    resolve()
    expect((await reported(of, 'recipients', 1)).heard).toEqual({ accepted: 1, refused: 0, none: 0 })
  })
})

describe('as shipped', () => {
  let of: TestApp
  beforeEach(async () => {
    of = await begin(BASE)
  })

  test('an honest sender is put off by nothing that is observed, and the tests of how clients talk are listed', async () => {
    await session(of, '203.0.113.7', 'b')
    await of.waitForLog(({ outcome }) => outcome === 'relayed')
    const { checks } = await report(of)
    expect(checks.map(({ check, sessions, observing }) => [check, sessions, observing])).toEqual(
      ['tongue', 'pregreet', 'pipelining', 'command-newline', 'helo'].map((check) => [check, 0, true]),
    )
    expect((await verb(of, 'helo')).output).toMatch(/^helo: it would have refused nobody since 20[^\n]*Z\.\n$/)
  })

  test('what a stranger calls himself is clipped and escaped', async () => {
    const evil = `"b\u00fccher${'\u009b31m\u202e'.repeat(12)}`
    // The client writes Latin-1, and says UTF-8 by it.
    await session(of, '203.0.113.7', 'b', Buffer.from(evil).toString('latin1'))
    const { senders } = await reported(of, 'helo', 1)
    expect(senders[0]?.helo).toBe(evil)
    const { output } = await verb(of)
    expect(output).toContain('(new, HELO "\\"b\u00fccher\\u009b31m\\u202e')
    expect(output).not.toMatch(/[^\n\P{C}]/u)
  })

  test.each([
    ['denied', 0, /^denied is not in observe mode\. Name it in SPILLWAY_OBSERVE, .*\n$/],
    ['nonsense', 64, /^There is no check nonsense: denied, banned, /],
  ])('%s', async (check, code, said) => {
    expect(await verb(of, check)).toEqual({ code, output: expect.stringMatching(said) })
  })

  test('without a check in observe mode it says so', async () => {
    const off = Object.fromEntries(
      ['TONGUE', 'PREGREET', 'PIPELINING', 'COMMAND_NEWLINE', 'HELO'].map((n) => [n, 'off']),
    )
    await of.reload({ ...BASE, ...off })
    expect((await verb(of)).output).toMatch(/^No check is in observe mode\. Name some in SPILLWAY_OBSERVE/)
  })
})
