/**
 * What Prometheus makes of it, asked of a real one: the configuration and the alerts by promtool, /metrics by its linter,
 * and every query of the dashboards while two nodes stand in a short flood.
 */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { FLOOD, FLOOD_SHARE, FRIENDS_SHARE } from '../../deploy/grafana/verdict.ts'
import { CERT, KEY } from '../config/pem.ts'
import { freePorts } from '../services/ports.ts'
import { type Server, startServer } from '../services/processes.ts'
import { type Prometheus, promtool, type Series, startPrometheus } from '../services/prometheus.ts'
import { BALANCER, eventually, startApp, type TestApp } from '../support/app.ts'
import { type DnsServer, startDns } from '../support/dns.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { filledIn, panels, queries, queriesOf } from './dashboards.ts'

const file = (name: string): string => fileURLToPath(new URL(`../../deploy/prometheus/${name}`, import.meta.url))

describe('promtool', () => {
  test('finds the configuration valid, and the rules it names', () => {
    const { code, output } = promtool(['check', 'config', file('prometheus.yml')])
    expect({ code, output }).toEqual({
      code: 0,
      output: expect.stringMatching(new RegExp(`1 rule files found[\\s\\S]*${alerts.length} rules found`)),
    })
  })

  test('sees every alert fire when it should, and not when it should not', () => {
    const { code, output } = promtool(['test', 'rules', file('alerts.test.yml')])
    expect({ code, output }).toEqual({ code: 0, output: expect.stringContaining('SUCCESS') })
  })
})

const alerts = (parse(readFileSync(file('alerts.yml'), 'utf8')) as { groups: { rules: Alert[] }[] }).groups.flatMap(
  ({ rules }) => rules,
)

describe('every alert', () => {
  const { tests } = parse(readFileSync(file('alerts.test.yml'), 'utf8')) as { tests: { alert_rule_test: Case[] }[] }
  const cases = tests.flatMap((story) => story.alert_rule_test)

  test.each(alerts.map((rule) => [rule.alert, rule] as const))(
    '%s says how grave it is, what it is about and what to do, and is tested both ways',
    (name, { labels, annotations }) => {
      expect(labels.severity).toMatch(/^(page|warn|info)$/)
      expect(labels.area).toMatch(/^[a-z_]+$/)
      expect(annotations.runbook_url).toBe(`docs/runbooks/${name}.md`)
      expect(annotations.summary.replace(/\{\{.*?\}\}/g, '').length).toBeLessThan(80)
      expect(annotations.description.length).toBeGreaterThan(80)
      const expected = cases.filter(({ alertname }) => alertname === name).map(({ exp_alerts }) => exp_alerts.length)
      expect({ fires: expected.some((count) => count > 0), rests: expected.includes(0) }).toEqual({
        fires: true,
        rests: true,
      })
    },
  )
})

describe('runbooks', () => {
  const FOLDER = fileURLToPath(new URL('../../docs/runbooks/', import.meta.url))
  const index = readFileSync(join(FOLDER, 'README.md'), 'utf8')

  test('there is one for each alert, and none for anything else', () => {
    const pages = readdirSync(FOLDER).filter((name) => name !== 'README.md')
    expect(pages.sort()).toEqual(alerts.map(({ alert }) => `${alert}.md`).sort())
  })

  test.each(alerts.map((rule) => [rule.alert, rule] as const))(
    '%s: what it means, who is hurt, how to look, what to do; in the list under its severity',
    (name, { labels: { severity } }) => {
      const page = readFileSync(join(FOLDER, `${name}.md`), 'utf8')
      expect(page.startsWith(`# ${name}\n\nSeverity: ${severity}.\n`)).toBe(true)
      const parts = page.split(/^## /m).slice(1)
      expect(parts.map((part) => part.split('\n')[0])).toEqual(['Meaning', 'Impact', 'Check', 'Fix'])
      for (const part of parts) expect(part.length).toBeGreaterThan(20)
      const listed = index.split(/^\*\*/m).find((part) => part.startsWith(`${severity}**`))
      expect(listed).toContain(`(${name}.md)`)
      // At three in the morning nobody looks for the settings of a node.
      if (/`(?:spillway|log) /.test(page)) expect(page).toContain('](../commands.md#first-in-each-shell)')
      expect(page).not.toMatch(/`(?:curl|jq) |127\.0\.0\.1|--env-file/)
    },
  )

  test('a panel that an alert names is on a dashboard', () => {
    const titles = new Set(panels.map(({ title }) => title))
    const named = alerts.flatMap(({ annotations }) => [...annotations.description.matchAll(/"([A-Z][^"]+)"/g)])
    expect(named.length).toBeGreaterThan(3)
    for (const [, title] of named) expect(titles).toContain(title)
  })
})

test('a flood is the same to the alert and to the dashboard', () => {
  const { expr } = alerts.find(({ alert }) => alert === 'SpillwayFlood') as Alert
  expect(/reason=~"([^"]+)"/.exec(expr)?.[1]).toBe(FLOOD.join('|'))
  expect(expr).toContain(`> bool ${FLOOD_SHARE} *`)
  const known = alerts.find(({ alert }) => alert === 'SpillwayKnownSendersPutOff') as Alert
  expect(known.expr).toContain(`> bool ${FRIENDS_SHARE} *`)
})

interface Alert {
  readonly alert: string
  readonly expr: string
  readonly labels: { readonly severity?: string; readonly area?: string }
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook_url?: string }
}

