// The flood lab: the scenarios of docs/flood.md, with Spillway, with blind shedding, and with nothing in front of the same
// cluster. It prints a table for each, and leaves JSON and a timeline as SVG in a directory.
//
//     npm run build && npm run bench:flood -- --scenario S1,S8 [--contenders spillway,blind,nothing] [--nodes N]
//         [--scale X] [--k K] [--seconds N] [--seed N] [--out DIR]

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chart } from './flood/chart.ts'
import { CLASSES } from './flood/ledger.ts'
import { type Result, runScenario } from './flood/run.ts'
import { SCENARIOS, type Scenario } from './flood/scenarios.ts'
import { CONTENDERS, type Contender } from './flood/settings.ts'
import { progress, table } from './measure.ts'
import { benchmark, need, option } from './processes.ts'

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

await benchmark(async () => {
  need({ postfix: false })
  const wanted = (option('scenario') ?? 'S1').split(',')
  const contenders = (option('contenders')?.split(',') ?? CONTENDERS) as Contender[]
  for (const each of contenders) if (!CONTENDERS.includes(each)) throw new Error(`there is no contender ${each}`)
  const [scale, nodes, seed] = [number('scale', 1), number('nodes', 1), number('seed', 1)]
  const out = option('out') ?? '.cache/flood'
  mkdirSync(out, { recursive: true })
  for (const name of wanted) {
    const found = SCENARIOS.find((each) => each.name === name)
    if (found === undefined) throw new Error(`there is no ${name}: ${SCENARIOS.map((each) => each.name).join(', ')}`)
    const scenario: Scenario = { ...found, k: number('k', found.k), seconds: number('seconds', found.seconds) }
    const results: Result[] = []
    for (const contender of contenders) {
      progress(`${name}: ${contender}`)
      results.push(await runScenario(scenario, { contender, nodes, scale, seed }))
    }
    progress('')
    console.log(`\n${name}: ${scenario.title}. K = ${scenario.k}, scale ${scale}, seed ${seed}, nodes ${nodes}\n`)
    console.log(table(['deliveries', 'sent', ...HEAD], results.flatMap(rows)))
    for (const { contender, overCapacity, idle, sockets } of results) {
      const load = `${overCapacity.toFixed(2)} times the cluster's capacity in the worst 10 s`
      console.log(`${contender}: ${load}; machine idle ${percent(idle, 1)}; at most ${sockets} sockets`)
    }
    writeFileSync(join(out, `${name}.json`), `${JSON.stringify(results, null, 1)}\n`)
    const lines = results.map(({ contender, timeline }) => ({
      name: contender,
      points: timeline,
    }))
    const title = `${name}: honest mail accepted at the first try (K = ${scenario.k}, scale ${scale})`
    writeFileSync(join(out, `${name}.svg`), chart(title, lines))
  }
})
