/** Networks that carry everybody's mail: what they hear, what is learnt of them, and how much they may take. */
import { describe, expect, test } from '@jest/globals'
import { AS_OPERATOR, BALANCER, type TestApp, WITH_TOKEN } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { stoppedAfterEach } from '../support/started.ts'
import type { Script } from '../support/upstream.ts'

const RELAY = '198.51.100.7'
const ANOTHER = '203.0.113.9'
const STRANGER = '192.0.2.1'
const RELAYS = { RELAYS: '198.51.100.0/24,203.0.113.9' }
const started = stoppedAfterEach()

async function begin(settings: Record<string, string> = RELAYS, script?: Script): Promise<TestApp> {
  const upstream = await started.upstream(script === undefined ? {} : { script })
  return started.app(upstream.address, { PROXY_PROTOCOL_FROM: BALANCER, LOG_SAMPLE: '1', ...settings })
}
async function open(app: TestApp, ip = RELAY): Promise<Client> {
  const client = await app.clientAs(ip)
  await client.hello()
  return client
}
async function deliver(app: TestApp, ip = RELAY): Promise<string> {
  const client = await open(app, ip)
  const reply = await client.send('a@example.org', 'b@example.net')
  await client.command('QUIT')
  await client.closed()
  return reply
}
/** The last reply to these lines. */
async function says(app: TestApp, ip: string, lines: readonly string[]): Promise<string> {
  const client = await open(app, ip)
  let reply = ''
  for (const line of lines) reply = await client.command(line)
  client.destroy()
  return reply
}
const MAIL = 'MAIL FROM:<a@example.org>'
const RCPT = 'RCPT TO:<b@example.net>'

describe('nothing is refused for good', () => {
  test.each<[string, Record<string, string>, readonly string[], RegExp, RegExp]>([
    ['a recipient elsewhere', { RCPT_DOMAINS: 'example.com' }, [MAIL, RCPT], /^550 5\.7\.1/, /^451 4\.7\.1/],
    ['a size at MAIL', { MESSAGE_MAX_SIZE: '100KB' }, [`${MAIL} SIZE=200000`], /^552 5\.3\.4/, /^451 4\.3\.4/],
    [
      'a size at the dot',
      { MESSAGE_MAX_SIZE: '1KB' },
      [MAIL, RCPT, 'DATA', `${'x'.repeat(900)}\r\n${'x'.repeat(900)}\r\n.`],
      /^552 5\.3\.4/,
      /^451 4\.3\.4/,
    ],
    ['a bare newline', { BARE_NEWLINE: 'reject' }, [MAIL, RCPT, 'DATA', 'a\nb\r\n.'], /^550 5\.5\.2/, /^451 4\.5\.2/],
    ['a line that is too long', {}, [`NOOP ${'x'.repeat(5000)}`], /^500 5\.5\.2/, /^451 4\.5\.2/],
  ])('for %s: others hear 5yz, relays 451', async (_, settings, lines, others, relays) => {
    const app = await begin({ ...RELAYS, ...settings })
    expect(await says(app, STRANGER, lines)).toMatch(others)
    expect(await says(app, RELAY, lines)).toMatch(relays)
    const line = await app.waitForLog(({ ip, reason }) => ip === RELAY && reason !== undefined)
    expect(line).toMatchObject({ relay: true, standing: 'seen', code: 451, outcome: 'shed' })
    const { body } = await app.get('/metrics')
    const counted = body.match(/^spillway_refusals_total\{.*action="(?:defer|reject)",mode="enforce"\} [1-9]/gm) ?? []
    expect(counted.map((row) => /action="(\w+)"/.exec(row)?.[1]).sort()).toEqual(['defer', 'reject'])
    expect(body).not.toMatch(/^spillway_messages_total\{result="rejected",standing="seen"\} [1-9]/m)
  })

  test('the list of relays wins over the deny list, and the allow list over both', async () => {
    const lists = { RELAYS: '198.51.100.0/24', DENY: '198.51.100.0/24,192.0.2.1', ALLOW: '198.51.100.8' }
    const app = await begin({ ...lists, RCPT_DOMAINS: 'example.com' })
    expect(await (await app.clientAs(STRANGER)).reply()).toMatch(/^554/)
    expect(await says(app, RELAY, [MAIL, RCPT])).toMatch(/^451/)
    expect(await says(app, '198.51.100.8', [MAIL, RCPT])).toMatch(/^250/)
    expect(await app.waitForLog(({ standing }) => standing === 'trusted')).not.toHaveProperty('relay')
    // Without the list it is a client like any other, at its next connection.
    await app.reload({ PROXY_PROTOCOL_FROM: BALANCER, DENY: '198.51.100.0/24' })
    expect(await (await app.clientAs(RELAY)).reply()).toMatch(/^554/)
  })

  test('what a mail server says, they hear as it is', async () => {
    const app = await begin(RELAYS, (verb) => (verb === 'RCPT' ? '550 5.1.1 User unknown' : 'default'))
    expect(await says(app, RELAY, [MAIL, RCPT])).toMatch(/^550 5\.1\.1/)
  })
})

