/** Stalls last minutes by default. That they leave time for another server is shown here without the app, whose budgets are fixed. */
import { afterEach, expect, test } from '@jest/globals'
import { MAIL, RCPT, type Relays, read, startRelays } from '../relay/relays.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let relays: Relays
let servers: Upstream[] = []
afterEach(async () => {
  await relays.stop()
  await Promise.all(servers.map((server) => server.stop()))
  servers = []
})

const RCPT_MS = 800
const EXTENSIONS = ['PIPELINING', 'XCLIENT NAME ADDR']

/** Two that fall silent once they owe the reply to a client's command: the first of them that is asked. */
async function start(stalls: string, count: number, extensions = EXTENSIONS): Promise<void> {
  let stalled: unknown
  let checked = false
  servers = await Promise.all(
    Array.from({ length: count }, () =>
      startUpstream({
        extensions,
        greeting: (connection) => {
          if (stalls === 'greeting' && checked) stalled ??= connection
          if (stalled === connection) return
          connection.say('220 upstream.example')
        },
        script: (verb, line, connection) => {
          if (verb === stalls && line !== 'EHLO mx.test.example') stalled ??= connection
          return stalled === connection ? 'silence' : 'default'
        },
      }),
    ),
  )
  // As by default: a server may take longer for one reply than all of them together may.
  relays = await startRelays(servers, {
    budgets: { rcptMs: RCPT_MS },
    dial: { replyTimeoutMs: 60_000, clientIp: 'xclient', connectTimeoutMs: 300 },
  })
  checked = true
}

test.each([
  ['greeting', EXTENSIONS],
  ['EHLO', EXTENSIONS],
  ['XCLIENT', EXTENSIONS],
  ['MAIL', EXTENSIONS],
  ['MAIL', EXTENSIONS.slice(1)],
])('R41 R45 a server that stalls at its %s leaves time for another one (%j)', async (stalls, extensions) => {
  await start(stalls, 2, extensions)
  const started = performance.now()
  expect(read(await relays.client().rcpt(MAIL, RCPT))).toMatch(/^250/)
  expect(performance.now() - started).toBeLessThan(RCPT_MS)
  expect(servers.flatMap((server) => server.mailed())).toHaveLength(stalls === 'MAIL' ? 2 : 1)
})

test('R45 where there is no other one it has all the time', async () => {
  await start('MAIL', 1)
  const started = performance.now()
  expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
  expect(performance.now() - started).toBeGreaterThan(RCPT_MS - 100)
})

test('R41 R45 one that has taken MAIL has all the time for RCPT, and no other is asked', async () => {
  await start('RCPT', 2)
  const started = performance.now()
  expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
  expect(performance.now() - started).toBeGreaterThan(RCPT_MS - 100)
  expect(servers.flatMap((server) => server.mailed())).toHaveLength(1)
})
