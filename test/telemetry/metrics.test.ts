/** What a scrape shows. The rules are those that `promtool check metrics` applies, and those of our contract. */
import { describe, expect, test } from '@jest/globals'
import { STANDINGS } from '../../src/core/client.ts'
import { CHECK_NAMES, formOf, REASON_NAMES, reasonOf } from '../../src/core/reasons.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { startApp } from '../support/app.ts'
import { startUpstream } from '../support/upstream.ts'

const scrape = async (metrics = createMetrics({ version: '1.2.3', upstreams: ['mx1:25', 'mx2:25'] })) => {
  const text = await metrics.registry.metrics()
  const types = new Map(
    [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name as string, type as string]),
  )
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  const values = new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
  return { text, types, values, own: [...values].filter(([key]) => key.startsWith('spillway_')) }
}

describe('the contract', () => {
  const NAMES: Readonly<Record<string, string>> = {
    build_info: 'gauge',
    connections_total: 'counter',
    connections_open: 'gauge',
    sessions_total: 'counter',
    session_duration_seconds: 'histogram',
    refusals_total: 'counter',
    observe_would_refuse_total: 'counter',
    messages_total: 'counter',
    recipients_total: 'counter',
    message_size_bytes: 'histogram',
    check_duration_seconds: 'histogram',
    check_failures_total: 'counter',
    limit_utilization_ratio: 'gauge',
    upstream_up: 'gauge',
    upstream_connections_open: 'gauge',
    upstream_connections_limit: 'gauge',
    upstream_connects_total: 'counter',
    upstream_reply_duration_seconds: 'histogram',
    upstream_replies_total: 'counter',
    upstream_slot_wait_seconds: 'histogram',
    tracked_clients: 'gauge',
    overload_level: 'gauge',
    overload_pressure_ratio: 'gauge',
    admission_ratio: 'gauge',
    guess_admission_ratio: 'gauge',
    admission_queue_length: 'gauge',
    admission_wait_seconds: 'histogram',
    known_clients: 'gauge',
    standing_clients: 'gauge',
    tls_handshakes_total: 'counter',
    worker_up: 'gauge',
    worker_restarts_total: 'counter',
  }
  test('every metric has its name and type', async () => {
    const { types } = await scrape()
    for (const [name, type] of Object.entries(NAMES))
      expect([name, types.get(`spillway_${name}`)]).toEqual([name, type])
  })

  test('every valid series is there at 0 from the start', async () => {
    const { own, values } = await scrape()
    const ones = /^spillway_(build_info|worker_up)/
    for (const [key, value] of own) expect([key, value]).toEqual([key, ones.test(key) ? 1 : 0])
    expect(values.get('spillway_build_info{version="1.2.3"}')).toBe(1)
    for (const name of REASON_NAMES) {
      const { stages, check } = reasonOf(name)
      for (const stage of stages) {
        const { action } = formOf(name, stage)
        const row = (mode: string) =>
          values.get(`spillway_refusals_total{stage="${stage}",reason="${name}",action="${action}",mode="${mode}"}`)
        expect([name, row('enforce'), row('observe')]).toEqual([name, 0, check === undefined ? undefined : 0])
      }
    }
    for (const standing of STANDINGS) {
      for (const heard of ['accepted', 'refused', 'none'])
        for (const check of CHECK_NAMES) {
          const labels = `check="${check}",heard="${heard}",standing="${standing}"`
          expect(values.get(`spillway_observe_would_refuse_total{${labels}}`)).toBe(0)
        }
      for (const outcome of ['relayed', 'shed', 'rejected', 'aborted', 'none']) {
        expect(values.get(`spillway_sessions_total{outcome="${outcome}",standing="${standing}"}`)).toBe(0)
      }
      for (const result of ['accepted', 'deferred', 'rejected', 'aborted', 'unknown']) {
        expect(values.get(`spillway_messages_total{result="${result}",standing="${standing}"}`)).toBe(0)
      }
    }
    for (const upstream of ['mx1:25', 'mx2:25']) {
      for (const command of ['connect', 'mail', 'rcpt', 'data', 'dot']) {
        expect(
          values.get(`spillway_upstream_reply_duration_seconds_count{upstream="${upstream}",command="${command}"}`),
        ).toBe(0)
      }
    }
  })

  test('a value outside the declared sets throws: no attacker can make a series', () => {
    const metrics = createMetrics({ version: '0', upstreams: ['mx1:25'] })
    expect(() => metrics.sessions.inc('relayed', 'evil')).toThrow(/no series/)
    expect(() => metrics.refusals.inc('connect', 'denied', 'drop', 'enforce"} 1')).toThrow(/no series/)
    expect(() => metrics.upstreamReplies.inc('mx9:25', '2xx')).toThrow(/no series/)
  })
})

