/** A reload of a running node: what is in force afterwards, for whom, and what is told of it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { type BuiltPolicy, buildPolicy } from '../../src/build/policy.ts'
import { createCompiler } from '../../src/build/relay.ts'
import { Reloader } from '../../src/build/reload.ts'
import { merge, type Reading, type Reread, rereadOf } from '../../src/config/reload.ts'
import { type PlainSettings, SETTING_NAMES, settingOf } from '../../src/config/settings.ts'
import type { Client } from '../../src/core/client.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { type Facts, refusalAt } from '../../src/core/policy.ts'
import { NO_LATEST } from '../../src/state/latest-mail.ts'
import { NO_PAST, OWN_MEMORY, taught } from '../../src/state/past.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { eventually, startApp, type TestApp, testSources } from '../support/app.ts'
import { makeCertificate } from '../support/certificates.ts'
import { NO_OVERLOAD } from '../support/overload.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const SILENT = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
const LOG = { ...SILENT, flush: () => undefined, setLevel: () => undefined }
const metrics = createMetrics({ version: '0', upstreams: [] })

const CA_FILE = join(mkdtempSync(join(tmpdir(), 'spillway-reload-')), 'ca.pem')
writeFileSync(CA_FILE, makeCertificate({ subject: 'The CA' }).cert)
afterAll(() => rmSync(dirname(CA_FILE), { recursive: true }))

const readingWith = (settings: Record<string, string>): Reading => {
  const reread = rereadOf(testSources('127.0.0.1:1', settings))
  if ('reading' in reread) return reread.reading
  throw new Error(JSON.stringify(reread.mistakes))
}

const CLIENT: Client = {
  id: 'id',
  ip: '192.0.2.1',
  source: '192.0.2.1',
  net: '192.0.2.0/24',
  standing: 'new',
} as unknown as Client

const reasonOf = (policy: BuiltPolicy, stage: 'connect' | 'rcpt', facts: object): string | undefined => {
  const verdict = policy.checks.run(
    stage,
    'uncounted',
    { client: CLIENT, open: { source: 1 }, accepted: 0, to: 'a@example.net', ...facts } as unknown as Facts['connect'] &
      Facts['rcpt'],
    () => undefined,
  )
  return 'reason' in verdict ? String(verdict.reason) : undefined
}

const ofLimit = (limit: keyof ReturnType<BuiltPolicy['rates']>) => {
  return { from: '600/1m', to: '700/1m', seen: (policy: BuiltPolicy) => policy.rates()[limit]?.max }
}

type Compiled = ReturnType<ReturnType<typeof createCompiler>>
const ofRelay = (from: string, to: string, seen: (compiled: Compiled, reading: Reading) => unknown) => {
  const compile = createCompiler(SYSTEM_CLOCK, async () => ({ kind: 'none' }))
  return { from, to, seen: (_: BuiltPolicy, reading: Reading) => seen(compile(reading), reading) }
}

interface Seen {
  readonly from: string
  readonly to: string
  readonly seen: (policy: BuiltPolicy, reading: Reading) => unknown
  /** What it cannot be without. */
  readonly beside?: Record<string, string>
}

const inSettings = (key: keyof PlainSettings, from: string, to: string, beside: Seen['beside'] = {}): Seen => {
  return { from, to, beside, seen: ({ settings }) => settings[key] }
}

const folder = mkdtempSync(join(tmpdir(), 'spillway-reload-'))
afterAll(() => rmSync(folder, { recursive: true }))
const written = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const { cert, key } = makeCertificate({ names: ['DNS:mx.test.example'] })
const SECRET = written('secret', 'u4vQ0bLZ8kqj2Yx7cN1mWp5sRt9aEd3f')
const PAIR = {
  cert: written('cert', cert),
  sameCert: written('cert2', cert),
  key: written('key', key),
  sameKey: written('key2', key),
}

const THREE_IN_TWO_DAYS = [0, 0, 24].reduce(
  (past, hour) => taught(past, { good: 1, bad: 0 }, 500_000 + hour, OWN_MEMORY),
  NO_PAST,
)

