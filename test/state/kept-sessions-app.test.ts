/** Every refusal explained afterwards: two nodes and a real Redis, which keeps what either has turned away. */
import { expect, test } from '@jest/globals'
import type {
  AddressExplained,
  Explanation,
  IdExplained,
  NetworkExplained,
  SenderExplained,
} from '../../src/admin/explain.ts'
import { digitsOfTime } from '../../src/core/id.ts'
import { BALANCER, eventually, type TestApp } from '../support/app.ts'
import { deliver, type Pair, startPair } from '../support/pair.ts'
import { run, SERVE_ENV } from '../support/program.ts'
import { stoppedAfterEach } from '../support/started.ts'

const started = stoppedAfterEach()
const IP = '203.0.113.7'
const KEY = 'a-key-of-thirty-two-characters-at-least'

const explain = async <T extends Explanation>(app: TestApp, q: string): Promise<T> =>
  JSON.parse((await app.get(`/api/v1/explain?q=${encodeURIComponent(q)}`)).body) as T
/** A message that the mail server does not want. @returns the id that the client heard */
async function refused(app: TestApp, from = 'alice@b.example', ip = IP): Promise<string> {
  const client = await app.clientAs(ip)
  await client.hello()
  await client.command(`MAIL FROM:<${from}>`)
  const told = await client.command('RCPT TO:<bob@ours.example>')
  const said = /\((\w{13})\)/.exec(`${told}`)?.[1]
  await client.command('QUIT')
  await client.closed()
  if (said === undefined) throw new Error(`no id: ${told}`)
  return said
}
/** Looks until it is found. */
const found = <T extends IdExplained | SenderExplained>(app: TestApp, q: string): Promise<T> =>
  eventually(
    () => explain<T>(app, q),
    ({ refused }) => refused.length > 0,
  )
const idAt = (at: number): string => `${digitsOfTime(at)}0000000`.slice(0, 11)
const refusing = (more: Record<string, string> = {}): Promise<Pair> =>
  startPair(started, { LIMIT_IP_MESSAGES: '1/1h', GREETING_DELAY: 'off', ...more })

test('an id of one node is explained at the other, also after the first was restarted, and so is its sender', async () => {
  const { a, b, redis, another } = await refusing()
  await deliver(a, IP)
  const id = await refused(a, 'Alice@b.example')
  const told = await found<IdExplained>(b, id)
  expect(told.verdict).toMatch(
    new RegExp(
      `^${IP} was turned away at stage rcpt with 450, because .*; the reason is ip_messages\\. .*on mx\\.test\\.example, the node with`,
    ),
  )
  expect(told).toMatchObject({
    ...{ host: 'mx.test.example', lookedIn: { redis: 'asked' }, address: { address: IP } },
    refused: [
      {
        ...{ id, ip: IP, standing: 'seen', stage: 'rcpt', reason: 'ip_messages', code: 450 },
        ...{ facts: { max: expect.any(Number) }, helo: 'client.example', from: '***@b.example' },
        rcpts: [{ to: '***@ours.example' }],
      },
    ],
  })
  await a.stop()
  const again = await another()
  expect((await found<IdExplained>(again, id)).refused).toMatchObject([{ id }])
  // The sender is found however it is written, and stands nowhere in Redis.
  for (const app of [b, again])
    expect(await found<SenderExplained>(app, '<aLICE@B.example>')).toMatchObject({
      ...{ kind: 'sender', refused: [{ id }], address: { address: IP } },
      verdict: expect.stringMatching(/^aLICE@B\.example: of its last sessions, 1 had something turned away/),
    })
  expect(await explain<SenderExplained>(again, 'mallory@b.example')).toMatchObject({ refused: [], served: [] })
  const held = await redis.call('hgetall', 'spillway:sessions:{seen}')
  expect(held).toContain(id.slice(0, 11))
  expect(held.toLowerCase()).not.toContain('alice')
  // By its source and by its network, beside the mail that it brought.
  for (const q of [IP, '203.0.112.0/23'])
    expect(await explain<AddressExplained | NetworkExplained>(again, q)).toMatchObject({
      refused: [{ id }],
      served: [{ ip: IP, messages: [{ result: 'accepted' }] }],
    })
  expect(await explain(again, '203.0.114.0/24')).toMatchObject({ refused: [], served: [] })
  for (const app of [b, again])
    expect(await app.metric('spillway_redis_commands_total{use="sessions",result="failed"}')).toBe(0)
})

