/**
 * `spillway doctor`: looks at everything that Spillway depends on, from where it runs and in the way it reaches it, and says of each
 * thing whether it is well and what to do if it is not. It may run before the first start and beside a node that serves.
 *
 * All probes run side by side, and each has an end, so that one thing that hangs hides no other. The exit codes are those of Nagios
 * plugins: 0 all is well, 1 there is a warning, 2 something has failed. 78 stands for mistakes in the settings.
 */
import { performance } from 'node:perf_hooks'
import type { Loaded } from '../../config/load.ts'
import { describe, SettingsError } from '../../config/mistakes.ts'
import { warningText } from '../../config/rule.ts'
import { within } from '../../core/deadline.ts'
import { messageOf } from '../../core/errors.ts'
import { visible } from '../../telemetry/log.ts'
import { aboutCertificates } from './certificates.ts'
import { aboutDns } from './dns.ts'
import { AREAS, type Area, type Budget, budgetOf, type Finding, Findings, STATES, type State } from './finding.ts'
import { aboutListening } from './listen.ts'
import { aboutMachine } from './machine.ts'
import { aboutNode, type RunningNode } from './node.ts'
import { aboutRedis } from './redis.ts'
import { aboutUpstreams } from './upstreams.ts'

export interface Examined {
  readonly output: string
  readonly code: 0 | 1 | 2 | 78
}

/** For probes; what hangs has no more. */
const PROBES_MS = 8500
/** Behind it a probe that does not keep to its own end is given up. */
const GRACE_MS = 700

type Probe = (loaded: Loaded, found: Findings, budget: Budget, node: Promise<RunningNode | undefined>) => Promise<void>

const PROBES: readonly (readonly [Area, Probe])[] = [
  [
    'listen',
    ({ settings, origins }, found, budget, node) =>
      aboutListening({ settings, isDefault: origins.listen === 'default', budget, node }, found),
  ],
  ['upstream', (loaded, found, budget) => aboutUpstreams(loaded, found, budget)],
  ['redis', ({ settings }, found, budget) => aboutRedis(settings, found, budget)],
  ['dns', ({ settings }, found, budget) => aboutDns(settings, found, budget)],
  ['certificate', ({ settings }, found, budget) => aboutCertificates(settings, found, budget)],
  ['machine', (loaded, found, budget, node) => aboutMachine(loaded, found, budget, node)],
]

/** Never rejects. */
export async function doctor(
  loaded: Loaded | SettingsError,
  options: { readonly json: boolean; readonly probesMs?: number },
): Promise<Examined> {
  if (loaded instanceof SettingsError) {
    const words = `${describe(loaded.mistakes)}\nNothing was examined.\n`
    const json = { state: 'FAIL', mistakes: loaded.mistakes, findings: [] }
    return { output: visible(options.json ? `${JSON.stringify(json, undefined, 2)}\n` : words), code: 78 }
  }
  const begun = performance.now()
  const findings = await examined(loaded, budgetOf(options.probesMs ?? PROBES_MS))
  const state = worst(findings)
  const code = STATES.indexOf(state) as 0 | 1 | 2
  const seconds = Math.round((performance.now() - begun) / 100) / 10
  const json = (): string => `${JSON.stringify({ state, seconds, findings }, undefined, 2)}\n`
  return { output: options.json ? json() : inWords(findings, seconds), code }
}

async function examined(loaded: Loaded, budget: Budget): Promise<Finding[]> {
  const ofNode = new Findings('node')
  const node = aboutNode(loaded.settings, ofNode, budget).catch(() => undefined)
  const examinations = PROBES.map(async ([area, probe]) => {
    const found = new Findings(area)
    const late = (): void =>
      found.fail(area, 'what was asked has not ended in time', 'run it again; if it stays so, tell us with --json')
    try {
      await within(probe(loaded, found, budget, node), budget.left() + GRACE_MS, late)
    } catch (error) {
      found.fail(area, `it could not be examined: ${messageOf(error)}`, 'run it again; if it stays so, tell us')
    }
    // What comes later is not told.
    return [...found.all]
  })
  const all = (await Promise.all(examinations)).flat()
  return [...ofSettings(loaded), ...ofNode.all, ...all].sort((a, b) => AREAS.indexOf(a.area) - AREAS.indexOf(b.area))
}

function ofSettings({ warnings, judged }: Loaded): Finding[] {
  const found = new Findings('settings')
  // What is about something else has a probe of its own.
  const elsewhere = new Set(judged.filter(({ about }) => about !== undefined).map(warningText))
  for (const warning of warnings)
    if (!elsewhere.has(warning)) found.warn('settings', warning, '`spillway check` shows all settings')
  if (found.all.length === 0) found.ok('settings', 'they are right')
  return found.all
}

const worst = (findings: readonly Finding[]): State =>
  STATES[Math.max(0, ...findings.map(({ state }) => STATES.indexOf(state)))] as State

function inWords(findings: readonly Finding[], seconds: number): string {
  const width = Math.max(...findings.map(({ area }) => area.length))
  const lines = findings.flatMap(({ state, area, subject, text, cure }) => [
    `${state.padEnd(4)}  ${area.padEnd(width)}  ${subject === area ? '' : `${subject}: `}${text}`,
    ...(cure === undefined ? [] : [`${' '.repeat(width + 8)}-> ${cure}`]),
  ])
  const count = (state: State): number => findings.filter((each) => each.state === state).length
  const sum = `${count('FAIL')} failed, ${count('WARN')} warnings, ${count('OK')} well, in ${seconds.toFixed(1)} s`
  return `${[...lines, '', sum].join('\n')}\n`
}
