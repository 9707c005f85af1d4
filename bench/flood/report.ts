// What is said of a scenario's runs: tables, the conditions they were made under, and the lines of its chart.

import { table } from '../measure.ts'
import type { Line } from './chart.ts'
import { isTest } from './early.ts'
import { figureOf, goalsOf } from './goals.ts'
import { CLASSES, type ClassTally } from './ledger.ts'
import type { Result } from './run.ts'
import type { Scenario } from './scenarios.ts'

/** Below this share of idle time, times say nothing. */
export const LEAST_IDLE = 0.1
const MOST_LATE_MS = 500

const percent = (part: number, of: number): string => (of === 0 ? '' : `${((100 * part) / of).toFixed(1)} %`)

function rows(result: Result): string[][] {
  const { classes, hosted, contender } = result
  const named: [string, ClassTally][] = CLASSES.map((who) => [who, classes[who]])
  if (hosted.sent > 0) named.splice(2, 0, ['of these in a network with a past', hosted])
  return named.map(([who, each]) => {
    return [
      `${contender}: ${who}`,
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

/** Who was refused early, and by what. A visit counts by its first refusal. */
function early({ listed }: Scenario, results: readonly Result[]): string[] {
  const met = results.find(({ contender }) => contender === 'spillway')?.met
  if (listed === undefined || met === undefined) return []
  const rows = Object.entries(met)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([kind, { visits, beforeMail, beforeRcpt, reasons }]) => {
      const by = Object.entries(reasons).sort(([, a], [, b]) => b - a)
      const tests = by.filter(([reason]) => isTest(reason)).reduce((sum, [, count]) => sum + count, 0)
      const told = by.map(([reason, count]) => `${reason} ${count}`).join(', ')
      return [kind, `${visits}`, percent(beforeMail, visits), percent(beforeRcpt, visits), `${tests}`, told]
    })
  const head = [
    'sessions of',
    'all',
    'refused before MAIL',
    'before a mail server is asked',
    'by a test',
    'first refusal',
  ]
  return [table(head, rows)]
}

/** What pressed hardest, and how high the level was. */
function hardest(results: readonly Result[]): string[] {
  const ours = results.find(({ contender }) => contender === 'spillway')
  if (ours === undefined || ours.levels.length === 0) return []
  const most = ours.levels.reduce((a, b) => (b.pressure > a.pressure ? b : a))
  const level = Math.max(...ours.levels.map((each) => each.level))
  const unknown = ours.isCut ? `; ${ours.unknown} messages logged as unknown` : ''
  return [`- highest level ${level}; highest pressure ${most.pressure.toFixed(2)}, of ${most.signal}${unknown}`]
}

/** The shares and times of goals are of what was sent at the height of a flood. */
const goalsHead = ({ flood }: Scenario): string =>
  flood === undefined ? 'Spillway' : `Spillway, from ${flood.rampS} s on`

export function report(scenario: Scenario, results: readonly Result[]): string {
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
  const past = results.find(({ netsPast }) => netsPast !== undefined)?.netsPast
  const old = `P = ${past?.share ?? 0}: ${past === undefined ? 'no network of the flood has' : `${past.nets} of ${past.of} networks of the flood have`} a past`
  const known = learnt === undefined ? '' : `, ${learnt.known} addresses known to Spillway and ${learnt.seen} seen`
  return [
    `### ${name}: ${title}`,
    `K = ${k}, scale ${scale}, seed ${seed}, nodes ${nodes}; the cluster takes ${capacity.toFixed(1)} messages a second${known}.${scenario.flood === undefined ? '' : ` ${old}.`}`,
    table(['deliveries', 'sent', ...HEAD], results.flatMap(rows)),
    ...(goalsOf(results).length === 0
      ? []
      : [
          table(
            [goalsHead(scenario), 'figure'],
            goalsOf(results).map((each) => [each.goal, figureOf(each)]),
          ),
        ]),
    ...standings(results),
    ...early(scenario, results),
    [...hardest(results), ...settings, ...pressed, ...results.flatMap(conditions)].join('\n'),
    '',
  ].join('\n\n')
}

export function linesOf(results: readonly Result[]): Line[] {
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