test('with a key the sender is found by the HMAC that the log has, and checks in observe mode are counted', async () => {
  const { a, b, redis } = await refusing({
    ...{ LOG_HMAC_KEY: KEY, LIMIT_IP_MESSAGES: 'off', HELO: 'observe', DENY: '198.51.100.0/24', DENY_STAGE: 'rcpt' },
  })
  const client = await a.clientAs(IP)
  await client.hello('mx.test.example')
  expect(await client.send('carol@b.example', 'bob@ours.example')).toMatch(/^250/)
  await client.command('QUIT')
  const told = await eventually(
    () => explain<SenderExplained>(b, 'carol@b.example'),
    ({ served }) => served.length > 0,
  )
  expect(told).toMatchObject({
    served: [{ ip: IP, observe: ['helo'], fromHmac: expect.stringMatching(/^[0-9a-f]{16}$/) }],
    observed: [{ check: 'helo', wouldRefuse: 1, accepted: 1 }],
  })
  const hmac = told.served[0]?.fromHmac as string
  expect(a.logText()).toContain(hmac)
  expect(told.change.at(-1)).toBe(`In the log: grep ${hmac}.`)
  const members = await redis.call('zrange', 'spillway:sessions:{served}:found', '0', '-1')
  expect(members).toContain(`h${hmac} `)
  // In words.
  const port = String(b.adminPort)
  const env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${port}` }
  const { code, output } = await run(['explain', 'carol@b.example'], { env })
  expect(code).toBe(0)
  expect(output).toMatch(
    /Let in lately:\n.*at mx\.test\.example {2}203\.0\.113\.7 {2}new.*accepted, 250 .*\(observed: helo\)/,
  )
  expect(output).toContain('helo would have turned something away in 1 of these sessions; 1 of them brought mail')
})

test('a flood of bots does not push out what a known sender heard, and costs no write of its own', async () => {
  const { a, b, redis } = await refusing({ DENY: '198.18.0.0/15', EXPLAIN_SESSIONS: '100' })
  await deliver(a, IP)
  const id = await refused(a)
  const from = await redis.commands()
  for (let i = 0; i < 600; i++) {
    const client = await a.clientAs(`198.18.${i >> 4}.${i % 16}`)
    expect(await client.reply()).toMatch(/^554/)
    client.destroy()
  }
  expect(await found<IdExplained>(b, id)).toMatchObject({ refused: [{ id }] })
  const kept = async () => Number(await redis.call('hlen', 'spillway:sessions:{sampled}'))
  await eventually(kept, (count) => count > 0)
  // Of a hundred places ten are for them.
  expect(await kept()).toBeLessThanOrEqual(10)
  const now = await redis.commands()
  expect((now.hset ?? 0) - (from.hset ?? 0)).toBeLessThan(200)
  // Of each second the first ones are kept, and the next one stands for those that were not.
  const weights = async (): Promise<number[]> => {
    ;(await a.clientAs('198.19.0.1')).destroy()
    return (await explain<NetworkExplained>(b, '198.18.0.0/15')).refused.map(({ sample }) => sample ?? 1)
  }
  await eventually(weights, (all) => Math.max(...all) > 100)
})

test('while Redis is away mail goes on and the node says so; an id that nobody has is still read', async () => {
  const { a, b, redis } = await refusing()
  await deliver(a, IP)
  const id = await refused(a)
  await found<IdExplained>(b, id)
  // One that hangs holds up nobody who asks for more than a second.
  redis.freeze()
  const asked = performance.now()
  expect(await explain<IdExplained>(b, id)).toMatchObject({ refused: [], lookedIn: { redis: 'away' } })
  expect(performance.now() - asked).toBeLessThan(3000)
  redis.thaw()
  await redis.kill()
  await eventually(
    () => b.running.status().redis?.state,
    (state) => state === 'away',
  )
  const during = await refused(a, 'dave@b.example')
  expect(await deliver(a, '192.0.2.9')).toMatch(/^250/)
  expect(await explain<IdExplained>(a, during)).toMatchObject({
    refused: [{ id: during }],
    lookedIn: { redis: 'away' },
  })
  expect(await explain<SenderExplained>(a, 'DAVE@b.example')).toMatchObject({ refused: [{ id: during }] })
  const told = await explain<IdExplained>(b, id)
  expect(told).toMatchObject({ refused: [], lookedIn: { redis: 'away' }, reason: 'ip_messages' })
  expect(told.verdict).toMatch(
    /There is no record of it: Redis does not answer, .* turned away because .*; the reason is ip_messages\.$/,
  )
  // What waited is told when Redis is back.
  await redis.restart()
  expect(await found<IdExplained>(b, during)).toMatchObject({ refused: [{ id: during }] })
  // It has come back without what it held, which was more than a sample.
  const after = await explain<IdExplained>(b, id)
  expect(after).toMatchObject({ refused: [], lookedIn: { redis: 'asked' } })
  expect(after.verdict).toMatch(/Or Redis has forgotten it: it was emptied, or restarted without its data\./)
})

test('why there is no record: no Redis, none kept, too old, and not to be found', async () => {
  const { a, redis } = await refusing()
  const upstream = await started.upstream()
  const alone = await started.app(upstream.address, { PROXY_PROTOCOL_FROM: BALANCER })
  const off = await started.app(upstream.address, {
    ...{ REDIS_URL: `redis://127.0.0.1:${redis.port}`, EXPLAIN_SESSIONS: 'none' },
  })
  const recent = idAt(Date.now() - 60_000)
  const verdictOf = async (app: TestApp, id: string) => (await explain<IdExplained>(app, id)).verdict
  expect(await verdictOf(alone, recent)).toContain('without Redis (SPILLWAY_REDIS_URL)')
  expect(await verdictOf(off, recent)).toContain('SPILLWAY_EXPLAIN_SESSIONS is none')
  expect(await verdictOf(a, recent)).toContain('a sample is kept, and the oldest make room')
  for (const app of [a, alone])
    expect(await verdictOf(app, idAt(Date.now() - 8 * 86_400_000))).toContain('older than 7 days')
})
