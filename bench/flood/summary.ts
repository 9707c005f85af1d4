// One table of all scenarios, from the results that they have left as JSON: goal, figure, met or missed, and under which conditions.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { table } from '../measure.ts'
import { figureOf, goalsOf, isMet } from './goals.ts'
import { LEAST_IDLE } from './report.ts'
import type { Result } from './run.ts'
import type { Scenario } from './scenarios.ts'

const HEAD = ['scenario', 'goal', 'figure', 'met?']

/** A goal's figure, without what the next column says. */
const bare = (text: string): string => text.replace(/; (?:met|\*\*missed\*\*)\)$/, ')')

/** @param directory with NAME.json for each scenario that has been run @param scenarios in the order of the table */
export function summary(directory: string, scenarios: readonly Pick<Scenario, 'name' | 'title'>[]): string {
  const rows: string[][] = []
  const told: string[] = []
  const commands = new Set<string | undefined>()
  let met = 0
  for (const { name, title } of scenarios) {
    const file = join(directory, `${name}.json`)
    if (!existsSync(file)) continue
    const results = JSON.parse(readFileSync(file, 'utf8')) as Result[]
    const [first] = results
    if (first === undefined) continue
    if ((first as Partial<Result>).figures === undefined) {
      told.push(`- ${name}, ${title}: not in the table, as ${name}.json has no figures for its goals: run it again`)
      continue
    }
    for (const each of goalsOf(results)) {
      if (isMet(each)) met++
      rows.push([name, each.goal, bare(figureOf(each)), isMet(each) ? 'met' : '**missed**'])
    }
    const idle = results.map(({ contender, idle }) => {
      const share = `${contender} ${(100 * idle).toFixed(0)} %`
      return idle < LEAST_IDLE ? `**${share}**` : share
    })
    const past = first.netsPast ? `; ${100 * first.netsPast.share} % of the networks with a past` : ''
    const dropped = results.reduce((sum, each) => sum + each.dropped, 0)
    const isNone = dropped > 0 ? `; **${dropped} visits could not be made: no result**` : ''
    told.push(`- ${name}, ${title}: scale ${first.scale}${past}; machine idle: ${idle.join(', ')}${isNone}`)
    commands.add(first.command)
  }
  return [
    '# The scenarios of the flood lab',
    `Written by \`npm run bench:flood\`. ${met} of ${rows.length} goals are met. [flood.md](../flood.md) says what happens in each.`,
    table(HEAD, rows),
    'How much of the machine was idle (below 10 % times say nothing):',
    told.join('\n'),
    'Run with:',
    [...commands].map((each) => `    ${each ?? 'a command that was not noted'}`).join('\n'),
    '',
  ].join('\n\n')
}
