/** What honest and other mail makes of a client, on the wire: the clock is ours, the mail server says what the test wants. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { AS_OPERATOR, BALANCER, eventually, type TestApp, WITH_TOKEN } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { stoppedAfterEach } from '../support/started.ts'
import type { Script } from '../support/upstream.ts'

const DAY = 86_400_000
const IP = '198.51.100.7'
const started = stoppedAfterEach()
let now = Date.now()
beforeEach(() => {
  now = Date.now()
  jest.spyOn(Date, 'now').mockImplementation(() => now)
})
afterEach(() => {
  jest.restoreAllMocks()
})

async function begin(script?: Script, settings: Record<string, string> = {}): Promise<TestApp> {
  const upstream = await started.upstream(script === undefined ? {} : { script })
  return started.app(upstream.address, { ...WITH_TOKEN, PROXY_PROTOCOL_FROM: BALANCER, LOG_SAMPLE: '1', ...settings })
}

async function open(app: TestApp, ip = IP): Promise<Client> {
  const client = await app.clientAs(ip)
  await client.hello()
  return client
}
async function quit(client: Client): Promise<void> {
  await client.command('QUIT')
  await client.closed()
}
async function say(app: TestApp, lines: readonly string[], ip = IP): Promise<string[]> {
  const client = await open(app, ip)
  const replies: string[] = []
  for (const line of lines) replies.push(await client.command(line))
  await quit(client)
  return replies
}
async function deliver(app: TestApp, ip = IP): Promise<string> {
  const client = await open(app, ip)
  const reply = await client.send('a@example.org', 'b@example.net')
  await quit(client)
  return reply
}
let probes = 0
/** The standing that the next session has, as the log says it. All sessions that ended before have taught by then. */
async function standingNow(app: TestApp, ip = IP): Promise<unknown> {
  await eventually(
    () => app.running.status().connectionsOpen,
    (open) => open === 0,
  )
  const name = `probe${++probes}.example`
  const client = await app.clientAs(ip)
  await client.reply()
  await client.command(`HELO ${name}`)
  await quit(client)
  return (await app.waitForLog(({ helo }) => helo === name)).standing
}
const MAIL = 'MAIL FROM:<a@example.org>'
const rcpt = (user: string) => `RCPT TO:<${user}@example.net>`

test('three messages over two days make a friend, as the log, the metrics and the status say', async () => {
  const app = await begin()
  expect(await standingNow(app)).toBe('new')
  for (let i = 0; i < 5; i++) expect(await deliver(app)).toMatch(/^250/)
  expect(await standingNow(app)).toBe('seen')
  expect(await app.metric('spillway_known_clients')).toBe(0)
  now += DAY
  await deliver(app)
  expect(await standingNow(app)).toBe('known')
  expect(await app.metric('spillway_known_clients')).toBe(1)
  expect(await app.metric('spillway_standing_clients{standing="known"}')).toBe(1)
  expect(JSON.parse((await app.get('/api/v1/status')).body)).toMatchObject({
    clients: { known: 1, seen: 0, suspect: 0, new: 0 },
  })
  await deliver(app)
  expect(await app.metric('spillway_messages_total{result="accepted",standing="known"}')).toBe(1)
  // KNOWN_AFTER holds from now on.
  await app.reload({ PROXY_PROTOCOL_FROM: BALANCER, LOG_SAMPLE: '1', KNOWN_AFTER: '8' })
  expect(await standingNow(app)).toBe('seen')
})

test('a friend that turns bad is none after six refused messages, within the same hour', async () => {
  let isSpam = false
  const app = await begin((verb) => (verb === 'DOT' && isSpam ? '554 5.7.1 spam' : 'default'), { KNOWN_DAYS: '1' })
  for (let i = 0; i < 30; i++) await deliver(app)
  expect(await standingNow(app)).toBe('known')
  isSpam = true
  for (let i = 0; i < 5; i++) expect(await deliver(app)).toMatch(/^554 5\.7\.1/)
  expect(await standingNow(app)).toBe('known')
  await deliver(app)
  expect(await standingNow(app)).toBe('seen')
})

test('mail that is accepted as junk is bad where HISTORY_BAD_REPLY says so, and is delivered all the same', async () => {
  const app = await begin((verb) => (verb === 'DOT' ? '250 2.0.0 Ok: queued (junk)' : 'default'), {
    HISTORY_BAD_REPLY: '\\(junk\\)',
  })
  for (let i = 0; i < 2; i++) expect(await deliver(app)).toMatch(/^250 2\.0\.0 Ok: queued/)
  expect(await standingNow(app)).toBe('suspect')
  expect(await app.ofAnybody('spillway_messages_total', 'result="accepted"')).toBe(2)
})

const unknown: Script = (verb) => (verb === 'RCPT' ? '550 5.1.1 User unknown' : 'default')
const taught = (app: TestApp) => app.running.status().clients

