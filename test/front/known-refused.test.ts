/** Known senders that Spillway itself refuses, and what the operator hears of it: a real node, from the first good message on. */
import { expect, test } from '@jest/globals'
import type { Verdict } from '../../src/admin/evidence.ts'
import type { Status } from '../../src/admin/status.ts'
import { eventually, type TestApp } from '../support/app.ts'
import { stoppedAfterEach } from '../support/started.ts'

const started = stoppedAfterEach()
const KNOWN = { KNOWN_AFTER: '1', KNOWN_DAYS: '1', LIMIT_IP_MESSAGES: '1000/1m' }

async function known(): Promise<TestApp> {
  const server = await started.upstream()
  const app = await started.app(server.address, KNOWN)
  const client = await app.client()
  await client.hello()
  expect(await client.send('a@sender.example', 'anna@example.test', 'Subject: x\r\n\r\nx\r\n')).toMatch(/^250/)
  client.end()
  await eventually(
    () => app.running.status().clients.known,
    (count) => count === 1,
  )
  return app
}
const asked = async (app: TestApp) =>
  JSON.parse((await app.get('/api/v1/status')).body) as Status & { readonly verdict: Verdict }
const refusedOnce = async (app: TestApp, code: RegExp, to?: string): Promise<void> => {
  const client = await app.client()
  if (to === undefined) expect(await client.reply()).toMatch(code)
  else {
    await client.hello()
    await client.command('MAIL FROM:<a@sender.example>')
    expect(await client.command(`RCPT TO:<${to}>`)).toMatch(code)
  }
  client.end()
}
const counted = (app: TestApp, reason: string): Promise<number | undefined> =>
  app.metric(`spillway_known_refused_total{reason="${reason}",result="for_good"}`)

test('the deny list, the domains and a ban of the operator: the verdict names what governs it, and who', async () => {
  const app = await known()
  const cases: [string, string, () => Promise<void>, RegExp, string | undefined][] = [
    [
      'rcpt_domain',
      'SPILLWAY_RCPT_DOMAINS',
      async () => void (await app.reload({ ...KNOWN, RCPT_DOMAINS: 'other.test' })),
      /^550/,
      'anna@example.test',
    ],
    [
      'denied',
      'SPILLWAY_DENY',
      async () => void (await app.reload({ ...KNOWN, DENY: '127.0.0.0/8' })),
      /^554/,
      undefined,
    ],
    [
      'banned',
      'a ban of the operator (spillway bans)',
      async () => {
        await app.reload(KNOWN)
        expect('mistake' in app.running.bans.add({ network: '127.0.0.1' })).toBe(false)
      },
      /^554/,
      undefined,
    ],
  ]
  for (const [i, [reason, governs, begin, code, to]] of cases.entries()) {
    await begin()
    for (let n = 0; n < 3 + i; n++) await refusedOnce(app, code, to)
    await eventually(
      () => counted(app, reason),
      (count) => count === 3 + i,
    )
    const { verdict, traffic } = await asked(app)
    expect(traffic?.knownRefused[0]).toEqual({
      reason,
      result: 'for_good',
      lastTenMinutes: 3 + i,
      lastHour: 3 + i,
      latest: '127.0.0.1',
    })
    expect(verdict.text).toContain(
      `Known senders are refused for good by ${governs}: ${3 + i} sessions in the last hour`,
    )
    expect(verdict).toMatchObject({ severity: 'warn', do: `look at ${governs}, and spillway explain 127.0.0.1` })
  }
})

test('what the mail servers refuse, and what strangers hear, is not counted', async () => {
  const server = await started.upstream({ script: (verb) => (verb === 'RCPT' ? '550 5.7.1 no' : 'default') })
  const app = await started.app(server.address, { ...KNOWN, ALLOW: '127.0.0.1' })
  await refusedOnce(app, /^550/, 'nobody@example.test')
  await eventually(
    () => app.metric('spillway_sessions_total{outcome="rejected",standing="trusted"}'),
    (count) => count === 1,
  )
  const strangers = await started.app(server.address, { ...KNOWN, DENY: '127.0.0.1' })
  await refusedOnce(strangers, /^554/)
  await eventually(
    () => strangers.metric('spillway_sessions_total{outcome="rejected",standing="new"}'),
    (count) => count === 1,
  )
  for (const each of [app, strangers]) expect((await asked(each)).traffic?.knownRefused).toEqual([])
})
