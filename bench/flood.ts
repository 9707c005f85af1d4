// The flood lab: the scenarios of docs/flood.md, with Spillway, with blind shedding, and with nothing in front of the same
// cluster. For each it leaves tables (Markdown), the numbers (JSON) and a timeline (SVG) in a directory, and prints the tables.
//
//     npm run build && npm run bench:flood -- --scenario S1,S8 [--contenders spillway,blind,nothing,calm] [--nodes N]
//         [--scale X] [--k K] [--seconds N] [--after MODEL_MINUTES] [--properly 0.33,0.5,0.7] [--seed N] [--postfix]
//         [--set 'NAME=VALUE …'] [--out DIR]

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chart, type Line } from './flood/chart.ts'
import { goalsOf } from './flood/goals.ts'
import { CLASSES } from './flood/ledger.ts'
import { type Result, runScenario } from './flood/run.ts'
import { SCENARIOS, type Scenario } from './flood/scenarios.ts'
import { CONTENDERS, type Contender } from './flood/settings.ts'
import { progress, table } from './measure.ts'
import { benchmark, need, option } from './processes.ts'

const LEAST_IDLE = 0.1
const MOST_LATE_MS = 500

const number = (name: string, usual: number): number => {
  const value = Number(option(name) ?? usual)
  if (!(value > 0)) throw new Error(`--${name} is a number above 0`)
  return value
}

const percent = (part: number, of: number): string => (of === 0 ? '' : `${((100 * part) / of).toFixed(1)} %`)

function rows(result: Result): string[][] {
  return CLASSES.map((who) => {
    const each = result.classes[who]
    return [
      `${result.contender}: ${who}`,
      `${each.sent}`,
      `${each.tried}`,
      percent(each.atFirstTry, each.sent),
      percent(each.within30Min, each.sent),
      each.within4H === undefined ? 'not watched' : percent(each.within4H, each.sent),
      Number.isNaN(each.p50Ms) ? '' : `${each.p50Ms.toFixed(0)} / ${each.p99Ms.toFixed(0)}`,
      `${each.once} / ${each.twice} / ${each.never}`,
      `${each.lost}`,
      `${each.refusedByUs}`,
    ]
  })
}

const HEAD = ['tried', 'first try', '30 min', '4 h', 'p50 / p99 ms', 'once / twice / never', 'lost', '5yz by us']

/** What the machine had to do, and what makes the run no result. */
function conditions({ contender, idle, cores, visits, sockets, dropped, lateMs }: Result): string[] {
  const { nodes, senders, cluster } = cores
  const used = `cores used: nodes ${nodes.toFixed(2)}, senders ${senders.toFixed(2)}, cluster ${cluster.toFixed(2)}`
  const said = [
    `- ${contender}: machine idle ${percent(idle, 1)}; ${used}; ${visits} visits, at most ${sockets} at once`,
  ]
  if (idle < LEAST_IDLE) said.push(`  **The machine was busy: repeat ${contender} on one that is not.**`)
  if (dropped > 0) said.push(`  **${dropped} visits could not be made: this is no result.**`)
  if (lateMs > MOST_LATE_MS) said.push(`  **The senders were up to ${lateMs.toFixed(0)} ms late.**`)
  return said
}

/** How sessions ended at Spillway, by what it took the clients for: bots are among them. */
function standings(results: readonly Result[]): string[] {
  const ours = results.find(({ contender }) => contender === 'spillway')
  if (ours === undefined) return []
  const said = Object.entries(ours.sessions).map(([standing, each]) => [standing, `${each.relayed}`, `${each.shed}`])
  return [table(['sessions at Spillway', 'relayed', 'shed'], said)]
}

/** The shares and times of goals are of what was sent at the height of a flood. */
const goalsHead = ({ flood }: Scenario): string =>
  flood === undefined ? 'Spillway' : `Spillway, from ${flood.rampS} s on`

