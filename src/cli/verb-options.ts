/** What the table of verbs (verbs.ts) is made of: the forms of a verb, its options and its arguments, and options that several verbs have. */
import { duration as durationKind } from '../config/kinds.ts'
import { LONGEST_BAN_MS, LONGEST_REASON, SHORTEST_BAN_MS } from '../core/bans.ts'
import { TOP_OF, type TopOf } from '../telemetry/traffic/report.ts'

const BAN_TIME = durationKind({ min: SHORTEST_BAN_MS, max: LONGEST_BAN_MS })

/** An option without a value; it is parsed as true or false. */
export interface Flag {
  readonly short?: string
  readonly help: string
}

/** An option with a value; it is parsed as undefined where it was not given. */
export interface Valued<T> {
  /** What the help calls the value, in capitals: PATH. */
  readonly value: string
  readonly help: string
  /** Completes the sentence "--port needs". */
  readonly needs: string
  /** @returns undefined where the text is not a valid value */
  readonly read: (text: string) => T | undefined
}

/** The keys are the names in the program: `envFile` is --env-file. */
export type Options = Readonly<Record<string, Flag | Valued<unknown>>>

/** An argument that is not an option. */
export interface Positional {
  /** In capitals: NETWORK. */
  readonly name: string
  readonly help: string
  readonly optional?: true
  /** The last one may be given any number of times. */
  readonly many?: true
  /** All that it may be, where that is known. Whoever has the argument says what is wrong with another word. */
  readonly choices?: readonly string[]
  /** It is the path of a file. */
  readonly isPath?: true
}

export interface Verb {
  /** What it does, in the imperative: `show every setting`. */
  readonly summary: string
  readonly options: Options
  readonly positionals?: readonly Positional[]
  readonly example: string
  /** Further text of its help. */
  readonly more?: () => string
}
export type Verbs = Readonly<Record<string, Verb>>

export const path = (help: string, example: string): Valued<string> => ({
  value: 'PATH',
  help,
  needs: `the path of a file: ${example}`,
  read: (text) => text,
})

export const whole = (help: string, min: number, max: number, needs: string): Valued<number> => ({
  value: 'N',
  help,
  needs,
  read: (text) => (/^[0-9]{1,9}$/.test(text) && Number(text) >= min && Number(text) <= max ? Number(text) : undefined),
})

export const port = (help: string): Valued<number> => whole(help, 0, 65_535, 'a port, or 0 for any free one')

export const envFile = path(
  'read settings from this file too; the process environment wins',
  '--env-file /etc/spillway/spillway.env',
)
export const allNodes = {
  help: 'what the other nodes that share its Redis say, too',
} as const satisfies Flag

export const duration = (help: string): Valued<string> => ({
  value: 'TIME',
  help,
  needs: 'a duration with its unit, such as 30m, 6h or 7d',
  read: (text) => ('value' in BAN_TIME.parse(text) ? text : undefined),
})

export const reason = (help: string): Valued<string> => ({
  value: 'TEXT',
  help,
  needs: `a text of at most ${LONGEST_REASON} characters, without control characters`,
  read: (text) => (text.length <= LONGEST_REASON && !/\p{C}/u.test(text) ? text : undefined),
})

export const topOf: Valued<TopOf> = {
  value: 'WHAT',
  help: `of what: ${TOP_OF.join(', ')} (default network)`,
  needs: `one of ${TOP_OF.join(', ')}`,
  read: (text) => TOP_OF.find((each) => each === text),
}
