// The flood lab: the scenarios of docs/flood.md, with Spillway, and where it says something with blind shedding, with nothing in front
// of the same cluster, and so on. For each it leaves tables (Markdown), the numbers (JSON) and a timeline (SVG) in a directory, and prints
// the tables. Of all that are in the directory it writes one table of goals: scenarios.md.
//
//     npm run build && npm run bench:flood -- --scenario S1,S8 [--contenders spillway,blind,nothing,calm] [--nodes N]
//         [--scale X] [--k K] [--seconds N] [--after MODEL_MINUTES] [--properly 0.33,0.5,0.7] [--nets-past 0,0.8]
//         [--seed N] [--postfix] [--set 'NAME=VALUE …'] [--short] [--out DIR]
//
// `--scenario all` runs every one of them, shortened (bench/flood/short.ts), in about 35 minutes; `--short` does so for a list.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chart } from './flood/chart.ts'
import type { Options } from './flood/nodes.ts'
import { linesOf, report } from './flood/report.ts'
import { type Result, runScenario } from './flood/run.ts'
import { SCENARIOS, type Scenario, withNetsPast } from './flood/scenarios.ts'
import { BESIDE_A_FLOOD, CONTENDERS, type Contender } from './flood/settings.ts'
import { SHORT } from './flood/short.ts'
import { summary } from './flood/summary.ts'
import { progress, table } from './measure.ts'
import { benchmark, need, option } from './processes.ts'

/** What starting and stopping takes beside a run, in seconds. */
const AROUND_S = 8

const number = (name: string, usual: number): number => {
  const value = Number(option(name) ?? usual)
  if (!(value > 0)) throw new Error(`--${name} is a number above 0`)
  return value
}

/** Those that a sweep goes through; none where it was not asked for. */
function shares(name: string): number[] {
  const all = option(name)?.split(',').map(Number) ?? []
  for (const each of all) if (!(each >= 0 && each <= 1)) throw new Error(`--${name} has shares from 0 to 1`)
  return all
}

const isAll = (name: string): boolean => name === 'all'

/** The scenarios of a name: the one that has it, or those that begin with it; of each as many as there are shares to sweep. */
function wanted(name: string, isShort: boolean): Scenario[] {
  const exact = SCENARIOS.filter((each) => each.name === name)
  const found = exact.length > 0 ? exact : SCENARIOS.filter((each) => isAll(name) || each.name.startsWith(`${name}-`))
  if (found.length === 0) throw new Error(`there is no ${name}: all, ${SCENARIOS.map((each) => each.name).join(', ')}`)
  return found.flatMap((each) => changed(isShort ? { ...each, ...SHORT[each.name] } : each))
}

function changed(found: Scenario): Scenario[] {
  if (number('k', found.k) < 1) throw new Error('--k is at least 1')
  const scenario: Scenario = {
    ...found,
    k: number('k', found.k),
    seconds: number('seconds', found.seconds),
    afterMin: number('after', found.afterMin),
  }
  const past = shares('nets-past')
  const properly = shares('properly')
  const { flood } = scenario
  if (flood === undefined) return [scenario]
  const ofNets = past.length === 0 ? [scenario] : past.map((share) => withNetsPast(scenario, share))
  if (properly.length === 0) return ofNets
  return ofNets.flatMap((each) =>
    properly.map((share) => ({ ...each, name: `${each.name}-${share}`, flood: { ...flood, properly: share } })),
  )
}

/** Who takes part: as was asked for, or Spillway and those that its scenario names. */
function contendersOf({ flood, beside }: Scenario, asked: readonly Contender[] | undefined): readonly Contender[] {
  const all = asked ?? ['spillway', ...(beside ?? (flood === undefined ? [] : BESIDE_A_FLOOD))]
  return flood === undefined ? all.filter((each) => each !== 'calm') : all
}

/** How long one contender takes, in seconds. */
const lasts = ({ seconds, afterMin, k }: Scenario): number => seconds + (afterMin * 60) / k + AROUND_S

interface Planned {
  readonly scenario: Scenario
  readonly contenders: readonly Contender[]
}

