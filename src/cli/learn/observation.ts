/** What a line of a mail server's log shows of a client. */
import { isUnknownUser } from '../../relay/smtp/reply.ts'

export interface Observation {
  /** As the log has it. */
  readonly ip: string
  /** Its forward-confirmed name, where the log says it. */
  readonly name?: string | undefined
  /** A message was taken, or: a recipient was unknown, or content was refused. */
  readonly isGood: boolean
}

/**
 * Reads the log of one kind of mail server, line by line: what a line shows may take a line before it to tell. A line is of one
 * kind only: each reader knows its own by how they begin.
 */
export interface LogReader {
  /** @param text what follows the date @returns undefined where the line shows nothing */
  line(text: string): Observation | undefined
}

/** Messages that are under way at once in a log. Of more the oldest are forgotten. */
export const MOST_UNDER_WAY = 100_000

/** Whether a refusal counts against its client: an unknown recipient at RCPT, and any refusal for good of a text. */
export function isBad(stage: 'rcpt' | 'text', code: number, words: string): boolean {
  return stage === 'rcpt' ? isUnknownUser({ code, lines: [words] }) : code >= 500
}

/** What the log says of a client. */
export type Observed = Pick<Observation, 'ip' | 'name'>