function report(scenario: Scenario, results: readonly Result[]): string {
  const { name, title, k } = scenario
  const { scale, seed, capacity } = results[0] as Result
  const nodes = Math.max(...results.map((each) => each.nodes))
  const learnt = results.find((each) => each.learnt !== undefined)?.learnt
  const settings = results.flatMap(({ contender, settings }) => {
    const set = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
    return set.length === 0 || contender === 'calm' ? [] : [`- settings of ${contender}: ${set.join(' ')}`]
  })
  const pressed = results.map(
    ({ contender, overCapacity, dotsOverCapacity }) =>
      `- ${contender}: in the worst 10 s ${overCapacity.toFixed(2)} times the cluster's capacity begun, ${dotsOverCapacity.toFixed(2)} times at the dot`,
  )
  const known = learnt === undefined ? '' : `, ${learnt.known} addresses known to Spillway and ${learnt.seen} seen`
  return [
    `### ${name}: ${title}`,
    `K = ${k}, scale ${scale}, seed ${seed}, nodes ${nodes}; the cluster takes ${capacity.toFixed(1)} messages a second${known}.`,
    table(['deliveries', 'sent', ...HEAD], results.flatMap(rows)),
    ...(goalsOf(results).length === 0
      ? []
      : [
          table(
            [goalsHead(scenario), 'figure'],
            goalsOf(results).map((row) => [...row]),
          ),
        ]),
    ...standings(results),
    [...settings, ...pressed, ...results.flatMap(conditions)].join('\n'),
    '',
  ].join('\n\n')
}

function linesOf(results: readonly Result[]): Line[] {
  const ours = results.find(({ contender }) => contender === 'spillway')
  return [
    ...results
      .filter(({ contender }) => contender !== 'calm')
      .map((each) => ({ name: each.contender, points: each.timeline })),
    ...(ours === undefined
      ? []
      : [
          { name: 'spillway: known', points: ours.known, isDashed: true },
          { name: 'spillway: first', points: ours.firstContacts, isDashed: true },
        ]),
  ]
}

/** One scenario, or as many as there are shares of bots that come back properly. */
function wanted(name: string): Scenario[] {
  const found = SCENARIOS.find((each) => each.name === name)
  if (found === undefined) throw new Error(`there is no ${name}: ${SCENARIOS.map((each) => each.name).join(', ')}`)
  if (number('k', found.k) < 1) throw new Error('--k is at least 1')
  const scenario: Scenario = {
    ...found,
    k: number('k', found.k),
    seconds: number('seconds', found.seconds),
    afterMin: number('after', found.afterMin),
  }
  const { flood } = scenario
  const shares = option('properly')?.split(',').map(Number) ?? []
  for (const each of shares) if (!(each >= 0 && each <= 1)) throw new Error('--properly has shares from 0 to 1')
  if (flood === undefined || shares.length === 0) return [scenario]
  return shares.map((properly) => ({ ...scenario, name: `${name}-${properly}`, flood: { ...flood, properly } }))
}

/** Of Spillway, in the run that is neither blind nor without it. */
const furtherSettings = (): Readonly<Record<string, string>> =>
  Object.fromEntries((option('set')?.split(/\s+/) ?? []).map((each) => each.split(/=(.*)/s).slice(0, 2)))

const rounded = (_: string, value: unknown): unknown => (typeof value === 'number' ? Number(value.toFixed(3)) : value)

await benchmark(async () => {
  const hasPostfix = process.argv.includes('--postfix')
  need({ postfix: hasPostfix })
  const scenarios = (option('scenario') ?? 'S1').split(',').flatMap(wanted)
  const contenders = (option('contenders')?.split(',') ?? CONTENDERS) as Contender[]
  for (const each of contenders) if (!CONTENDERS.includes(each)) throw new Error(`there is no contender ${each}`)
  const [scale, nodes, seed] = [number('scale', 1), number('nodes', 1), number('seed', 1)]
  const more = furtherSettings()
  const out = option('out') ?? '.cache/flood'
  mkdirSync(out, { recursive: true })
  for (const scenario of scenarios) {
    const { name, k } = scenario
    const results: Result[] = []
    for (const contender of contenders) {
      if (contender === 'calm' && scenario.flood === undefined) continue
      progress(`${name}: ${contender}`)
      results.push(await runScenario(scenario, { contender, nodes, scale, seed, hasPostfix, more }))
    }
    progress('')
    const text = report(scenario, results)
    console.log(`\n${text}`)
    writeFileSync(join(out, `${name}.md`), text)
    writeFileSync(join(out, `${name}.json`), `${JSON.stringify(results, rounded)}\n`)
    const title = `${name}: honest mail accepted at the first try, by when it was sent (K = ${k}, scale ${scale})`
    const levels = results.find(({ contender }) => contender === 'spillway')?.levels ?? []
    writeFileSync(join(out, `${name}.svg`), chart({ title, lines: linesOf(results), levels }))
  }
})