function printPlan(plan: readonly Planned[]): void {
  const rows = plan.map(({ scenario, contenders }) => [
    `${scenario.name}: ${scenario.title}`,
    contenders.join(', '),
    `${Math.round(lasts(scenario) * contenders.length)} s`,
  ])
  const minutes = plan.reduce((sum, { scenario, contenders }) => sum + lasts(scenario) * contenders.length, 0) / 60
  console.log(table(['scenario', 'contenders', 'takes'], rows))
  console.log(`\nAbout ${Math.ceil(minutes)} minutes in all.`)
}

/** Of Spillway, in the run that is neither blind nor without it. */
const furtherSettings = (): Readonly<Record<string, string>> =>
  Object.fromEntries((option('set')?.split(/\s+/) ?? []).map((each) => each.split(/=(.*)/s).slice(0, 2)))

const rounded = (_: string, value: unknown): unknown => (typeof value === 'number' ? Number(value.toFixed(3)) : value)

async function run({ scenario, contenders }: Planned, common: Omit<Options, 'contender'>, out: string): Promise<void> {
  const { name, k } = scenario
  const results: Result[] = []
  for (const contender of contenders) {
    progress(`${name}: ${contender}`)
    results.push(await runScenario(scenario, { ...common, contender }))
  }
  progress('')
  const text = report(scenario, results)
  console.log(`\n${text}`)
  writeFileSync(join(out, `${name}.md`), text)
  writeFileSync(join(out, `${name}.json`), `${JSON.stringify(results, rounded)}\n`)
  const title = `${name}: honest mail accepted at the first try, by when it was sent (K = ${k}, scale ${common.scale})`
  const levels = results.find(({ contender }) => contender === 'spillway')?.levels ?? []
  writeFileSync(join(out, `${name}.svg`), chart({ title, lines: linesOf(results), levels }))
}

const USAGE = `npm run bench:flood -- [--scenario all|NAME,…] [--short] [--contenders ${CONTENDERS.join(',')}] [--nodes N]
    [--scale X] [--k K] [--seconds N] [--after MODEL_MINUTES] [--properly 0.33,0.5,0.7] [--nets-past 0,0.8]
    [--seed N] [--postfix] [--set 'NAME=VALUE …'] [--out DIR]
scenarios: ${SCENARIOS.map(({ name }) => name).join(', ')}`
/** Those of bench/processes.ts included. */
const OPTIONS = [...USAGE.matchAll(/\[(--[a-z-]+)/g)].map(([, name]) => name).concat('--program', '--profile', '--node')

await benchmark(async () => {
  if (process.argv.includes('--help')) {
    console.log(USAGE)
    return
  }
  const unknown = process.argv.slice(2).find((each) => each.startsWith('--') && !OPTIONS.includes(each))
  if (unknown !== undefined) throw new Error(`there is no ${unknown}:\n${USAGE}`)
  const hasPostfix = process.argv.includes('--postfix')
  need({ postfix: hasPostfix })
  const names = (option('scenario') ?? 'S1').split(',')
  const isShort = names.includes('all') || process.argv.includes('--short')
  const scenarios = names.flatMap((name) => wanted(name, isShort))
  const asked = option('contenders')?.split(',') as Contender[] | undefined
  for (const each of asked ?? []) if (!CONTENDERS.includes(each)) throw new Error(`there is no contender ${each}`)
  const plan = scenarios.map((scenario) => ({ scenario, contenders: contendersOf(scenario, asked) }))
  const command = `npm run bench:flood -- ${process.argv.slice(2).join(' ')}`
  const common = { nodes: number('nodes', 1), scale: number('scale', 1), seed: number('seed', 1), command }
  const out = option('out') ?? '.cache/flood'
  mkdirSync(out, { recursive: true })
  printPlan(plan)
  for (const each of plan) {
    // One that cannot be run leaves the others.
    await run(each, { ...common, hasPostfix, more: furtherSettings() }, out).catch((error: unknown) => {
      process.exitCode = 1
      console.error(`${each.scenario.name}: ${error instanceof Error ? error.message : error}`)
    })
  }
  const file = join(out, 'scenarios.md')
  // Also those of earlier runs.
  writeFileSync(
    file,
    summary(out, [...SCENARIOS, ...scenarios.filter(({ name }) => !SCENARIOS.some((each) => each.name === name))]),
  )
  console.log(`All goals: ${file}`)
})
