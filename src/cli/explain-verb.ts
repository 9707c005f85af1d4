/**
 * `spillway explain`: asks the node that runs with these settings what an address, a network, a sender or an id is to it. An id tells
 * something by itself as well (explain.ts), which is the answer where no node can be asked.
 */
import type { Explanation } from '../admin/explain.ts'
import { type Fact, factsOf, type LimitFact, type NodeFacts, type SessionFact } from '../admin/explain-facts.ts'
import type { Loaded } from '../config/load.ts'
import { SettingsError } from '../config/mistakes.ts'
import { writtenAddress } from '../core/address.ts'
import { readId, writtenId } from '../core/id.ts'
import { parseNetwork } from '../core/ip.ts'
import { askFor, LONGEST_MS, runVerb, type VerbOptions, type VerbTold, WITH_SETTINGS } from './admin-verb.ts'
import type { Admin } from './ask-node.ts'
import { explain } from './explain.ts'

/** Never rejects. @param positionals what is asked about */
export async function explained(
  loaded: Loaded | SettingsError,
  [asked = '']: readonly string[],
  options: VerbOptions,
): Promise<VerbTold> {
  const id = writtenId(asked)
  const isId = readId(id) !== undefined
  const isSender = asked.includes('@') && writtenAddress(asked) !== undefined
  if (!isId && !isSender && !isNetwork(asked.trim())) return offline(asked, options)
  const path = `/api/v1/explain?q=${encodeURIComponent(isId ? id : asked.trim())}`
  const ask = (admin: Admin): Promise<unknown> => askFor(admin, { method: 'GET', path, longestMs: LONGEST_MS })
  const told = await runVerb(
    loaded,
    options,
    () => ask,
    (answer) => inWords(answer as Explanation),
  )
  if (told.code === 0 || !isId) return told
  const alone = offline(id, options)
  if (options.json) return alone
  const why =
    loaded instanceof SettingsError ? `there are mistakes in the settings. ${WITH_SETTINGS}` : told.output.trim()
  return { ...alone, output: `${alone.output}The node was not asked: ${why}\n` }
}

function isNetwork(text: string): boolean {
  try {
    parseNetwork(text)
    return true
  } catch {
    return false
  }
}

function offline(text: string, options: VerbOptions): VerbTold {
  const { output, code } = explain(text, options)
  return { output, code }
}

/** The name of a fact, and what follows it. */
const line = ({ name, words }: Pick<Fact, 'name' | 'words'>): string => `${name.padEnd(9)} ${words}`

const limitLine = ({ limit, used, max, within, per, reset }: LimitFact): string =>
  line({ name: 'limit', words: `${limit}: ${used} of ${max} ${within} ${per}${reset === '' ? '' : `, ${reset}`}` })

const nodeLines = ({ node, answered, says, facts, limits }: NodeFacts): string[] =>
  answered
    ? [`${node} says: ${says}`.trimEnd(), ...[...facts.map(line), ...limits.map(limitLine)].map((each) => `  ${each}`)]
    : [`${node}: ${says}.`]

const sessionLine = ({ at, id, host, ip, standing, stage, why, said }: SessionFact): string =>
  [at, id, `at ${host}`, ip, standing, `${stage}:`, why, ...said].join('  ')

function inWords(answer: Explanation): string {
  const { verdict, differences, change, facts, limits, nodes, nodesNote, bans, refused, served, sessionNotes } =
    factsOf(answer)
  const lines = [
    ...[verdict, ...differences, ...change],
    ...(facts.length === 0 ? [] : ['', ...facts.map(line), ...limits.map(limitLine)]),
    ...(nodesNote === undefined ? [] : ['', ...nodes.flatMap(nodeLines), nodesNote]),
    ...bans.map((ban) => `banned: ${ban}`),
    '',
    ...(refused.length === 0 ? [] : ['Turned away lately:', ...refused.map(sessionLine)]),
    ...(served.length === 0 ? [] : ['Let in lately:', ...served.map(sessionLine)]),
    ...sessionNotes,
  ]
  return `${lines.join('\n')}\n`
}