/** For each setting that a reload changes: two values of it, and a place where the difference is seen. */
const SEEN: Record<string, Seen> = {
  SPILLWAY_PROXY_PROTOCOL_FROM: { from: 'none', to: '192.0.2.1', seen: ({ isBalancer }) => isBalancer('192.0.2.1') },
  SPILLWAY_MESSAGE_MAX_SIZE: { from: '1MB', to: '2MB', seen: ({ maxSize }) => maxSize() },
  SPILLWAY_LIMIT_IP_CONNECTIONS: ofLimit('ip_connections'),
  SPILLWAY_LIMIT_NET_CONNECTIONS: ofLimit('net_connections'),
  SPILLWAY_LIMIT_GLOBAL_CONNECTIONS: ofLimit('global_connections'),
  SPILLWAY_LIMIT_IP_MESSAGES: ofLimit('ip_messages'),
  SPILLWAY_LIMIT_GLOBAL_MESSAGES: ofLimit('global_messages'),
  SPILLWAY_LIMIT_IP_RECIPIENTS: ofLimit('ip_recipients'),
  SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS: ofLimit('unknown_recipients'),
  SPILLWAY_LIMIT_NET_UNKNOWN_RECIPIENTS: ofLimit('net_unknown_recipients'),
  SPILLWAY_LIMIT_IP_CONCURRENCY: {
    from: '5',
    to: 'off',
    seen: (policy) => reasonOf(policy, 'connect', { open: { source: 6 } }),
  },
  SPILLWAY_LIMIT_RECIPIENTS_PER_MESSAGE: {
    from: '5',
    to: '6',
    seen: (policy) => reasonOf(policy, 'rcpt', { accepted: 5 }),
  },
  SPILLWAY_LIMIT_KNOWN_FACTOR: { from: '10', to: '2.5', seen: (policy) => policy.factors().known },
  SPILLWAY_LIMIT_STRESS_FACTOR: { from: '0.1', to: '1', seen: (policy) => policy.factors().stress },
  // These are asked for at each sample: test/build/overload.test.ts sees them in a running node.
  SPILLWAY_OVERLOAD: inSettings('overload', 'auto', '3'),
  SPILLWAY_OVERLOAD_UPSTREAM_LATENCY: inSettings('overloadUpstreamLatency', '5s', '1s'),
  SPILLWAY_OVERLOAD_KNOWN_RESERVE: inSettings('overloadKnownReserve', '0.3', '0'),
  SPILLWAY_OVERLOAD_RETURN_AFTER: inSettings('overloadReturnAfter', '60s', '2m'),
  SPILLWAY_UPSTREAM_PRESSURE_URL: inSettings('upstreamPressureUrl', 'none', 'http://127.0.0.1/queues'),
  SPILLWAY_OVERLOAD_EVENT_LOOP: inSettings('overloadEventLoop', '50ms', '1s'),
  SPILLWAY_PREGREET: inSettings('pregreet', 'observe', 'reject'),
  SPILLWAY_GREETING_DELAY: inSettings('greetingDelay', 'off', '1s'),
  SPILLWAY_PIPELINING: inSettings('pipelining', 'observe', 'reject'),
  SPILLWAY_COMMAND_NEWLINE: inSettings('commandNewline', 'observe', 'reject'),
  SPILLWAY_TONGUE: inSettings('tongue', 'observe', 'reject'),
  SPILLWAY_HELO: inSettings('helo', 'observe', 'reject'),
  SPILLWAY_ALLOW: { from: 'none', to: '192.0.2.1', seen: ({ standingOf }) => standingOf(CLIENT) },
  // test/front/session/denied.test.ts sees it on the wire, and bans.test.ts the other two.
  SPILLWAY_DENY_STAGE: inSettings('denyStage', 'connect', 'rcpt'),
  SPILLWAY_BAN_AFTER: inSettings('banAfter', 'off', '10'),
  SPILLWAY_BAN_TIME: inSettings('banTime', '10m', '1h'),
  SPILLWAY_DENY: { from: 'none', to: '192.0.2.1', seen: (policy) => reasonOf(policy, 'connect', {}) },
  SPILLWAY_RELAYS: { from: 'none', to: '192.0.2.1', seen: ({ isRelay }) => isRelay('192.0.2.1') },
  SPILLWAY_RCPT_DOMAINS: { from: 'none', to: 'example.org', seen: (policy) => reasonOf(policy, 'rcpt', {}) },
  SPILLWAY_OBSERVE: { from: 'none', to: 'size', seen: ({ mode }) => mode('size') },
  // Handed to the log itself: a test below sees it there.
  SPILLWAY_LOG_LEVEL: { from: 'info', to: 'error', seen: (_, { settings }) => settings.logLevel },
  SPILLWAY_IDLE_TIMEOUT: { from: '300s', to: '60s', seen: ({ rules }) => rules.idleMs },
  SPILLWAY_MIN_DATA_RATE: { from: '500B', to: 'off', seen: ({ rules }) => rules.minDataRate },
  SPILLWAY_SESSION_MAX_TIME: { from: '2h', to: '1h', seen: ({ rules }) => rules.sessionMs },
  SPILLWAY_SESSION_MAX_MESSAGES: { from: '2', to: '1', seen: ({ rules }) => rules.maxMessages },
  // These are asked for at each use, or made into certificates: live-settings.test.ts sees them in a running node.
  SPILLWAY_MAX_CONNECTIONS: inSettings('maxConnections', '100', '101'),
  SPILLWAY_SHUTDOWN_TIMEOUT: inSettings('shutdownTimeout', '60s', '1s'),
  SPILLWAY_KNOWN_AFTER: { from: '3', to: '4', seen: ({ standingAlone }) => standingAlone(THREE_IN_TWO_DAYS) },
  SPILLWAY_KNOWN_DAYS: { from: '2', to: '3', seen: ({ standingAlone }) => standingAlone(THREE_IN_TWO_DAYS) },
  SPILLWAY_HISTORY_DOMAINS: inSettings('historyDomains', 'off', 'on'),
  SPILLWAY_HISTORY_BAD_REPLY: {
    from: 'none',
    to: 'junk',
    seen: ({ settings }) => settings.historyBadReply?.source,
  },
  SPILLWAY_HISTORY_TTL: inSettings('historyTtl', '100d', '7d'),
  SPILLWAY_UNKNOWN_GUARD: inSettings('unknownGuard', 'on', 'off'),
  SPILLWAY_UNKNOWN_RECIPIENT_TTL: inSettings('unknownRecipientTtl', '5m', 'off'),
  SPILLWAY_LOG_SAMPLE: inSettings('logSample', 'auto', '1'),
  SPILLWAY_LOG_LOCAL_PARTS: inSettings('logLocalParts', 'off', 'on'),
  // test/front/log-line.test.ts sees it in lines.
  SPILLWAY_LOG_HMAC_KEY: inSettings('logHmacKey', 'none', 'a-key-of-some-length-0123'),
  // test/state/kept-sessions-app.test.ts sees it in Redis.
  SPILLWAY_EXPLAIN_SESSIONS: inSettings('explainSessions', '100000', 'none'),
  SPILLWAY_ADMIN_TOKEN: inSettings('adminToken', 'none', 'a-token-of-some-length'),
  SPILLWAY_ADMIN_HOSTS: inSettings('adminHosts', 'none', 'admin.example'),
  SPILLWAY_TLS_MIN_VERSION: inSettings('tlsMinVersion', '1.2', '1.3'),
  SPILLWAY_TLS_HANDSHAKES: {
    from: '8/64',
    to: '8/32',
    seen: ({ settings }) => settings.tlsHandshakes.ofAll,
  },
  SPILLWAY_TLS_TICKET_KEY: inSettings('tlsTicketKey', 'none', SECRET),
  SPILLWAY_TLS_CERT: inSettings('tlsCert', PAIR.cert, PAIR.sameCert, { TLS_KEY: PAIR.key }),
  SPILLWAY_TLS_KEY: inSettings('tlsKey', PAIR.key, PAIR.sameKey, { TLS_CERT: PAIR.cert }),
  SPILLWAY_SUPPORT_URL: {
    from: 'none',
    to: 'https://help.example/{id}',
    seen: ({ voice }) => voice.relayed(CLIENT, { code: 450, lines: ['4.7.1 later'] } as never),
  },
  SPILLWAY_REPLY_TEXT: {
    from: 'none',
    to: 'denied=Ask us',
    seen: ({ voice }) => voice.refusal(CLIENT, refusalAt('connect', 'denied')),
  },
  // Seen on the wire in reload-upstreams.test.ts and reload-relay.test.ts.
  SPILLWAY_UPSTREAMS: ofRelay('127.0.0.1:1', '127.0.0.1:2', ({ pool }) => pool.addresses),
  SPILLWAY_UPSTREAM_CLIENT_IP: ofRelay('none', 'received', ({ relay }) => relay.dial.clientIp),
  SPILLWAY_RELAY_GUARD: ofRelay('off', 'on', ({ pool }) => pool.relayGuard),
  SPILLWAY_TRACE_HEADER: ofRelay('off', 'on', ({ relay }) => relay.trace),
  SPILLWAY_UPSTREAM_TLS: ofRelay('off', 'required', ({ relay }) => relay.dial.tls),
  SPILLWAY_UPSTREAM_CONNECT_TIMEOUT: ofRelay('5s', '6s', ({ relay }) => relay.dial.connectTimeoutMs),
  SPILLWAY_UPSTREAM_REPLY_TIMEOUT: ofRelay('5m', '6m', ({ relay }) => relay.dial.replyTimeoutMs),
  SPILLWAY_UPSTREAM_DATA_TIMEOUT: ofRelay('11m', '12m', ({ relay }) => relay.dataTimeoutMs),
  SPILLWAY_UPSTREAM_MAX_CONNECTIONS: ofRelay('50', 'auto', ({ pool }) => pool.connections),
  SPILLWAY_UPSTREAM_HEALTH_INTERVAL: ofRelay('5s', '6s', ({ pool }) => pool.healthIntervalMs),
  SPILLWAY_UPSTREAM_HEALTH_TIMEOUT: ofRelay('5s', '6s', ({ pool }) => pool.healthTimeoutMs),
  SPILLWAY_BARE_NEWLINE: ofRelay('normalize', 'reject', ({ relay }) => relay.bareNewline),
  SPILLWAY_DNSBL_ZONES: inSettings('dnsblZones', 'none', 'bl.example*2'),
  SPILLWAY_DNSBL_THRESHOLD: inSettings('dnsblThreshold', '1', '2'),
  SPILLWAY_DNSBL: { from: 'defer', to: 'observe', seen: ({ mode }) => mode('dnsbl') },
  // A value of their own is made of each: it is another one where the setting is.
  SPILLWAY_DNS_SERVERS: ofRelay('system', '127.0.0.1', (_, { settings }) => settings.dnsServers),
  SPILLWAY_UPSTREAM_TLS_CA: ofRelay('none', CA_FILE, (_, { authorities }) => authorities),
}

