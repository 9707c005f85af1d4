/** One page of metrics out of those of several processes. */
import { describe, expect, test } from '@jest/globals'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { createParentMetrics } from '../../src/telemetry/parent-metrics.ts'
import { countedOf, Retired, type Snapshot, snapshotOf, together } from '../../src/telemetry/together.ts'

const make = () => createMetrics({ version: '1', upstreams: ['mx1:25'] })

interface Parts {
  readonly workers?: readonly Snapshot[]
  readonly retired?: readonly Snapshot[]
}

async function pageOf({ workers = [], retired = [] }: Parts): Promise<(series: string) => number | undefined> {
  const parent = await snapshotOf(createParentMetrics(['1', '2']).registry)
  const text = await together({
    ...{ parent, retired },
    workers: new Map(workers.map((each, i) => [String(i + 1), each])),
  })
  return (series) => {
    const line = text.split('\n').find((each) => each.startsWith(`${series} `))
    return line === undefined ? undefined : Number(line.slice(series.length + 1))
  }
}

test('every metric says how it is added up, and prom-client can', async () => {
  const ways = new Set((await snapshotOf(make().registry)).map(({ aggregator }) => String(aggregator)))
  expect([...ways].filter((way) => !['sum', 'max', 'min', 'first', 'each'].includes(way))).toEqual([])
})

describe('of two workers', () => {
  test('counters and histograms are summed, and gauges are what their declaration says', async () => {
    const [one, two] = [make(), make()] as const
    one.connections.of('ipv4').value = 3
    two.connections.of('ipv4').value = 4
    one.observeWouldRefuse.inc('helo', 'accepted', 'known')
    two.observeWouldRefuse.inc('helo', 'accepted', 'known')
    one.messageSize.of().observe(2000)
    two.messageSize.of().observe(2e9)
    one.redisUp.of().value = 1
    one.redisFallback.of().value = 1
    one.certificateExpiry.replace([[['a'], 10]])
    two.certificateExpiry.replace([[['a'], 20]])
    const page = await pageOf({ workers: [await snapshotOf(one.registry), await snapshotOf(two.registry)] })
    expect(page('spillway_connections_total{family="ipv4"}')).toBe(7)
    expect(page('spillway_observe_would_refuse_total{check="helo",heard="accepted",standing="known"}')).toBe(2)
    expect(page('spillway_message_size_bytes_count')).toBe(2)
    expect(page('spillway_message_size_bytes_bucket{le="4000"}')).toBe(1)
    expect(page('spillway_redis_up')).toBe(0)
    expect(page('spillway_redis_fallback_active')).toBe(1)
    expect(page('spillway_tls_certificate_expiry_timestamp_seconds{name="a"}')).toBe(10)
    expect(page('spillway_build_info{version="1"}')).toBe(1)
    expect(page('process_max_fds{worker="2"}')).toBeGreaterThan(0)
    expect(page('process_max_fds')).toBeUndefined()
  })

  test('reloads are those of the parent', async () => {
    const one = make()
    one.reloads.inc('ok')
    const snapshot = await snapshotOf(one.registry)
    const page = await pageOf({ workers: [snapshot], retired: [countedOf(snapshot)] })
    expect(page('spillway_reload_total{result="ok"}')).toBe(0)
  })
})

describe('a worker that has died', () => {
  test('keeps what it counted, its gauges are gone, and its sessions are over', async () => {
    const dead = make()
    dead.connections.of('ipv6').value = 10
    dead.sessions.of('relayed', 'new').value = 6
    dead.redisUp.of().value = 1
    const retired = new Retired()
    retired.add(await snapshotOf(dead.registry))
    retired.add(await snapshotOf(dead.registry))
    const check = async (): Promise<void> => {
      const page = await pageOf({ retired: retired.snapshots })
      expect(page('spillway_connections_total{family="ipv6"}')).toBe(20)
      expect(page('spillway_sessions_total{outcome="relayed",standing="new"}')).toBe(12)
      expect(page('spillway_sessions_total{outcome="aborted",standing="new"}')).toBe(8)
      expect(page('spillway_redis_up')).toBeUndefined()
    }
    await check()
    // Once they are folded into one.
    while (retired.snapshots.length > 1) await new Promise((resolve) => setImmediate(resolve))
    await check()
  })
})