describe('what teaches nothing', () => {
  test.each<[string, Script, readonly string[]]>([
    ['a callout', unknown, ['MAIL FROM:<>', rcpt('nobody')]],
    ['greylisting', (verb) => (verb === 'RCPT' ? '450 4.7.1 Greylisted' : 'default'), [MAIL, rcpt('a'), rcpt('b')]],
    [
      'mailboxes that are full',
      (verb) => (verb === 'RCPT' ? '552 5.2.2 Full' : 'default'),
      [MAIL, rcpt('a'), rcpt('b')],
    ],
    ['postmaster and abuse, unknown', unknown, [MAIL, 'RCPT TO:<postmaster@example.net>', rcpt('abuse')]],
    ['a recipient that is taken, and no message', () => 'default', [MAIL, rcpt('a'), 'RSET']],
    ['a refusal of ours', () => 'default', [`${MAIL} SIZE=999999999`]],
  ])('%s', async (_, script, lines) => {
    const app = await begin(script)
    await say(app, lines)
    await standingNow(app)
    expect(taught(app)).toEqual({ known: 0, seen: 0, suspect: 0, new: 0 })
  })

  test.each(['on', 'off'])('unknown recipients while the directory has failed, UNKNOWN_GUARD=%s', async (guard) => {
    let isWell = true
    const app = await begin((verb) => (verb === 'RCPT' && !isWell ? '550 5.1.1 User unknown' : 'default'), {
      UNKNOWN_GUARD: guard,
      LIMIT_IP_UNKNOWN_RECIPIENTS: 'off',
    })
    const users = Array.from({ length: 40 }, (_, i) => rcpt(`user${i}`))
    await say(app, [MAIL, ...users], '192.0.2.1')
    isWell = false
    await say(app, [MAIL, ...users], '192.0.2.1')
    await standingNow(app)
    const before = taught(app)
    const replies = await say(app, [MAIL, rcpt('user1'), rcpt('user2')])
    expect(replies[1]).toMatch(guard === 'on' ? /^451/ : /^550/)
    await standingNow(app)
    expect(taught(app)).toEqual(before)
  })
})

describe('what is bad', () => {
  test.each<[string, Script, readonly string[]]>([
    ['unknown recipients', unknown, [MAIL, rcpt('a'), rcpt('b')]],
    [
      'backscatter to several of them',
      unknown,
      ['MAIL FROM:<>', rcpt('a'), rcpt('b'), 'RSET', 'MAIL FROM:<>', rcpt('c')],
    ],
    [
      'a client that the cluster refuses',
      (verb) => (verb === 'MAIL' ? '554 5.7.1 Blocked' : 'default'),
      [MAIL, rcpt('a'), 'RSET', MAIL, rcpt('a')],
    ],
  ])('%s', async (_, script, lines) => {
    const app = await begin(script)
    await say(app, lines)
    await eventually(
      () => taught(app).suspect,
      (count) => count === 1,
    )
    expect(await standingNow(app)).toBe('suspect')
  })

  test('the breach of the protocol, once a session', async () => {
    const app = await begin(undefined, { TONGUE: 'defer' })
    for (let i = 0; i < 2; i++) {
      const client = await app.clientAs(IP)
      await client.reply()
      client.write('GET / HTTP/1.1\r\nHost: example.org\r\n\r\n')
      await client.closed()
    }
    await eventually(
      () => taught(app).suspect,
      (count) => count === 1,
    )
  })
})

test('a bad recipient counts in its own transaction, and not in the next ones of the session', async () => {
  const app = await begin(
    (verb, line) => (verb === 'RCPT' && line.includes('nobody') ? '550 5.1.1 User unknown' : 'default'),
    { KNOWN_DAYS: '1' },
  )
  const client = await open(app)
  for (const line of [MAIL, rcpt('nobody'), 'RSET']) await client.command(line)
  for (let i = 0; i < 5; i++) expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  await quit(client)
  // Five good messages to one bad.
  expect(await standingNow(app)).toBe('known')
})

test('a letter to postmaster buys nobody a standing: it is let in at every level', async () => {
  const app = await begin(undefined, { OVERLOAD: '3' })
  const toPostmaster = async () => {
    const client = await open(app)
    const reply = await client.send('a@example.org', 'postmaster@example.net')
    await quit(client)
    return reply
  }
  for (let i = 0; i < 3; i++) expect(await toPostmaster()).toMatch(/^250/)
  expect(await standingNow(app)).toBe('new')
})

test('a known client keeps its standing when strangers make it write to users who do not exist', async () => {
  const app = await begin(
    (verb, line) => (verb === 'RCPT' && line.includes('nobody') ? '550 5.1.1 User unknown' : 'default'),
    { KNOWN_DAYS: '1', TONGUE: 'defer' },
  )
  for (let i = 0; i < 5; i++) await deliver(app)
  expect(await standingNow(app)).toBe('known')
  for (let i = 0; i < 19; i++) await say(app, [MAIL, rcpt(`nobody${i}`)])
  for (let i = 0; i < 3; i++) {
    const client = await app.clientAs(IP)
    await client.reply()
    client.write('GET / HTTP/1.1\r\nHost: example.org\r\n\r\n')
    await client.closed()
  }
  expect(await standingNow(app)).toBe('known')
})