describe('every setting that is marked live', () => {
  test('is seen here', () => {
    const live = SETTING_NAMES.filter((name) => settingOf(name).live !== undefined)
    expect(Object.keys(SEEN).sort()).toEqual([...live].sort())
  })

  test.each(Object.entries(SEEN))('%s changes what it says', (name, { from, to, seen, beside }) => {
    const policyOf = (reading: Reading): unknown =>
      seen(
        buildPolicy({
          ...reading,
          certificates: undefined,
          limits: { lately: () => undefined },
          overload: NO_OVERLOAD,
          history: { own: () => NO_PAST, net: () => NO_PAST, domains: undefined as never },
          latest: { of: () => NO_LATEST },
          bans: { of: () => undefined, isAllowed: () => false },
          dnsLists: { scoreOf: () => ({ score: 0, zones: [] }) },
          offeredSize: () => 0,
          metrics,
          log: LOG,
        }),
        reading,
      )
    const [before, next] = [from, to].map((value) => readingWith({ ...beside, [name]: value })) as [Reading, Reading]
    const merged = merge(before, next)
    expect(merged.needsRestart).toEqual([])
    expect(policyOf(merged.reading)).not.toEqual(policyOf(before))
    expect(policyOf(merged.reading)).toEqual(policyOf(next))
  })
})

