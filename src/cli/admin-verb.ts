/**
 * What the verbs have in common that ask the node which runs with these settings, over its admin port. The exit codes are 0 where it
 * was done, 64 for a wrong command line, 78 for mistakes in the settings, 1 for all else.
 */
import { timeOf } from '../admin/explain-facts.ts'
import { hostPortsText } from '../config/address-kinds.ts'
import type { Loaded } from '../config/load.ts'
import { describe, SettingsError } from '../config/mistakes.ts'
import { messageOf } from '../core/errors.ts'
import { visible } from '../core/visible.ts'
import { type Admin, type Answer, askNode, type Question, whyNoAnswer, whyRefused } from './ask-node.ts'

export interface VerbTold {
  readonly output: string
  readonly code: 0 | 1 | 64 | 78
}

export interface VerbOptions {
  readonly json: boolean
}

/** What to do about mistakes in the settings: most often the command has not got those of the node. */
export const WITH_SETTINGS =
  'Give this command the settings that the node was started with (the same environment, or --env-file PATH); spillway check, with the same, names each mistake.'

/** For what a node answers from memory. */
export const LONGEST_MS = 10_000

/** It was not done, and why. */
export class NotDone extends Error {
  readonly code: 1 | 64

  constructor(message: string, code: 1 | 64 = 1) {
    super(message)
    this.code = code
  }
}

/** Nobody has answered, or not in time. */
export class Unanswered extends NotDone {}

/** @returns what the node answers, as JSON or as text. Rejects with NotDone, in words for the operator. */
export async function askFor(admin: Admin, question: Question, as: 'json' | 'text' = 'json'): Promise<unknown> {
  const at = hostPortsText([admin.adminListen])
  if (admin.adminListen.port === 0 && admin.adminListen.socket === undefined)
    throw new NotDone('Which port the node has is not known: SPILLWAY_ADMIN_LISTEN has port 0.')
  const { status, body }: Answer = await askNode(admin, question).catch((error: unknown) => {
    const asked = { doing: 'busy', tells: 'whether it was done' }
    throw new Unanswered(whyNoAnswer(error as NodeJS.ErrnoException, at, asked))
  })
  if (status === 200) {
    if (as === 'text') return body
    try {
      return JSON.parse(body)
    } catch {
      // It is told below.
    }
  }
  const refused = whyRefused(status, at, admin.adminToken)
  if (refused !== undefined) throw new NotDone(refused)
  if ([400, 404, 409, 500, 503].includes(status)) throw new NotDone(body.trim())
  throw new NotDone(`What answers at ${at} (SPILLWAY_ADMIN_LISTEN) with status ${status} is not Spillway.`)
}

/**
 * Runs a verb. Never rejects.
 * @param prepare reads the command line, whatever the settings are; throws NotDone
 * @param inWords what came of it, for people, with the final line end
 */
export async function runVerb<T>(
  loaded: Loaded | SettingsError,
  { json }: VerbOptions,
  prepare: () => (admin: Admin) => Promise<T>,
  inWords: (answer: T) => string,
): Promise<VerbTold> {
  const told = (words: string, value: unknown, code: VerbTold['code']): VerbTold => ({
    output: visible(json ? `${JSON.stringify(value, undefined, 2)}\n` : words),
    code,
  })
  try {
    const ask = prepare()
    if (loaded instanceof SettingsError) {
      const { mistakes } = loaded
      return told(`${describe(mistakes)}\nThe node was not asked. ${WITH_SETTINGS}\n`, { mistakes }, 78)
    }
    const answer = await ask(loaded.settings)
    return told(inWords(answer), answer, 0)
  } catch (error) {
    const words = messageOf(error)
    return told(`${words}\n`, { error: words }, error instanceof NotDone ? error.code : 1)
  }
}

export { timeOf }
