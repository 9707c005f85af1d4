/** The first panel of the dashboard Flood: what it makes of figures, judged by promtool. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { stringify } from 'yaml'
import { VERDICTS } from '../../deploy/grafana/verdict.ts'
import { promtool } from '../services/prometheus.ts'
import { filledIn, queriesOf } from './dashboards.ts'

/** Counters, by how much they grow in a second. */
interface Figures {
  readonly connections?: number
  /** By the reason. */
  readonly refused?: Readonly<Record<string, number>>
  readonly accepted?: number
  readonly known?: { readonly relayed: number; readonly shed: number }
  /** How long the dot takes. */
  readonly dotS?: number
  readonly up?: readonly (0 | 1)[]
  readonly drained?: readonly (0 | 1)[]
}

const STEP_S = 15
const growing = (perSecond: number): string => `0+${perSecond * STEP_S}x20`
const own = (name: string, labels = ''): string => `spillway_${name}{job="spillway", instance="mx1:9025"${labels}}`

function seriesOf({
  connections = 5,
  refused = {},
  accepted = 5,
  known,
  dotS = 0.1,
  up = [1, 1],
  drained = [],
}: Figures) {
  const { relayed, shed } = known ?? { relayed: 2, shed: 0 }
  const dot = (le: string, perSecond: number) => [
    own('upstream_reply_duration_seconds_bucket', `, upstream="a:25", command="dot", le="${le}"`),
    growing(perSecond),
  ]
  return [
    [own('connections_total', ', family="ipv4"'), growing(connections)],
    [own('messages_total', ', result="accepted", standing="new"'), growing(accepted)],
    ...Object.entries(refused).map(([reason, perSecond]) => [
      own('refusals_total', `, stage="rcpt", reason="${reason}", action="defer", mode="enforce"`),
      growing(perSecond),
    ]),
    [own('sessions_total', ', standing="known", outcome="relayed"'), growing(relayed)],
    [own('sessions_total', ', standing="known", outcome="shed"'), growing(shed)],
    ...up.map((each, i) => [own('upstream_up', `, upstream="${i}:25"`), `${each}x20`]),
    ...drained.map((each, i) => [own('upstream_drained', `, upstream="${i}:25"`), `${each}x20`]),
    ...[dot('1', dotS <= 1 ? 5 : 0), dot('10', 5), dot('+Inf', 5)],
  ].map(([series, values]) => ({ series, values }))
}

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-verdict-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

test.each<[what: string, verdict: keyof typeof VERDICTS, Figures]>([
  ['a quiet day', 0, {}],
  ['a day on which a deny list is at work', 0, { connections: 50, refused: { denied: 45 } }],
  ['a flood that is shed', 1, { connections: 200, refused: { overload: 150 } }],
  [
    // Strangers wait for the connections that are theirs; known senders have others.
    'a flood in which strangers find no connection free',
    1,
    { connections: 200, refused: { overload: 150, upstream_full: 4 }, accepted: 10, known: { relayed: 5, shed: 0 } },
  ],
  ['mail servers that are slow at the dot', 2, { dotS: 8 }],
  ['mail servers that are full without a flood', 2, { refused: { upstream_full: 1 } }],
  ['a flood, and mail servers that are slow at the dot', 3, { connections: 200, refused: { overload: 150 }, dotS: 8 }],
  ['mail servers that break off', 4, { refused: { upstream_lost: 1 } }],
  ['two of three mail servers down', 4, { up: [1, 0, 0] }],
  ['one of three mail servers down', 0, { up: [1, 1, 0] }],
  ['two of three mail servers drained', 0, { up: [1, 0, 0], drained: [0, 1, 1] }],
  ['all mail servers drained', 4, { up: [0, 0], drained: [1, 1] }],
  ['a directory that has failed', 4, { refused: { unknown_guard: 1 } }],
  ['known senders that are put off', 4, { known: { relayed: 2, shed: 0.5 } }],
  [
    'a flood in which known senders are put off',
    5,
    { connections: 200, refused: { overload: 150 }, known: { relayed: 2, shed: 0.5 } },
  ],
])('%s: %i', (_, verdict, figures) => {
  const expr = filledIn(queriesOf('What is it?')[0]!.expr, '1m')
  const rules = join(folder, 'rules.yml')
  writeFileSync(rules, stringify({ groups: [{ name: 'panel', rules: [{ record: 'verdict', expr }] }] }))
  const story = {
    interval: `${STEP_S}s`,
    input_series: seriesOf(figures),
    promql_expr_test: [{ expr: 'verdict', eval_time: '4m', exp_samples: [{ labels: 'verdict', value: verdict }] }],
  }
  const file = join(folder, 'story.yml')
  writeFileSync(file, stringify({ rule_files: [rules], evaluation_interval: `${STEP_S}s`, tests: [story] }))
  const { code, output } = promtool(['test', 'rules', file])
  expect(code === 0 ? '' : output).toBe('')
})

test('every verdict has words, and those that say that honest mail is harmed are red, and no others', () => {
  expect(Object.keys(VERDICTS)).toHaveLength(8)
  for (const [words, colour] of Object.values(VERDICTS))
    expect([words, colour === 'red']).toEqual([words, /HONEST/.test(words)])
})
