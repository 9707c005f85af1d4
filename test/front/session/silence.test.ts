/** Silence for too long; Spillway being stopped is stopping.test.ts. */
import { afterEach, describe, expect, test } from '@jest/globals'
import { startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})
/** Timeouts no operator may set, in milliseconds. */
async function begin(
  times: { idleTimeout: number },
  script?: Upstream['script'],
): Promise<{ app: TestApp; upstream: Upstream }> {
  const upstream = await startUpstream(script === undefined ? {} : { script })
  const app = await startApp(upstream.address, {}, (settings) => ({ ...settings, ...times }))
  ends.push(
    () => app.stop(),
    () => upstream.stop(),
  )
  return { app, upstream }
}
const IDLE = /^421 4\.4\.2 mx\.test\.example \[127\.0\.0\.1\] .*\([0-9A-Z]{13}\)$/
const row = (stage: string, reason: string): string =>
  `spillway_refusals_total{stage="${stage}",reason="${reason}",action="drop",mode="enforce"}`

describe('silence', () => {
  test('R2 R34 behind the greeting: 421 4.4.2, then the close', async () => {
    const { app } = await begin({ idleTimeout: 150 })
    const client = await app.client()
    expect(await client.reply()).toMatch(/^220/)
    expect(await client.reply()).toMatch(IDLE)
    expect(await client.closed()).toBe('')
    expect(client.wasReset).toBe(false)
    expect(await app.metric(row('connect', 'idle'))).toBe(1)
    expect(await app.ofAnybody('spillway_sessions_total', 'outcome="shed"')).toBe(1)
  })

  test('R34 behind several messages the 421 still comes before the close', async () => {
    const { app } = await begin({ idleTimeout: 800 })
    const client = await app.client()
    await client.hello()
    for (let i = 0; i < 3; i++) await client.send('a@example.org', 'b@example.net')
    expect(await client.reply()).toMatch(IDLE)
    expect(await client.closed()).toBe('')
    expect(client.wasReset).toBe(false)
    expect(await app.ofAnybody('spillway_sessions_total', 'outcome="relayed"')).toBe(1)
  })

  test('R34 a client that waits for us is not idle, and one in DATA is given longer', async () => {
    // Another client that comes later and says nothing has been idle for too long.
    const idled = async (): Promise<void> => {
      const other = await app.client()
      expect(await other.reply()).toMatch(/^220/)
      expect(await other.reply()).toMatch(IDLE)
    }
    const { app } = await begin({ idleTimeout: 300 }, async (verb) => {
      if (verb === 'RCPT' || verb === 'DOT') await idled()
      return 'default' as never
    })
    const client = await app.client()
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^250/)
    expect(await client.command('DATA')).toMatch(/^354/)
    await idled()
    client.write('x\r\n.\r\n')
    expect(await client.reply()).toMatch(/^250/)
  })
})