describe('reloads that meet', () => {
  test('follow each other a second apart, and those that wait are one', async () => {
    const begun: ((again: Reread) => void)[] = []
    const reading = readingWith({})
    const reloader = new Reloader({
      reading,
      reread: () => new Promise((resolve) => begun.push(resolve)),
      apply: () => undefined,
      follow: async () => undefined,
      metrics,
      log: LOG,
    })
    const all = [reloader.reload('a')]
    await new Promise(setImmediate)
    all.push(reloader.reload('b'), reloader.reload('c'))
    await new Promise(setImmediate)
    expect(begun).toHaveLength(1)
    begun[0]?.({ reading })
    await all[0]
    const ended = performance.now()
    await eventually(
      () => begun.length,
      (count) => count === 2,
    )
    expect(performance.now() - ended).toBeGreaterThan(990)
    begun[1]?.({ reading })
    expect((await Promise.all(all)).map(({ result }) => result)).toEqual(['ok', 'ok', 'ok'])
    expect(begun).toHaveLength(2)
  })

  test('leave everything as it was where the reading itself fails, and go on with the next', async () => {
    let fails = true
    const reading = readingWith({})
    const applied: Reading[] = []
    const reloader = new Reloader({
      reading,
      reread: async () => {
        if (fails) throw new Error('out of memory')
        return { reading: readingWith({ OBSERVE: 'all' }) }
      },
      apply: (next) => void applied.push(next),
      follow: async () => undefined,
      metrics,
      log: LOG,
    })
    expect(await reloader.reload('a')).toMatchObject({ result: 'failed', error: 'out of memory' })
    expect(applied).toEqual([])
    fails = false
    expect(await reloader.reload('a')).toMatchObject({ result: 'ok', changed: [{ setting: 'SPILLWAY_OBSERVE' }] })
    expect(applied).toHaveLength(1)
  })
})

