/**
 * `spillway bans` and `spillway allow`: ask the node that runs with these settings who is banned or allowed at run time, to add an entry,
 * or to take one back.
 */
import type { AllowedReport, BanReport, BansReport } from '../admin/bans.ts'
import type { NodesBansReport } from '../admin/nodes.ts'
import type { Loaded } from '../config/load.ts'
import type { SettingsError } from '../config/mistakes.ts'
import { askFor, LONGEST_MS, NotDone, runVerb, timeOf, type VerbOptions, type VerbTold } from './admin-verb.ts'
import { ofAllNodes } from './all-nodes.ts'
import type { Admin, Question } from './ask-node.ts'
import { ACTIONS } from './verbs.ts'

interface ListOptions extends VerbOptions {
  /** Where other nodes differ, too. */
  readonly all?: boolean
  readonly time?: string | undefined
  readonly reason?: string | undefined
}

const SHOWN = 100_000
type Action = (typeof ACTIONS)[number]

/** What differs between the two. */
interface Kind {
  readonly verb: 'bans' | 'allow'
  readonly path: string
  readonly none: string
  readonly entriesOf: (answer: unknown) => { readonly total: number; readonly entries: readonly BanReport[] }
  readonly added: (entry: BanReport) => string
  readonly removed: (entry: BanReport) => string
}

const saying = (reason: string): string => (reason === '' ? '' : `: ${reason}`)

const BANS: Kind = {
  verb: 'bans',
  path: '/api/v1/bans',
  none: 'Nobody is banned.',
  entriesOf(answer) {
    const { total, bans: entries } = answer as BansReport
    return { total, entries }
  },
  added: ({ network, until }) => `${network} is banned until ${timeOf(until)}.`,
  removed: ({ network, by, reason }) =>
    `The ban of ${network} is lifted (${by}${saying(reason)}). Nothing is banned there by itself for a day.`,
}

const ALLOW: Kind = {
  verb: 'allow',
  path: '/api/v1/allow',
  none: 'Nobody is allowed at run time. SPILLWAY_ALLOW is not shown here: spillway check has it.',
  entriesOf(answer) {
    const { total, allowed: entries } = answer as AllowedReport
    return { total, entries }
  },
  added: ({ network, until }) =>
    `${network} is allowed until ${timeOf(until)}. What is to stay belongs into SPILLWAY_ALLOW.`,
  removed: ({ network, reason }) => `${network} is no longer allowed${reason === '' ? '' : ` (${reason})`}.`,
}

function questionOf(
  { verb, path }: Kind,
  action: string,
  network: string | undefined,
  { all, time, reason }: ListOptions,
): Question {
  const longestMs = LONGEST_MS
  if (!ACTIONS.some((each) => each === action))
    throw new NotDone(`There is no ${action} of ${verb}: list, add and remove.`, 64)
  if ((action === 'list') !== (network === undefined))
    throw new NotDone(
      action === 'list'
        ? 'list takes no network.'
        : `${action} needs an address or a network: spillway ${verb} ${action} 192.0.2.1.`,
      64,
    )
  if (action !== 'add' && (time !== undefined || reason !== undefined))
    throw new NotDone('--time and --reason are for add.', 64)
  if (action !== 'list' && all === true) throw new NotDone('--all is for list.', 64)
  switch (action as Action) {
    case 'list':
      return { method: 'GET', path: `${path}?limit=${SHOWN}`, longestMs }
    case 'add':
      return { method: 'POST', path, body: JSON.stringify({ network, time, reason }), longestMs }
    case 'remove':
      return { method: 'DELETE', path: `${path}/${encodeURIComponent(network as string)}`, longestMs }
  }
}

/** What is banned at the node that is asked, and in whom others differ. */
async function bansOfAll(admin: Admin, question: Question): Promise<unknown> {
  const [bans, nodes] = await Promise.all([
    askFor(admin, question) as Promise<object>,
    ofAllNodes<NodesBansReport>(admin, '/api/v1/nodes/bans'),
  ])
  return { ...bans, ...nodes }
}

/** Where there are other nodes, or it is not known whether there are. */
function nodesWords({ nodes = [], nodesAsked, differences = [] }: Partial<NodesBansReport>): string[] {
  if (nodesAsked === undefined || nodesAsked.redis === 'none') return []
  if (differences.length > 0) return ['', ...differences]
  return nodes.length > 1 ? ['', `All ${nodes.length} nodes have heard of the latest bans.`] : []
}

const lineOf = ({ network, by, reason, since, until, before }: BanReport): string =>
  [
    network.padEnd(22),
    by.padEnd(9),
    timeOf(since),
    `until ${timeOf(until)}`,
    reason,
    ...(before > 0 ? [`(banned ${before} times before)`] : []),
  ].join('  ')

function inWords(kind: Kind, action: string, answer: unknown): string {
  if (action !== 'list') return `${kind[action === 'add' ? 'added' : 'removed'](answer as BanReport)}\n`
  const { total, entries } = kind.entriesOf(answer)
  const others = nodesWords(answer as Partial<NodesBansReport>)
  if (total === 0) return `${[kind.none, ...others].join('\n')}\n`
  const rest = total > entries.length ? [`… and ${total - entries.length} more`] : []
  return `${[...entries.map(lineOf), ...rest, ...others].join('\n')}\n`
}

/** @param positionals the action, and the address or network */
type ListVerb = (
  loaded: Loaded | SettingsError,
  positionals: readonly string[],
  options: ListOptions,
) => Promise<VerbTold>

const verbOf =
  (kind: Kind): ListVerb =>
  (loaded, [action = 'list', network], options) =>
    runVerb(
      loaded,
      options,
      () => {
        const question = questionOf(kind, action, network, options)
        const isOfAll = kind === BANS && action === 'list' && options.all === true
        return (admin) => (isOfAll ? bansOfAll(admin, question) : askFor(admin, question))
      },
      (answer) => inWords(kind, action, answer),
    )

/** Never rejects. */
export const bans = verbOf(BANS)
/** Never rejects. */
export const allow = verbOf(ALLOW)