test('a list server that hears 451 and RSETs until it is sent away has done nothing bad', async () => {
  const app = await begin(undefined, { OVERLOAD: '3' })
  for (let session = 0; session < 2; session++) {
    const client = await open(app)
    let last = ''
    for (let i = 0; i < 120 && !last.startsWith('421'); i++) {
      await client.command(MAIL)
      await client.command(rcpt(`user${i}`))
      last = await client.command('RSET')
    }
    expect(last).toMatch(/^421/)
    await client.closed()
  }
  expect(await standingNow(app)).toBe('new')
})

test('who is on the allow list is trusted, whatever it has done', async () => {
  const app = await begin(unknown, { ALLOW: IP })
  await say(app, [MAIL, rcpt('a'), rcpt('b')])
  expect(await standingNow(app)).toBe('trusted')
})

describe('feedback', () => {
  async function tell(app: TestApp, feedback: Record<string, string>) {
    const url = `http://127.0.0.1:${app.adminPort}/api/v1/feedback`
    const response = await fetch(url, { method: 'POST', headers: AS_OPERATOR, body: JSON.stringify(feedback) })
    const text = await response.text()
    return { code: response.status, ...(response.ok ? JSON.parse(text) : { text }) }
  }
  let sent = 0
  const numbered: Script = (verb) => (verb === 'DOT' ? `250 2.0.0 Ok: queued as 4XyZ${++sent}` : 'default')

  test('by the id that the mail server named: the client of that message, once', async () => {
    sent = 0
    const app = await begin(numbered)
    for (let i = 0; i < 2; i++) expect(await deliver(app)).toMatch(/^250/)
    expect(await deliver(app, '198.51.100.8')).toMatch(/queued as 4XyZ3$/)
    const spam = (id: string) => tell(app, { queue_id: id, verdict: 'spam' })
    const seen = { code: 200, source: IP, standing: 'seen' }
    expect(await spam('4XyZ1')).toEqual({ ...seen, learnt: true })
    expect(await spam('4XyZ1')).toEqual({ ...seen, learnt: false })
    expect(await spam('4XyZ2')).toEqual({ ...seen, standing: 'suspect', learnt: true })
    expect(await standingNow(app)).toBe('suspect')
    expect(await standingNow(app, '198.51.100.8')).toBe('seen')
    expect(await tell(app, { queue_id: '4XyZ2', verdict: 'ham' })).toEqual({ ...seen, learnt: true })
    expect((await spam('4XyZ9')).code).toBe(404)
    const line = await app.waitForLog(({ msg }) => msg === 'feedback')
    expect(line).toMatchObject({ queueId: '4XyZ1', verdict: 'spam', source: IP, standing: 'seen', learnt: true })
  })

  test('a message that its reply called bad can be called ham', async () => {
    const junk: Script = (verb) => (verb === 'DOT' ? '250 2.0.0 Ok: queued as JUNK1 (junk)' : 'default')
    const app = await begin(junk, { HISTORY_BAD_REPLY: '\\(junk\\)' })
    await deliver(app)
    const ham = { queue_id: 'JUNK1', verdict: 'ham' }
    expect(await tell(app, ham)).toMatchObject({ standing: 'seen', learnt: true })
    expect(await tell(app, ham)).toMatchObject({ learnt: false })
  })

  test('mail for postmaster counts nothing, and is bad where it is called spam', async () => {
    sent = 0
    const app = await begin(numbered)
    const client = await open(app)
    for (let i = 0; i < 2; i++) expect(await client.send('a@example.org', 'postmaster@example.net')).toMatch(/^250/)
    await quit(client)
    const told = { code: 200, source: IP, standing: 'new' }
    expect(await tell(app, { queue_id: '4XyZ1', verdict: 'ham' })).toEqual({ ...told, learnt: false })
    expect(await tell(app, { queue_id: '4XyZ1', verdict: 'spam' })).toEqual({ ...told, learnt: true })
    expect(await tell(app, { queue_id: '4XyZ2', verdict: 'spam' })).toEqual({
      ...told,
      standing: 'suspect',
      learnt: true,
    })
  })

  test('by address; a trusted client stays what it is', async () => {
    const app = await begin(undefined, { ALLOW: '198.51.100.9' })
    const spam = (address: string) => tell(app, { address, verdict: 'spam' })
    expect(await spam(IP)).toMatchObject({ standing: 'new', learnt: true })
    expect(await spam(IP)).toMatchObject({ standing: 'suspect', learnt: true })
    expect(await standingNow(app)).toBe('suspect')
    expect(await spam('2001:db8:1:2::3')).toMatchObject({ source: '2001:db8:1:2::/64', learnt: true })
    for (let i = 0; i < 3; i++) {
      expect(await spam('198.51.100.9')).toEqual({
        ...{ code: 200, source: '198.51.100.9', standing: 'trusted', learnt: false },
      })
    }
    await app.reload({ PROXY_PROTOCOL_FROM: BALANCER })
    expect(await standingNow(app, '198.51.100.9')).toBe('new')
  })
})
