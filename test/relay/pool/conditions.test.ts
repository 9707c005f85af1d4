/** Down, but why and since when? What /readyz?verbose, /api/v1/status and the log tell of each mail server. */
import { afterEach, describe, expect, test } from '@jest/globals'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream, type UpstreamOptions } from '../../support/upstream.ts'

let apps: TestApp[] = []
let servers: Upstream[] = []
afterEach(async () => {
  await Promise.all(apps.map((app) => app.stop()))
  await Promise.all(servers.map((server) => server.stop()))
  apps = []
  servers = []
})
async function upstream(options: UpstreamOptions = {}): Promise<Upstream> {
  const server = await startUpstream(options)
  servers.push(server)
  return server
}
async function app(...given: Parameters<typeof startApp>): Promise<TestApp> {
  const started = await startApp(...given)
  apps.push(started)
  return started
}

interface Told {
  readonly upstream: string
  readonly address: string
  readonly state: string
  readonly up: boolean
  readonly since: string
  readonly error?: string
  readonly xclient?: string
  readonly last_success?: string
}
const toldOf = async (node: TestApp): Promise<Told> => {
  const { body } = await node.get('/api/v1/status')
  return (JSON.parse(body) as { upstreams: Told[] }).upstreams[0] as Told
}
const untilJudged = (node: TestApp): Promise<Told> =>
  eventually(
    () => toldOf(node),
    ({ state }) => state !== 'unknown',
  )

describe('a server that is not used', () => {
  const cases: [what: string, options: UpstreamOptions, settings: Record<string, string>, error: RegExp][] = [
    ['greets with 554', { greeting: '554 5.3.2 not here' }, {}, /^greeting: 554 5\.3\.2 not here/],
    [
      'does not let us say who the client is',
      {},
      { UPSTREAM_CLIENT_IP: 'xclient' },
      /^XCLIENT is not offered to us; with Postfix, add this node to smtpd_authorized_xclient_hosts/,
    ],
    ['would be an open relay', {}, { RELAY_GUARD: 'on' }, /^it takes mail for foreign domains from any client/],
    ['talks nonsense', { greeting: 'SSH-2.0-OpenSSH_9.2' }, {}, /^not an SMTP reply: "SSH-2\.0/],
  ]
  test.each(cases)('because it %s: state, since and why, in all three places', async (_, options, settings, error) => {
    const server = await upstream(options)
    const before = Date.now()
    const node = await app(server.address, settings)
    const told = await untilJudged(node)
    expect(told).toMatchObject({ upstream: server.address, address: server.address, state: 'down', up: false })
    expect(told.error).toMatch(error)
    expect(told.xclient).toBe(settings.UPSTREAM_CLIENT_IP === 'xclient' ? 'XCLIENT is not offered to us' : undefined)
    expect(Date.parse(told.since)).toBeGreaterThanOrEqual(before)
    expect(Date.parse(told.since)).toBeLessThanOrEqual(Date.now())
    const { verdict } = JSON.parse((await node.get('/api/v1/status')).body) as { verdict: { do: string } }
    // The verdict knows the cure of this one; the doctor has those of the others.
    expect(verdict.do).toMatch(settings.UPSTREAM_CLIENT_IP === 'xclient' ? /smtpd_authorized_xclient_hosts/ : /doctor/)
    const { body } = await node.get('/readyz?verbose')
    expect(body).toContain(`upstream ${server.address}: down since ${told.since}: ${told.error}; `)
    const line = await node.waitForLog(({ msg }) => String(msg).startsWith('upstream '))
    expect(line).toMatchObject({ upstream: server.address })
    expect(line.msg).toContain(told.error?.slice(0, 20))
  })

  test('because of the relay guard counts in the metrics as refused, not as ok', async () => {
    const server = await upstream()
    const node = await app(server.address, { RELAY_GUARD: 'on' })
    await untilJudged(node)
    const checks = (result: string) =>
      node.metric(`spillway_upstream_health_checks_total{upstream="${server.address}",result="${result}"}`)
    await eventually(
      () => checks('refused'),
      (count) => (count ?? 0) >= 1,
    )
    expect(await checks('ok')).toBe(0)
  })

  test('because its name does not resolve is shown, not left out', async () => {
    const node = await app('mail.invalid:25')
    const told = await eventually(
      () => toldOf(node),
      ({ error }) => error !== undefined,
    )
    expect(told).toMatchObject({ upstream: 'mail.invalid:25', address: 'mail.invalid:25', state: 'down', up: false })
    expect(told.error).toMatch(/^name of upstream not resolved: /)
    expect((await node.get('/readyz?verbose')).body).toMatch(/upstream mail\.invalid:25: down since .*not resolved/)
    expect(told).not.toHaveProperty('last_success')
  })
})

test('a server that goes and comes back: last success, since, and no error once it is well', async () => {
  let sick = false
  const server = await upstream({
    greeting: (connection) => connection.say(sick ? '421 4.3.2 stopping' : '220 hello'),
  })
  const node = await app(server.address)
  const well = await untilJudged(node)
  expect(well).toMatchObject({ state: 'up', up: true })
  expect(well).not.toHaveProperty('error')
  sick = true
  const down = await eventually(
    () => toldOf(node),
    ({ state }) => state === 'down',
  )
  expect(down.error).toBe('greeting: 421 4.3.2 stopping')
  expect(Date.parse(String(down.last_success))).toBeGreaterThanOrEqual(Date.parse(well.since) - 100)
  expect(Date.parse(down.since)).toBeGreaterThan(Date.parse(well.since))
  sick = false
  const again = await eventually(
    () => toldOf(node),
    ({ state }) => state === 'up',
  )
  expect(again).not.toHaveProperty('error')
  expect(Date.parse(again.since)).toBeGreaterThan(Date.parse(down.since))
})

test('milliseconds in texts are whole numbers', async () => {
  const server = await upstream({ greeting: () => undefined })
  const node = await app(server.address, { UPSTREAM_HEALTH_TIMEOUT: '100ms', UPSTREAM_REPLY_TIMEOUT: '1s' })
  const later = await eventually(
    () => toldOf(node),
    ({ error }) => error?.startsWith('no reply') === true,
  )
  expect(later.error).toMatch(/^no reply in [0-9]+ ms$/)
})
