// Pictures of the dashboards, without a Grafana: a flood of the lab against two real nodes, a real Prometheus that scrapes them, and
// each dashboard of deploy/grafana drawn from its answers, as SVG. They stand in README and docs.
//
//     npm run build && npm run dashboards:pictures -- [--out docs/pictures] [--seconds N]
//
// What is drawn is what Grafana would be told: the same files, the same queries, the colours and units that stand in them.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Prometheus, startPrometheus } from '../test/services/prometheus.ts'
import { startDns, type Zone } from '../test/support/dns.ts'
import { runScenario } from './flood/run.ts'
import type { Scenario } from './flood/scenarios.ts'
import { answersOf, type Span } from './pictures/answers.ts'
import { draw } from './pictures/draw.ts'
import type { Dashboard } from './pictures/model.ts'
import { atEnd, benchmark, need, option } from './processes.ts'

const FOLDER = join(import.meta.dirname, '../deploy/grafana/dashboards')
const SCRAPE_MS = 2000
/** Four scrapes at least, as Grafana does. */
const RATE_INTERVAL = '10s'
/** Points of a line. */
const POINTS = 100
/** With less of the machine idle, what is drawn is its load. */
const IDLE = 0.15
const LISTS = ['bl.example.org', 'wl.example.net']

/** A calm half minute, a flood that rises to thirty times the honest mail, and a Redis that stands still for a while. */
const SCENARIO: Scenario = {
  name: 'pictures',
  title: 'a flood, for the pictures',
  k: 60,
  seconds: Number(option('seconds') ?? 180),
  afterMin: 5,
  hasPast: true,
  // Told by PROXY headers, clients have public addresses, which the DNS can be asked about.
  logs: 'a fortnight',
  nodes: 2,
  flood: { times: 30, fromS: 40, rampS: 40, kind: 'usual' },
  // Nobody attacks by handshakes, but honest mail comes with STARTTLS.
  handshakes: [],
  redis: [{ fault: 'frozen', atS: 110, forS: 15 }],
}
const OPTIONS = { contender: 'spillway', nodes: 2, scale: 0.25, seed: 1 } as const

/** The lists are well, and have nobody. */
const ZONES: Zone = Object.fromEntries(LISTS.map((name) => [`2.0.0.127.${name} a`, ['127.0.0.2']]))

/** What stands in the pictures for names that are of this machine alone. */
async function namesIn(prometheus: Prometheus, nodes: readonly number[]): Promise<ReadonlyMap<string, string>> {
  const names = new Map(nodes.map((admin, i) => [`127.0.0.1:${admin}`, `mx${i + 1}:9025`]))
  for (const { labels } of await prometheus.query('spillway_upstream_up')) names.set(labels.upstream ?? '', 'mail1:25')
  for (const { labels } of await prometheus.query('spillway_tls_certificate_expiry_timestamp_seconds')) {
    names.set(labels.name ?? '', 'mx.example.net')
  }
  return names
}

/** The first rows of a dashboard. */
function top({ title, panels }: Dashboard, rows: number): Dashboard {
  const end = panels.filter(({ type }) => type === 'row')[rows]?.gridPos.y ?? Number.POSITIVE_INFINITY
  return { title, panels: panels.filter(({ gridPos }) => gridPos.y < end) }
}

await benchmark(async () => {
  need({ postfix: false })
  const out = option('out') ?? 'docs/pictures'
  const dns = await startDns(ZONES)
  atEnd(() => dns.stop())
  const more = {
    DNS_SERVERS: dns.address,
    DNSBL_ZONES: LISTS.join(','),
    DNSBL: 'observe',
    UPSTREAM_MAX_CONNECTIONS: 'auto',
    LIMIT_GLOBAL_CONNECTIONS: '100000/1m',
    HISTORY_DOMAINS: 'on',
  }
  let prometheus: Prometheus | undefined
  let startS = 0
  let admins: readonly number[] = []
  console.log(`a flood of ${SCENARIO.seconds} s`)
  const { idle } = await runScenario(SCENARIO, {
    ...OPTIONS,
    more,
    watched: async (nodes) => {
      const started = await startPrometheus({
        jobs: { spillway: nodes.map(({ admin }) => `127.0.0.1:${admin}`) },
        intervalMs: SCRAPE_MS,
      })
      prometheus = started
      admins = nodes.map(({ admin }) => admin)
      atEnd(() => started.stop())
      await started.waitForScrapes()
      startS = Date.now() / 1000
    },
  })
  if (idle < IDLE)
    console.log(`${Math.round(idle * 100)} % of the machine was idle: draw them again when it has less to do`)
  if (prometheus === undefined) throw new Error('there were no nodes to watch')
  const asked = prometheus
  const names = await namesIn(asked, admins)
  const span: Span = {
    ...{ startS: startS + 8, endS: startS + SCENARIO.seconds, points: POINTS, rateInterval: RATE_INTERVAL },
    names,
  }
  mkdirSync(out, { recursive: true })
  const dashboards = readdirSync(FOLDER).map(
    (file) => [file.replace('.json', ''), JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as Dashboard] as const,
  )
  const titles = dashboards.map(([, { title }]) => title)
  for (const [name, dashboard] of dashboards) {
    const answers = await answersOf(dashboard, asked, span)
    writeFileSync(join(out, `${name}.svg`), draw(dashboard, { answers, span, titles }))
    if (name === 'flood')
      writeFileSync(join(out, 'flood-glance.svg'), draw(top(dashboard, 2), { answers, span, titles }))
    const empty = dashboard.panels.filter(({ id }) => answers.get(id)?.length === 0)
    console.log(`${join(out, `${name}.svg`)}${empty.map(({ title }) => `\n  nothing to show: ${title}`).join('')}`)
  }
})
