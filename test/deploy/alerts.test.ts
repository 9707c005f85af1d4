/**
 * The alerts of deploy/prometheus/alerts.yml against what comes and goes: each fires, and holds without a gap until it has
 * stopped; what is restarted as planned raises none. Judged by promtool, a sample every 15 seconds.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { parse, stringify } from 'yaml'
import { promtool } from '../services/prometheus.ts'

const RULES = fileURLToPath(new URL('../../deploy/prometheus/alerts.yml', import.meta.url))
const { groups } = parse(readFileSync(RULES, 'utf8')) as { groups: { rules: { alert: string }[] }[] }
const ALERTS = groups.flatMap(({ rules }) => rules)

const STEP_S = 15
const steps = (minutes: number): number => (minutes * 60) / STEP_S

/** Samples, one a step; `_` is a scrape that found no such series. */
type Samples = readonly (number | '_')[]
type Series = Readonly<Record<string, Samples>>

const constant = (value: number | '_', minutes: number): Samples => Array(steps(minutes)).fill(value)
const repeated = (pattern: Samples, minutes: number): Samples =>
  Array.from({ length: steps(minutes) }, (_, step) => pattern[step % pattern.length] as number)
/** A counter that grows by `step` each time, from `from`. */
const growing = (step: number, minutes: number, from = 0): Samples =>
  Array.from({ length: steps(minutes) }, (_, index) => from + index * step)

/** A counter that grows at each step by what `by` says. */
function stepped(length: number, by: (step: number) => number): Samples {
  let value = 0
  return Array.from({ length }, (_, step) => {
    value += by(step)
    return value
  })
}

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-alerts-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Whether all evaluations from one minute to another found an alert of these firing, or none of them did. */
interface Question {
  readonly from: number
  readonly to: number
  readonly firing: 'always' | 'never'
}

/** @returns what promtool has to say against it; nothing where the alerts are as expected */
function judge(alerts: typeof ALERTS, series: Series, questions: readonly Question[]): string {
  const rules = join(folder, 'alerts.yml')
  writeFileSync(rules, stringify({ groups: [{ name: 'spillway', rules: alerts }] }))
  const promql = questions.map(({ from, to, firing }) => ({
    // A second more, so that both the first and the last evaluation are counted.
    expr: `sum(count_over_time(ALERTS{alertstate="firing"}[${(to - from) * 60 + 1}s]))`,
    eval_time: `${to * 60}s`,
    exp_samples: firing === 'always' ? [{ labels: '{}', value: steps(to - from) + 1 }] : [],
  }))
  const input = Object.entries(series).map(([name, samples]) => ({ series: name, values: samples.join(' ') }))
  const story = { interval: `${STEP_S}s`, input_series: input, promql_expr_test: promql }
  const file = join(folder, 'story.yml')
  writeFileSync(file, stringify({ rule_files: [rules], evaluation_interval: `${STEP_S}s`, tests: [story] }))
  const { code, output } = promtool(['test', 'rules', file])
  return code === 0 ? '' : output
}

const up = (node: string): string => `up{job="spillway", instance="${node}:9025"}`
const gauge = (name: string, node: string, labels = ''): string =>
  `spillway_${name}{job="spillway", instance="${node}:9025"${labels}}`
const upstreamUp = (node: string, upstream: string): string => gauge('upstream_up', node, `, upstream="${upstream}:25"`)
const counter = (name: string, labels: string): string => `${name}{job="spillway", instance="mx1:9025", ${labels}}`
const DAY_S = 86_400
/** When the certificate of mx.example.net expires. The stories begin at the second 0. */
const expiry = (node: string): string =>
  gauge('tls_certificate_expiry_timestamp_seconds', node, ', name="mx.example.net"')
