/**
 * Short runs of the flood lab: what must hold in every run, however loaded the machine is. The figures that docs/flood.md shows
 * are of `npm run bench:flood`.
 */
import { fileURLToPath } from 'node:url'
import { beforeAll, expect, test } from '@jest/globals'
import type { Options } from '../../bench/flood/nodes.ts'
import { type Result, runScenario } from '../../bench/flood/run.ts'
import { SCENARIOS, type Scenario } from '../../bench/flood/scenarios.ts'

const PROGRAM = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
const SCALE = 0.2

const scenario = (name: string, shorter: Partial<Scenario>): Scenario => ({
  ...(SCENARIOS.find((each) => each.name === name) as Scenario),
  ...shorter,
})
const run = (short: Scenario, more: Partial<Options> = {}) =>
  runScenario(short, { contender: 'spillway', nodes: 1, scale: SCALE, seed: 1, program: PROGRAM, ...more })

const firstTry = ({ classes }: Result): number => classes.known.atFirstTry / classes.known.sent

// They take their time and little else, so they run at once. A flood half as high as the lab's is eight times what the cluster can take.
const stall = { atS: 3, forS: 4 }
const S1 = scenario('S1', { seconds: 12, afterMin: 2, flood: { times: 25, rampS: 2, kind: 'usual' } })
const firstDay = { listRecipients: 300, perMessage: 50, overS: 8 }
const RUNS = {
  S1: () => run(S1),
  blind: () => run(S1, { contender: 'blind' }),
  S8: () => run(scenario('S8', { seconds: 10, afterMin: 5, stall })),
  S14: () => run(scenario('S14', { seconds: 15, afterMin: 0.5, turnsBad: { atS: 1, perSecond: 40 } })),
  S16: () => run(scenario('S16', { seconds: 10, afterMin: 0.05, firstDay })),
}
const results = new Map<string, Result>()
const of = (name: keyof typeof RUNS): Result => results.get(name) as Result

beforeAll(async () => {
  // Each stops what it has started, also where another fails.
  const ended = await Promise.allSettled(
    Object.entries(RUNS).map(async ([name, each]) => results.set(name, await each())),
  )
  for (const each of ended) if (each.status === 'rejected') throw each.reason
}, 120_000)

test.each(Object.keys(RUNS) as (keyof typeof RUNS)[])(
  '%s: no honest mail is lost, doubled, or refused by us',
  (name) => {
    const { classes, dropped } = of(name)
    expect(dropped).toBe(0)
    expect(classes.known.sent + classes['first contact'].sent).toBeGreaterThan(15)
    for (const who of ['known', 'first contact'] as const) {
      expect(classes[who]).toMatchObject({ lost: 0, twice: 0, refusedByUs: 0 })
    }
  },
)

test('S1: of known senders several times as much comes in as with blind shedding', () => {
  expect(of('S1').learnt?.known).toBeGreaterThan(5000)
  // Whom Spillway knows it lets in.
  expect(of('S1').sessions.known).toMatchObject({ shed: 0 })
  expect(of('S1').sessions.new?.shed).toBeGreaterThan(100)
  expect(firstTry(of('S1'))).toBeGreaterThan(0.8)
  expect(firstTry(of('S1'))).toBeGreaterThan(2 * firstTry(of('blind')))
})

test('S14: a known sender that turns bad loses its standing, and is shed', () => {
  const { seen, suspect } = of('S14').sessions
  expect((seen?.shed ?? 0) + (suspect?.shed ?? 0)).toBeGreaterThan(100)
})

test('S16: on an honest first day nobody is put off', () => {
  const { known, 'first contact': first } = of('S16').classes
  expect(known.putOffByUs + first.putOffByUs).toBe(0)
  expect(known.never + first.never).toBe(0)
})
