/**
 * `spillway bans`: asks the node that runs with these settings who is banned, to ban somebody, or to lift a ban, over its admin
 * port. The exit codes are 0 where it was done, 64 for a wrong command line, 78 for mistakes in the settings, 1 for all else.
 */
import type { BanReport, BansReport } from '../admin/bans.ts'
import { hostPortsText } from '../config/address-kinds.ts'
import type { Loaded } from '../config/load.ts'
import { describe, SettingsError } from '../config/mistakes.ts'
import { messageOf } from '../core/errors.ts'
import { visible } from '../telemetry/log.ts'
import { type Admin, type Answer, askNode, type Question, whyNoAnswer, whyRefused } from './ask-node.ts'

export interface BansTold {
  readonly output: string
  readonly code: 0 | 1 | 64 | 78
}

interface BansOptions {
  readonly json: boolean
  readonly time?: string | undefined
  readonly reason?: string | undefined
}

const PATH = '/api/v1/bans'
const LONGEST_MS = 10_000
const SHOWN = 100_000
const ACTIONS = ['list', 'add', 'remove'] as const
type Action = (typeof ACTIONS)[number]

/** It was not done, and why. */
class NotDone extends Error {
  readonly code: 1 | 64

  constructor(message: string, code: 1 | 64 = 1) {
    super(message)
    this.code = code
  }
}

function questionOf(action: string, network: string | undefined, { time, reason }: BansOptions): Question {
  const longestMs = LONGEST_MS
  if (!ACTIONS.some((each) => each === action))
    throw new NotDone(`There is no ${action} of bans: list, add and remove.`, 64)
  if ((action === 'list') !== (network === undefined))
    throw new NotDone(
      action === 'list'
        ? 'list takes no network.'
        : `${action} needs an address or a network: spillway bans ${action} 192.0.2.1.`,
      64,
    )
  if (action !== 'add' && (time !== undefined || reason !== undefined))
    throw new NotDone('--time and --reason are for add.', 64)
  switch (action as Action) {
    case 'list':
      return { method: 'GET', path: `${PATH}?limit=${SHOWN}`, longestMs }
    case 'add':
      return { method: 'POST', path: PATH, body: JSON.stringify({ network, time, reason }), longestMs }
    case 'remove':
      return { method: 'DELETE', path: `${PATH}/${encodeURIComponent(network as string)}`, longestMs }
  }
}

async function ask(admin: Admin, question: Question): Promise<unknown> {
  const at = hostPortsText([admin.adminListen])
  if (admin.adminListen.port === 0)
    throw new NotDone('Which port the node has is not known: SPILLWAY_ADMIN_LISTEN has port 0.')
  const { status, body }: Answer = await askNode(admin, question).catch((error: unknown) => {
    const asked = { doing: 'busy', tells: 'whether it was done' }
    throw new NotDone(whyNoAnswer(error as NodeJS.ErrnoException, at, asked))
  })
  if (status === 200) {
    try {
      return JSON.parse(body)
    } catch {
      // It is told below.
    }
  }
  const refused = whyRefused(status, at, admin.adminToken)
  if (refused !== undefined) throw new NotDone(refused)
  if (status === 400 || status === 404 || status === 500) throw new NotDone(body.trim())
  throw new NotDone(`What answers at ${at} (SPILLWAY_ADMIN_LISTEN) with status ${status} is not Spillway.`)
}

const timeOf = (iso: string): string => iso.replace('T', ' ').replace(/\.\d+Z$/, 'Z')

const lineOf = ({ network, by, reason, since, until, before }: BanReport): string =>
  [
    network.padEnd(22),
    by.padEnd(9),
    timeOf(since),
    `until ${timeOf(until)}`,
    reason,
    ...(before > 0 ? [`(banned ${before} times before)`] : []),
  ].join('  ')

function inWords(action: string, answer: unknown): string {
  if (action === 'list') {
    const { total, bans } = answer as BansReport
    if (total === 0) return 'Nobody is banned.\n'
    const rest = total > bans.length ? [`… and ${total - bans.length} more`] : []
    return `${[...bans.map(lineOf), ...rest].join('\n')}\n`
  }
  const { network, until, by, reason } = answer as BanReport
  return action === 'add'
    ? `${network} is banned until ${timeOf(until)}.\n`
    : `The ban of ${network} is lifted (${by}${reason === '' ? '' : `: ${reason}`}). Nothing is banned there by itself for a day.\n`
}

/** Never rejects. @param positionals the action, and the address or network */
export async function bans(
  loaded: Loaded | SettingsError,
  [action = 'list', network]: readonly string[],
  options: BansOptions,
): Promise<BansTold> {
  const told = (words: string, value: unknown, code: BansTold['code']): BansTold => {
    return { output: visible(options.json ? `${JSON.stringify(value, undefined, 2)}\n` : words), code }
  }
  try {
    const question = questionOf(action, network, options)
    if (loaded instanceof SettingsError)
      return told(`${describe(loaded.mistakes)}\nThe node was not asked.\n`, { mistakes: loaded.mistakes }, 78)
    const answer = await ask(loaded.settings, question)
    return told(inWords(action, answer), answer, 0)
  } catch (error) {
    const words = messageOf(error)
    return told(`${words}\n`, { error: words }, error instanceof NotDone ? error.code : 1)
  }
}