const connections = counter('spillway_connections_total', 'family="ipv4"')
const accepted = counter('spillway_messages_total', 'result="accepted", standing="new"')
const full = counter(
  'spillway_refusals_total',
  'stage="connect", reason="max_connections", action="drop", mode="enforce"',
)
const limited = counter(
  'spillway_refusals_total',
  'stage="connect", reason="net_connections", action="drop", mode="enforce"',
)
const sessions = (outcome: string): string =>
  counter('spillway_sessions_total', `standing="known", outcome="${outcome}"`)
const started = (node: string): string => `process_start_time_seconds{job="spillway", instance="${node}:9025"}`

/** In minutes: all is well, then something comes and goes, then all is well again. */
const BEFORE = 5
const FLAPS = 40
const AFTER = 40
const flapping = (well: number | '_', pattern: Samples): Samples => [
  ...constant(well, BEFORE),
  ...repeated(pattern, FLAPS),
  ...constant(well, AFTER),
]

describe('what comes and goes', () => {
  const CRASH_LOOP = [0, 0, 0, 1]
  const HALF = [0, 1]
  const rows: readonly (readonly [alert: string, what: string, Series, withinMinutes: number])[] = [
    ['SpillwayNoNodeUp', 'the only node crashes again and again', { [up('mx1')]: flapping(1, CRASH_LOOP) }, 3],
    ['SpillwayNoNodeUp', 'the only node answers every other time', { [up('mx1')]: flapping(1, HALF) }, 4],
    [
      'SpillwayNoNodeUp',
      'four nodes crash again and again, and one of them is always up',
      Object.fromEntries(
        [0, 1, 2, 3].map((node) => [
          up(`mx${node}`),
          flapping(
            1,
            CRASH_LOOP.map((_, step) => CRASH_LOOP[(step + node) % 4] as number),
          ),
        ]),
      ),
      5,
    ],
    [
      'SpillwayNodeDown',
      'one of two nodes crashes again and again',
      { [up('mx1')]: flapping(1, CRASH_LOOP), [up('mx2')]: constant(1, BEFORE + FLAPS + AFTER) },
      4,
    ],
    ['SpillwayNodeDown', 'a node answers every other time', { [up('mx1')]: flapping(1, HALF) }, 5],
    [
      'SpillwayNodeDown',
      'a node misses one scrape in eight minutes',
      { [up('mx1')]: flapping(1, [0, ...constant(1, 7.75)]) },
      25,
    ],
    [
      'SpillwayNodeDown',
      'a node starts anew every eight minutes, so fast that no scrape fails',
      {
        [up('mx1')]: constant(1, BEFORE + FLAPS + AFTER),
        [started('mx1')]: [
          ...constant(1, BEFORE),
          ...growing(1, FLAPS).map((step) => 100 + Math.floor((step as number) / steps(8))),
          ...constant(105, AFTER),
        ],
      },
      17,
    ],
    [
      'SpillwayNothingRelayed',
      'of thirty connections a second one message gets through every four minutes',
      {
        [connections]: growing(30 * STEP_S, BEFORE + FLAPS + AFTER),
        [accepted]: [
          ...growing(50, BEFORE),
          ...growing(1, FLAPS).map((step) => 10_000 + Math.floor((step as number) / steps(4))),
          ...growing(50, AFTER, 11_000),
        ],
      },
      11,
    ],
    [
      'SpillwayAllUpstreamsDown',
      'both mail servers come and go together',
      { [upstreamUp('mx1', 'a')]: flapping(1, CRASH_LOOP), [upstreamUp('mx1', 'b')]: flapping(1, CRASH_LOOP) },
      3,
    ],
    [
      'SpillwayAllUpstreamsDown',
      'mail servers of which one or the other is there half of the time',
      { [upstreamUp('mx1', 'a')]: flapping(1, [0, 0, 0, 1]), [upstreamUp('mx1', 'b')]: flapping(1, [0, 1, 0, 0]) },
      4,
    ],
    [
      'SpillwayUpstreamDown',
      'one of two mail servers comes and goes',
      {
        [upstreamUp('mx1', 'a')]: flapping(1, HALF),
        [upstreamUp('mx2', 'a')]: flapping(1, HALF),
        [upstreamUp('mx1', 'b')]: constant(1, BEFORE + FLAPS + AFTER),
      },
      5,
    ],
    [
      'SpillwayUpstreamDown',
      'a mail server leaves for a moment every eight minutes',
      { [upstreamUp('mx1', 'a')]: flapping(1, [0, ...constant(1, 7.75)]) },
      25,
    ],
    [
      'SpillwayRedisFallback',
      'Redis answers every other time',
      { [gauge('redis_fallback_active', 'mx1')]: flapping(0, [1, 0]) },
      4,
    ],
    [
      'SpillwayRedisFallback',
      'Redis is lost for a moment every eight minutes',
      { [gauge('redis_fallback_active', 'mx1')]: flapping(0, [1, ...constant(0, 7.75)]) },
      25,
    ],
    [
      'SpillwayKnownSendersRefused',
      'a known sender is refused for two of four minutes',
      {
        'spillway_known_refused_total{job="spillway",instance="mx1:9025",reason="denied",result="for_good"}': [
          ...constant(0, BEFORE),
          ...stepped(steps(FLAPS), (step) => (step % steps(4) < steps(2) ? 1 : 0)),
          ...constant(10_000, AFTER),
        ],
      },
      11,
    ],
    [
      'SpillwayKnownSendersPutOff',
      'half of the known senders are put off for two of four minutes',
      {
        [sessions('relayed')]: growing(20, BEFORE + FLAPS + AFTER),
        [sessions('shed')]: [
          ...constant(0, BEFORE),
          ...stepped(steps(FLAPS), (step) => (step % steps(4) < steps(2) ? 20 : 0)),
          ...constant(10_000, AFTER),
        ],
      },
      11,
    ],
    [
      'SpillwayFlood',
      'a flood in waves: two of four minutes',
      {
        [connections]: growing(100 * STEP_S, BEFORE + FLAPS + AFTER),
        [limited]: [
          ...constant(0, BEFORE),
          ...stepped(steps(FLAPS), (step) => (step % steps(4) < steps(2) ? 1000 : 0)),
          ...constant(1_000_000, AFTER),
        ],
      },
      11,
    ],
    [
      'SpillwayDnsListAside',
      'a DNS list answers with errors three minutes of four',
      {
        [gauge('dnsbl_zone_up', 'mx1', ', zone="bl.example.org"')]: flapping(1, [...constant(0, 3), ...constant(1, 1)]),
      },
      21,
    ],
    [
      'SpillwayUnknownGuardActive',
      'the guard goes on and off',
      { [gauge('unknown_guard_active', 'mx1')]: flapping(0, [1, 0, 0, 0]) },
      5,
    ],
    [
      'SpillwayConnectionsAtLimit',
      'a node is full for a moment every eight minutes',
      {
        [full]: [
          ...constant(0, BEFORE),
          ...growing(1, FLAPS).map((step) => 10 * Math.ceil(((step as number) + 1) / steps(8))),
          ...constant(60, AFTER),
        ],
      },
      1,
    ],
    [
      'SpillwayOverloaded',
      'a flood in waves: four minutes of five at level 3',
      { [gauge('overload_level', 'mx1')]: flapping(0, [...constant(3, 4), ...constant(1, 1)]) },
      16,
    ],
    [
      'SpillwayOpenFilesNearLimit',
      'a flood in waves takes most open files every other time',
      {
        'process_open_fds{job="spillway", instance="mx1:9025"}': flapping(300, [950, 300]),
        'process_max_fds{job="spillway", instance="mx1:9025"}': constant(1000, BEFORE + FLAPS + AFTER),
      },
      5,
    ],
    ...(
      [
        ['SpillwayCertificateExpiresSoon', 10],
        ['SpillwayCertificateExpires', 2],
      ] as const
    ).map(
      ([alert, days]) =>
        [
          alert,
          'one of two nodes, which is scraped every other time, has an old certificate',
          {
            [expiry('mx1')]: flapping(100 * DAY_S, [days * DAY_S, '_']),
            [expiry('mx2')]: constant(100 * DAY_S, BEFORE + FLAPS + AFTER),
          },
          1,
        ] as const,
    ),
    [
      'SpillwayReloadFailed',
      'the files can be used every other time',
      { [gauge('tls_certificates_stale', 'mx1')]: flapping(0, [1, 0]) },
      4,
    ],
    [
      'SpillwayReloadFailed',
      'they cannot be used for a moment every eight minutes',
      { [gauge('tls_certificates_stale', 'mx1')]: flapping(0, [1, ...constant(0, 7.75)]) },
      25,
    ],
    [
      'SpillwayWorkersUnstable',
      'a worker hangs every other time',
      { [gauge('worker_up', 'mx1', ', worker="1"')]: flapping(1, [1, 0]) },
      5,
    ],
    [
      'SpillwayWorkersUnstable',
      'a worker dies every eight minutes',
      {
        [gauge('worker_restarts_total', 'mx1', ', worker="1"')]: [
          ...constant(0, BEFORE),
          ...growing(1, FLAPS).map((step) => 1 + Math.floor((step as number) / steps(8))),
          ...constant(5, AFTER),
        ],
      },
      25,
    ],
    ['SpillwayReloadFailed', 'every other reload fails', { [gauge('settings_stale', 'mx1')]: flapping(0, [1, 0]) }, 4],
    [
      'SpillwaySettingsDiffer',
      'one node has other settings every time but one',
      {
        [gauge('settings_info', 'mx1', ', hash="a"')]: constant(1, BEFORE + FLAPS + AFTER),
        [gauge('settings_info', 'mx2', ', hash="b"')]: flapping('_', [1, 1, 1, '_']),
      },
      25,
    ],
  ]

  test.each(rows)('%s: %s', (name, _, series, within) => {
    const alerts = ALERTS.filter(({ alert }) => alert === name)
    const questions: Question[] = [
      { from: 0, to: BEFORE - 0.25, firing: 'never' },
      // Without a gap: an alert that says every few minutes that all is well again is soon turned off.
      { from: BEFORE + within, to: BEFORE + FLAPS, firing: 'always' },
      { from: BEFORE + FLAPS + 36, to: BEFORE + FLAPS + AFTER - 0.25, firing: 'never' },
    ]
    expect(judge(alerts, series, questions)).toBe('')
  })

  test('is tried with every alert', () => {
    expect(new Set(rows.map(([alert]) => alert))).toEqual(new Set(ALERTS.map(({ alert }) => alert)))
  })
})