interface Case {
  readonly alertname: string
  readonly exp_alerts: readonly unknown[]
}

/** No scrape may take longer than the interval. On a busy machine one takes more than 250 ms. */
const INTERVAL_MS = 500
/** Grafana takes four scrape intervals for $__rate_interval at least. */
const RATE_INTERVAL = `${(4 * INTERVAL_MS) / 1000}s`
/** One lasts until both nodes have been scraped after it. */
const ROUNDS = 6

describe('two nodes in a flood', () => {
  let upstream: Upstream
  let redis: Server
  let dns: DnsServer
  let apps: TestApp[]
  let prometheus: Prometheus
  let start: number
  let end: number

  /** From addresses that are over their limit soon: each is let in five times a minute. */
  const flood = async (app: TestApp, round: number): Promise<void> => {
    const attempts = Array.from({ length: 32 }, async (_, i) => {
      const client = await app.client(`127.0.1.${1 + (i % 4)}`)
      await client.reply()
      client.resetConnection()
    })
    // Of two at a time one waits for the only connection. The DNS is asked about public addresses alone.
    const honest = async (net: string): Promise<void> => {
      const client = await app.clientAs(`${net}.${1 + round}`)
      await client.hello()
      for (let i = 0; i < 2; i++) {
        const reply = await client.send('a@example.org', 'b@example.net')
        if (!reply.startsWith('250')) throw new Error(reply)
      }
      await client.command('QUIT')
      client.end()
    }
    // Honest, with a name that a check in observe mode would refuse.
    const observed = async (): Promise<void> => {
      const client = await app.clientAs(`192.0.2.${1 + round}`)
      await client.hello('localhost')
      const reply = await client.send('a@example.org', 'b@example.net')
      if (!reply.startsWith('250')) throw new Error(reply)
      await client.command('QUIT')
      client.end()
    }
    await Promise.all([...attempts, honest('198.51.100'), honest('203.0.113'), observed()])
  }

  const ask = (expr: string): Promise<Series[]> =>
    prometheus.queryRange(filledIn(expr, RATE_INTERVAL, end - start), start, end, INTERVAL_MS / 1000)

  beforeAll(async () => {
    upstream = await startUpstream()
    const port = (await freePorts(1))[0]!
    const directory = mkdtempSync(join(tmpdir(), 'redis-'))
    redis = startServer('redis-server', ['--port', `${port}`, '--bind', '127.0.0.1', '--save', ''], directory)
    await eventually(redis.output, (output) => output.includes('Ready to accept connections'))
    const tls = { TLS_CERT: join(directory, 'cert.pem'), TLS_KEY: join(directory, 'key.pem') }
    writeFileSync(tls.TLS_CERT, CERT)
    writeFileSync(tls.TLS_KEY, KEY)
    dns = await startDns({ '2.0.0.127.bl.example a': ['127.0.0.2'] })
    const settings = {
      ...{ LIMIT_IP_CONNECTIONS: '5/1m', REDIS_URL: `redis://127.0.0.1:${port}`, ...tls },
      ...{ PROXY_PROTOCOL_FROM: BALANCER, DNS_SERVERS: dns.address, DNSBL_ZONES: 'bl.example', HISTORY_DOMAINS: 'on' },
      UPSTREAM_MAX_CONNECTIONS: '1',
      // A known sender, by the word of the operator.
      ALLOW: '203.0.113.0/24',
    }
    apps = await Promise.all([1, 2].map(() => startApp(upstream.address, settings)))
    prometheus = await startPrometheus({
      jobs: { spillway: apps.map(({ adminPort }) => `127.0.0.1:${adminPort}`) },
      rules: [file('alerts.yml')],
      intervalMs: INTERVAL_MS,
    })
    await prometheus.waitForScrapes()
    start = Date.now() / 1000
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all(apps.map((app) => flood(app, round)))
      await prometheus.waitForScrapes()
    }
    end = Date.now() / 1000
  })
  afterAll(async () => {
    await prometheus?.stop()
    await Promise.all((apps ?? []).map((app) => app.stop()))
    await redis?.stop()
    await dns?.stop()
    await upstream?.stop()
  })

  test('promtool has nothing to say on /metrics', async () => {
    const { status, body } = await apps[0]!.get('/metrics')
    expect(status).toBe(200)
    expect(promtool(['check', 'metrics'], body)).toEqual({ code: 0, output: '' })
  })

  test.each(queries.map(({ title, refId, expr }) => [title, refId, expr]))(
    '“%s”, query %s, shows something',
    async (_, __, expr) => {
      const shown = await ask(expr as string)
      // NaN, as a quantile of nothing is, draws no line.
      const points = shown.flatMap(({ values }) => values.filter(([, value]) => Number.isFinite(value)))
      expect({ expr, points: points.length > 0 }).toEqual({ expr, points: true })
    },
  )

  /** The highest value over time of a panel's first query, for the series with these labels. */
  const highest = async (title: string, labels: Record<string, string> = {}): Promise<number> => {
    const shown = await ask(queriesOf(title)[0]!.expr)
    const fits = shown.filter((series) => Object.entries(labels).every(([key, value]) => series.labels[key] === value))
    return Math.max(...fits.flatMap(({ values }) => values.map(([, value]) => value)))
  }

  test('the panels tell what happened: both nodes, the flood by its reason, the mail that got through', async () => {
    expect(await highest('Nodes seen')).toBe(2)
    for (const { adminPort } of apps) {
      expect(await highest('Connections per second, by node', { instance: `127.0.0.1:${adminPort}` })).toBeGreaterThan(
        10,
      )
    }
    const perSecond = await highest('Connections per second, by family', { family: 'ipv4' })
    const refused = await highest('Refused per second, by reason', { reason: 'ip_connections' })
    expect(refused).toBeGreaterThan(20)
    expect(refused).toBeLessThan(perSecond)
    expect(await highest('Refused per second, by reason', { reason: 'denied' })).toBe(0)
    expect(await highest('Refused per second, by stage', { stage: 'connect' })).toBeCloseTo(refused)
    expect(await highest('Messages per second, by result', { result: 'accepted' })).toBeGreaterThan(1)
    expect(await highest('Up', { upstream: upstream.address })).toBe(1)
  })

  test('every alert’s expression can be evaluated', async () => {
    const rules = await eventually(prometheus.rules, (all) => all.every(({ health }) => health !== 'unknown'))
    expect(rules).toHaveLength(alerts.length)
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([])
  })

  test('the first panel tells a flood, mail servers that are away, and both', async () => {
    const expr = filledIn(queriesOf('What is it?')[0]!.expr, RATE_INTERVAL)
    const verdict = async (): Promise<number | undefined> => (await prometheus.query(expr))[0]?.values[0]?.[1]
    const becomes = (wanted: number) => eventually(verdict, (value) => value === wanted)
    await becomes(0)
    await Promise.all(apps.map((app) => flood(app, ROUNDS)))
    await becomes(1)
    await upstream.stop()
    await becomes(4)
    const refused = await apps[0]!.client('127.0.1.1')
    expect(await refused.reply()).toMatch(/^421 /)
    await becomes(5)
  })
})