test('where they cannot be put in force, those before stay, and the next reload compares with them', async () => {
  let fails = true
  const again = readingWith({ OBSERVE: 'all' })
  const reloader = new Reloader({
    reading: readingWith({}),
    reread: async () => ({ reading: again }),
    apply: async () => {
      if (fails) throw new Error('a key is gone')
    },
    follow: async () => undefined,
    metrics,
    log: LOG,
  })
  const { hash } = reloader.state()
  expect(await reloader.reload('a')).toMatchObject({ result: 'failed', error: 'a key is gone', hash })
  expect(reloader.state().hash).toBe(hash)
  fails = false
  expect(await reloader.reload('a')).toMatchObject({ result: 'ok', changed: [{ setting: 'SPILLWAY_OBSERVE' }] })
})

describe('a running node', () => {
  let upstream: Upstream
  let app: TestApp
  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await app.stop()
    await upstream.stop()
  })

  const recipient = async (from?: string): Promise<string> => {
    const client = await app.client(from)
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    const reply = await client.command('RCPT TO:<b@example.net>')
    client.destroy()
    return reply
  }

  test('a limit that is raised lets the next client in, and what was counted goes on counting', async () => {
    app = await startApp(upstream.address, { LIMIT_IP_MESSAGES: '2/1h' })
    expect(await recipient()).toMatch(/^250/)
    expect(await recipient()).toMatch(/^250/)
    expect(await recipient()).toMatch(/^450 4\.7\.28/)
    expect(await app.reload({ LIMIT_IP_MESSAGES: '3/1h' })).toMatchObject({ result: 'ok' })
    expect(await recipient()).toMatch(/^250/)
    // The two before the reload count: there is room for one, not for three.
    expect(await recipient()).toMatch(/^450 4\.7\.28/)
  })

  test('a limit with another window begins at zero, and so does one that is switched on; the others go on counting', async () => {
    const connections = { LIMIT_IP_CONNECTIONS: '3/1h' }
    app = await startApp(upstream.address, { ...connections, LIMIT_IP_MESSAGES: '1/1h' })
    expect(await recipient()).toMatch(/^250/)
    expect(await recipient()).toMatch(/^450 4\.7\.28/)
    expect(await app.reload({ ...connections, LIMIT_IP_MESSAGES: '1/2h' })).toMatchObject({ needsRestart: [] })
    expect(await recipient()).toMatch(/^250/)
    expect(await (await app.client()).reply()).toMatch(/^421 4\.7\.28/)
    await app.reload({ LIMIT_IP_CONNECTIONS: 'off', LIMIT_IP_MESSAGES: '1/2h' })
    expect(await recipient()).toMatch(/^450 4\.7\.28/)
    await app.reload({ LIMIT_IP_CONNECTIONS: 'off', LIMIT_IP_MESSAGES: 'off' })
    expect(await recipient()).toMatch(/^250/)
    await app.reload({ LIMIT_IP_CONNECTIONS: '1/1h', LIMIT_IP_MESSAGES: '1/2h' })
    expect(await recipient()).toMatch(/^250/)
    expect(await (await app.client()).reply()).toMatch(/^421 4\.7\.28/)
  }, 20_000)

  test('a message under way while its limit changes its window costs nobody anything', async () => {
    app = await startApp('127.0.0.1:1', { LIMIT_IP_MESSAGES: '2/1h', LIMIT_GLOBAL_MESSAGES: '2/1h' })
    const client = await app.client()
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    await client.command('RCPT TO:<b@example.net>')
    await app.reload({ LIMIT_IP_MESSAGES: '2/2h', LIMIT_GLOBAL_MESSAGES: '2/1h' })
    await client.command('RSET')
    expect(await app.metric('spillway_limit_utilization_ratio{limit="global_messages"}')).toBe(0)
    for (let i = 0; i < 3; i++) expect(await recipient()).toMatch(/^451 4\.3\.2/)
  })

  test('unknown recipients of a window that is changed are forgotten, and counted from then on', async () => {
    await upstream.stop()
    upstream = await startUpstream({ script: (verb) => (verb === 'RCPT' ? '550 5.1.1 User unknown' : 'default') })
    app = await startApp(upstream.address, { LIMIT_IP_UNKNOWN_RECIPIENTS: '2/1h' })
    const guesses = async (): Promise<string[]> => {
      const client = await app.client()
      await client.hello()
      await client.command('MAIL FROM:<a@example.org>')
      const codes: string[] = []
      for (const user of ['a', 'b', 'c'])
        codes.push((await client.command(`RCPT TO:<${user}@example.net>`)).slice(0, 3))
      client.destroy()
      return codes
    }
    expect(await guesses()).toEqual(['550', '550', '450'])
    await app.reload({ LIMIT_IP_UNKNOWN_RECIPIENTS: '2/2h' })
    expect(await guesses()).toEqual(['550', '550', '450'])
  })

  test('a limit in force for all clients is shown as a share of its new maximum', async () => {
    app = await startApp(upstream.address, { LIMIT_GLOBAL_MESSAGES: '10/1h' })
    const share = 'spillway_limit_utilization_ratio{limit="global_messages"}'
    expect(await recipient()).toMatch(/^250/)
    expect(await app.metric(share)).toBeCloseTo(0.1)
    await app.reload({ LIMIT_GLOBAL_MESSAGES: '4/1h' })
    expect(await app.metric(share)).toBeCloseTo(0.25)
  })

  test('a network that a deny list gains is refused from its next connection on, and an open session at its next command', async () => {
    app = await startApp(upstream.address)
    const before = await app.client('127.0.0.3')
    await before.hello()
    expect(await recipient('127.0.0.3')).toMatch(/^250/)
    const { changed } = await app.reload({ DENY: '127.0.0.3' })
    expect(changed).toEqual([{ setting: 'SPILLWAY_DENY', before: 'none', read: '127.0.0.3/32' }])
    expect(await before.command('NOOP')).toMatch(/^554 5\.7\.1/)
    const after = await app.client('127.0.0.3')
    expect(await after.reply()).toMatch(/^554 5\.7\.1/)
    expect(await recipient('127.0.0.4')).toMatch(/^250/)
  })

  test('a mistake leaves everything as it was, and is told in the log, the metric and the report', async () => {
    app = await startApp(upstream.address, { LIMIT_IP_MESSAGES: '1/1h' })
    const { hash } = app.running.status().settings
    expect(await recipient()).toMatch(/^250/)
    const report = await app.reload({ LIMIT_IP_MESSAGES: '900/1h', OBSERVE: 'nothing', IDLE_TIMEOUT: '30' })
    expect(report).toMatchObject({ result: 'failed', hash, changed: [], needsRestart: [] })
    expect(report.mistakes.map(({ name }) => name).sort()).toEqual(['SPILLWAY_IDLE_TIMEOUT', 'SPILLWAY_OBSERVE'])
    expect(await recipient()).toMatch(/^450 4\.7\.28/)
    for (const setting of ['SPILLWAY_IDLE_TIMEOUT', 'SPILLWAY_OBSERVE'])
      expect(await app.waitForLog((line) => line.setting === setting)).toMatchObject({ level: 'error' })
    expect(await app.waitForLog(({ msg }) => /^reload failed/.test(String(msg)))).toMatchObject({ mistakes: 2 })
    expect(await app.metric('spillway_reload_total{result="failed"}')).toBe(1)
    expect(await app.metric('spillway_reload_total{result="ok"}')).toBe(0)
    expect(await app.metric('spillway_settings_stale')).toBe(1)
    expect(await app.metric(`spillway_settings_info{hash="${hash}"}`)).toBe(1)
    await app.reload({ LIMIT_IP_MESSAGES: '1/1h' })
    expect(await app.metric('spillway_settings_stale')).toBe(0)
  })

  test('a setting that needs a restart is named in the report, the log and the status, and keeps its value', async () => {
    app = await startApp(upstream.address)
    const before = app.running.status().settings
    expect(before.needsRestart).toEqual([])
    const report = await app.reload({ REDIS_TIMEOUT: '40ms', OBSERVE: 'all' })
    expect(report.needsRestart).toEqual([{ setting: 'SPILLWAY_REDIS_TIMEOUT', before: '50ms', read: '40ms' }])
    expect(await app.waitForLog(({ msg }) => /needs a restart/.test(String(msg)))).toMatchObject({
      level: 'warn',
      setting: 'SPILLWAY_REDIS_TIMEOUT',
    })
    const { settings } = app.running.status()
    expect(settings).toEqual({ hash: report.hash, needsRestart: ['SPILLWAY_REDIS_TIMEOUT'] })
    expect(settings.hash).not.toBe(before.hash)
    const { body } = await app.get('/metrics')
    expect(body.match(/^spillway_settings_info\{.*$/gm)).toEqual([`spillway_settings_info{hash="${report.hash}"} 1`])
    expect(await app.metric('spillway_reload_total{result="ok"}')).toBe(1)
  })

  test('the level of the log, and where a refused sender may ask', async () => {
    app = await startApp(upstream.address, { LIMIT_IP_CONCURRENCY: '1' })
    await app.client()
    expect(await (await app.client()).reply()).toMatch(/\(\S+\)/)
    await app.reload({ LIMIT_IP_CONCURRENCY: '1', SUPPORT_URL: 'https://help.example/{id}' })
    expect(await (await app.client()).reply()).toMatch(/https:\/\/help\.example\//)
    const lines = (): number => app.log().filter(({ msg }) => /^settings/.test(String(msg))).length
    expect(lines()).toBe(1)
    await app.reload({ LIMIT_IP_CONCURRENCY: '1', LOG_LEVEL: 'error' })
    expect(lines()).toBe(1)
    await app.reload({ LIMIT_IP_CONCURRENCY: '1' })
    expect(lines()).toBe(2)
  })
})
