/** R37 R48: behind a real HAProxy, its clients and its health checks. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { type HAProxy, startHAProxy } from '../../services/haproxy.ts'
import { BALANCER, eventually, startApp, type TestApp } from '../../support/app.ts'
import { connectClient } from '../../support/client.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(() => upstream.stop())

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function behind(
  send: 'send-proxy' | 'send-proxy-v2',
  settings: Record<string, string>,
): Promise<{ app: TestApp; haproxy: HAProxy }> {
  const app = await startApp(upstream.address, { LOG_SAMPLE: '1', ...settings })
  ends.push(() => app.stop())
  const haproxy = await startHAProxy({ to: app.port, from: BALANCER, send })
  ends.push(() => haproxy.stop())
  return { app, haproxy }
}

describe.each(['send-proxy', 'send-proxy-v2'] as const)('R37 R48 HAProxy with %s', (send) => {
  test('is listed: its clients come as they are, and its checks are answered past every limit', async () => {
    const { app, haproxy } = await behind(send, {
      PROXY_PROTOCOL_FROM: BALANCER,
      // What would turn a check away, were it taken for a client.
      MAX_CONNECTIONS: '1',
      DENY: BALANCER,
      LIMIT_IP_CONNECTIONS: '1/1h',
    })
    const probes = async () => (await app.metric('spillway_balancer_probes_total')) as number
    await haproxy.waitForCheck(({ status, result }) => status === 'UP' && result === 'L7OK')

    const client = await connectClient(haproxy.port, { from: '127.0.0.77' })
    await client.hello()
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    // The node is full now, and says so to clients; the checks go on as before.
    const other = await connectClient(haproxy.port, { from: '127.0.0.78' })
    expect(await other.reply()).toMatch(/^421 4\.3\.2 [^\n]*\[127\.0\.0\.78\]/)
    const before = await probes()
    await eventually(probes, (count) => count >= before + 3)
    expect(await haproxy.check()).toMatchObject({ status: 'UP', downs: 0 })
    await client.command('QUIT')
    await app.waitForLog(({ ip, outcome }) => ip === '127.0.0.77' && outcome === 'relayed')

    expect(await app.metric('spillway_balancer_errors_total')).toBe(0)
    const sessions = app.log().filter(({ msg }) => msg === 'session')
    expect(sessions.map(({ ip }) => ip).sort()).toEqual(['127.0.0.77', '127.0.0.78'])
    expect(app.log().filter(({ level }) => level === 'warn' || level === 'error')).toEqual([])
    client.destroy()
    other.destroy()
  })

  test('is not listed: its client hears one 421, its check fails, and the operator is told why', async () => {
    const { app, haproxy } = await behind(send, {})
    await haproxy.waitForCheck(({ status }) => status === 'DOWN')
    const client = await connectClient(haproxy.port, { from: '127.0.0.77' })
    client.write('EHLO client.example\r\n')
    expect(await client.closed()).toMatch(/^220 [^\n]*\n421 4\.3\.0 [^\n]*A PROXY header[^\n]*\n$/)
    expect(await app.waitForLog(({ level }) => level === 'warn')).toMatchObject({
      ip: BALANCER,
      setting: 'SPILLWAY_PROXY_PROTOCOL_FROM',
    })
    client.destroy()
  })
})