test('no history is kept of them, of good mail or of bad, nor by feedback', async () => {
  let isGood = true
  const app = await begin({ ...RELAYS, ...WITH_TOKEN }, (verb) =>
    verb === 'DOT' && !isGood ? '554 5.7.1 spam' : 'default',
  )
  for (let i = 0; i < 2; i++) expect(await deliver(app)).toMatch(/^250/)
  expect(await deliver(app, STRANGER)).toMatch(/^250/)
  isGood = false
  for (let i = 0; i < 4; i++) expect(await deliver(app)).toMatch(/^554/)
  const url = `http://127.0.0.1:${app.adminPort}/api/v1/feedback`
  const body = JSON.stringify({ address: RELAY, verdict: 'spam' })
  for (let i = 0; i < 3; i++) {
    const report = await (await fetch(url, { method: 'POST', headers: AS_OPERATOR, body })).json()
    expect(report).toEqual({ source: RELAY, standing: 'seen', learnt: false })
  }
  expect(app.running.status().clients).toEqual({ new: 0, suspect: 0, seen: 1, known: 0 })
})

describe('what they may take', () => {
  test('no limit per address or network is theirs; what all clients share is', async () => {
    const one = { LIMIT_IP_MESSAGES: '1/1h', LIMIT_IP_CONNECTIONS: '2/1h', LIMIT_NET_CONNECTIONS: '2/1h' }
    const more = { LIMIT_IP_RECIPIENTS: '1/1h', LIMIT_GLOBAL_MESSAGES: '5/1h', LIMIT_IP_CONCURRENCY: '1' }
    const app = await begin({ ...RELAYS, ...one, ...more })
    const held = await open(app)
    for (let i = 0; i < 4; i++) expect(await deliver(app)).toMatch(/^250/)
    held.destroy()
    expect(await deliver(app, STRANGER)).toMatch(/^250/)
    expect(await says(app, RELAY, [MAIL, RCPT])).toMatch(/^451 4\.3\.2/)
  })

  test('all together have half of the connections open that others leave', async () => {
    const app = await begin({
      ...RELAYS,
      MAX_CONNECTIONS: '222',
      LIMIT_IP_CONCURRENCY: '1',
      OVERLOAD_KNOWN_RESERVE: '0',
    })
    const replies = async (ip: string) => (await app.clientAs(ip)).reply()
    for (let i = 0; i < 2; i++) expect(await replies(`192.0.2.${i + 1}`)).toMatch(/^220/)
    for (let i = 0; i < 110; i++) expect(await replies(i % 2 === 0 ? RELAY : ANOTHER)).toMatch(/^220/)
    for (const ip of [RELAY, ANOTHER]) expect(await replies(ip)).toMatch(/^421 4\.7\.0/)
    for (let i = 0; i < 4; i++) expect(await replies(`203.0.${i}.1`)).toMatch(/^220/)
    const line = await app.waitForLog(({ reason }) => reason === 'net_concurrency')
    expect(line).toMatchObject({ relay: true, limit: { used: 111, max: 110 } })
  })

  test('at level 4 they are greeted, and put off at RCPT as those that are seen', async () => {
    const app = await begin({ ...RELAYS, OVERLOAD: '4' })
    expect(await (await app.clientAs(STRANGER)).reply()).toMatch(/^421 4\.3\.2/)
    const heard: string[] = []
    for (let i = 0; i < 12; i++) heard.push((await says(app, RELAY, [MAIL, RCPT])).slice(0, 3))
    for (const code of heard) expect(['250', '451']).toContain(code)
    await app.reload({ PROXY_PROTOCOL_FROM: BALANCER, ...RELAYS, OVERLOAD: '3' })
    for (let i = 0; i < 12; i++) expect(await says(app, RELAY, [MAIL, RCPT])).toMatch(/^250/)
  })
})