describe('as planned: no alert is raised by', () => {
  const HOUR = 60
  /** As the value of something that is `bad` for so many seconds, ten minutes after the beginning, and `well` otherwise. */
  const once = (well: number, bad: number | '_', seconds: number, at = 10): Samples => [
    ...constant(well, at),
    ...Array(seconds / STEP_S).fill(bad),
    ...constant(well, HOUR - at - seconds / 60),
  ]
  const traffic = (seconds: number): Series => ({
    // The counters begin again at 0 with the process.
    [connections]: [
      ...growing(150, 10),
      ...Array(seconds / STEP_S).fill('_'),
      ...growing(150, HOUR - 10 - seconds / 60),
    ],
    [accepted]: [...growing(30, 10), ...Array(seconds / STEP_S).fill('_'), ...growing(30, HOUR - 10 - seconds / 60)],
  })
  const rows: readonly (readonly [what: string, Series])[] = [
    [
      'a restart of the only node, within a minute',
      {
        [up('mx1')]: once(1, 0, 60),
        [started('mx1')]: [...constant(100, 10), '_', '_', '_', '_', ...constant(700, HOUR - 11)],
        ...traffic(60),
        // After its start it has not reached anybody yet.
        [upstreamUp('mx1', 'a')]: [...once(1, '_', 60).slice(0, steps(11)), 0, ...constant(1, HOUR - 12)],
        [gauge('redis_fallback_active', 'mx1')]: [
          ...once(0, '_', 60).slice(0, steps(11)),
          1,
          ...constant(0, HOUR - 12),
        ],
        [gauge('unknown_guard_active', 'mx1')]: once(0, '_', 60),
      },
    ],
    [
      'two nodes that are rolled out one after the other, two minutes each',
      {
        [up('mx1')]: once(1, 0, 120, 10),
        [up('mx2')]: once(1, 0, 120, 12),
        [started('mx1')]: [...constant(100, 10), ...Array(8).fill('_'), ...constant(700, HOUR - 12)],
        [started('mx2')]: [...constant(100, 12), ...Array(8).fill('_'), ...constant(820, HOUR - 14)],
        [upstreamUp('mx1', 'a')]: once(1, '_', 120, 10),
        [upstreamUp('mx2', 'a')]: once(1, '_', 120, 12),
      },
    ],
    [
      'a new version that is taken back at once',
      {
        [up('mx1')]: [...once(1, 0, 30).slice(0, steps(15)), 0, 0, ...constant(1, HOUR - 15.5)],
        [up('mx2')]: constant(1, HOUR),
      },
    ],
    [
      'the first minute of a stack whose Prometheus is there before its node',
      { [up('mx1')]: [0, 0, 0, ...constant(1, HOUR)] },
    ],
    [
      'a restart of the only mail server, within a minute',
      {
        [upstreamUp('mx1', 'a')]: once(1, 0, 60),
        [upstreamUp('mx2', 'a')]: once(1, 0, 60),
        [up('mx1')]: constant(1, HOUR),
      },
    ],
    [
      'a restart of one of two mail servers, two minutes long',
      {
        [upstreamUp('mx1', 'a')]: once(1, 0, 120),
        [upstreamUp('mx1', 'b')]: constant(1, HOUR),
        [up('mx1')]: constant(1, HOUR),
      },
    ],
    [
      'a Redis that fails over to another, within a minute',
      { [gauge('redis_fallback_active', 'mx1')]: once(0, 1, 60), [up('mx1')]: constant(1, HOUR) },
    ],
    [
      'a certificate that is renewed 30 days before its end, on one node before the other',
      {
        [expiry('mx1')]: [...constant(30 * DAY_S + 3600, 20), ...constant(120 * DAY_S, HOUR - 20)],
        [expiry('mx2')]: [...constant(30 * DAY_S + 3600, 40), ...constant(120 * DAY_S, HOUR - 40)],
        [gauge('tls_certificates_stale', 'mx1')]: once(0, 1, 30),
        [up('mx1')]: constant(1, HOUR),
      },
    ],
    [
      'a directory that is restarted within a minute',
      { [gauge('unknown_guard_active', 'mx1')]: once(0, 1, 60), [up('mx1')]: constant(1, HOUR) },
    ],
  ]

  const quiet: Question[] = [{ from: 0, to: HOUR - 0.25, firing: 'never' }]

  test.each(rows)('%s', (_, series) => {
    expect(judge(ALERTS, series, quiet)).toBe('')
  })

  test('but it is asked in a way that would show one', () => {
    expect(judge(ALERTS, { [up('mx1')]: once(1, 0, 90) }, quiet)).toContain('FAILED')
    const away = { [up('mx1')]: constant(1, HOUR), [upstreamUp('mx1', 'a')]: once(1, 0, 90) }
    expect(judge(ALERTS, away, quiet)).toContain('FAILED')
  })
})