describe('what promtool would say', () => {
  test('counters end in _total and nothing else does; units are base units; every metric has help', async () => {
    const { text, types } = await scrape()
    for (const [name, type] of types) {
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter'])
      expect(name).toMatch(/^[a-z][a-z0-9_]*$/)
      expect(name).not.toMatch(/_(ms|milliseconds|minutes|hours|kilobytes|kb|mb|megabytes|percent)(_|$)/)
      expect(name).not.toMatch(/(counter|gauge|histogram|summary|_count|_sum|_bucket)$/)
      expect(text).toMatch(new RegExp(`^# HELP ${name} \\S`, 'm'))
    }
    for (const [, name] of text.matchAll(/\{([a-z_]+)="/g)) expect(name).not.toMatch(/^(le_|quantile_)/)
  })

  test('buckets add up, and +Inf is the count', async () => {
    const metrics = createMetrics({ version: '0', upstreams: [] })
    for (const size of [500, 1000, 5000, 1e9]) metrics.messageSize.of().observe(size)
    const { values } = await scrape(metrics)
    const bucket = (le: string) => values.get(`spillway_message_size_bytes_bucket{le="${le}"}`)
    expect([bucket('1000'), bucket('4000'), bucket('16000'), bucket('64000000'), bucket('+Inf')]).toEqual([
      2, 2, 3, 3, 4,
    ])
    expect(values.get('spillway_message_size_bytes_sum')).toBe(500 + 1000 + 5000 + 1e9)
    expect(values.get('spillway_message_size_bytes_count')).toBe(4)
  })

  test('scraping twice shows the same', async () => {
    const metrics = createMetrics({ version: '0', upstreams: ['a:1'] })
    metrics.connections.inc('ipv4')
    for (let i = 0; i < 3; i++) {
      expect((await scrape(metrics)).values.get('spillway_connections_total{family="ipv4"}')).toBe(1)
    }
  })
})

test('series of mail servers come and go with them, and those of one that stays go on counting', async () => {
  const metrics = createMetrics({ version: '0', upstreams: ['a:25', 'b:25'] })
  const ofUpstream = async (label: string): Promise<[string, number][]> =>
    (await scrape(metrics)).own.filter(([key]) => key.includes(`upstream="${label}"`))
  metrics.upstreamReplies.inc('b:25', '2xx')
  metrics.upstreamReplyDuration.of('b:25', 'dot').observe(0.5)
  const [of, count] = [await ofUpstream('b:25'), (await ofUpstream('a:25')).length]
  metrics.setUpstreams(['b:25', 'c:25'], ['b:25', 'c:25', 'a:25'])
  // It ends what it has, is in rotation no more, and can be drained no more.
  const left = (await ofUpstream('a:25')).map(([key]) => key)
  for (const gone of ['up', 'drained']) expect(left).not.toContain(`spillway_upstream_${gone}{upstream="a:25"}`)
  expect(left).toHaveLength(count - 2)
  metrics.setUpstreams(['b:25', 'c:25'], ['b:25', 'c:25'])
  expect(await ofUpstream('a:25')).toEqual([])
  expect(await ofUpstream('b:25')).toEqual(of)
  expect(await ofUpstream('c:25')).toHaveLength(count)
  expect(() => metrics.upstreamReplies.inc('a:25', '2xx')).toThrow(/no series/)
})

test('what a client says is in no label, and local parts are in no log line', async () => {
  const upstream = await startUpstream()
  const app = await startApp(upstream.address)
  try {
    const before = (await app.get('/metrics')).body.split('\n').map((line) => line.replace(/ \S+$/, ''))
    const client = await app.client()
    await client.hello('evil-helo.example')
    await client.send('evil-sender@example.org', 'evil-recipient@example.net')
    await client.command('MAIL FROM:<evil-sender>')
    await client.command('RCPT TO:<evil-recipient>')
    await client.command('QUIT')
    const line = await app.waitForLog(({ msg }) => msg === 'session')
    expect(line).toMatchObject({
      helo: 'evil-helo.example',
      from: '***',
      outcome: 'relayed',
      sample: 1,
      messages: [
        { upstream: upstream.address, result: 'accepted', reply: '250 2.0.0 Ok: queued as SCRIPTED' },
        { result: 'aborted' },
      ],
      rcpts: [
        { to: '***@example.net', code: 250 },
        { to: '***', code: 250 },
      ],
    })
    expect(JSON.stringify(app.log())).not.toMatch(/evil-(sender|recipient)/)
    const { body } = await app.get('/metrics')
    expect(body).not.toContain('evil')
    const added = body
      .split('\n')
      .map((each) => each.replace(/ \S+$/, ''))
      .filter((each) => each.startsWith('spillway_') && !before.includes(each))
    expect(added).toEqual([])
  } finally {
    await upstream.stop()
    await app.stop()
  }
})
