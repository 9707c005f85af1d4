/**
 * Ids that explain themselves. The id of a session holds the second in which it began, the node, and a sequence number.
 * The id of a refusal is the id of the session with two more characters for the reason. So "why was I refused
 * (3MFK2D00R9007)?" has an answer even where the log was sampled. The digits are Crockford's base 32, without I, L, O
 * and U, so that an id can be read out on the telephone.
 *
 *     3MFK2D   0R   9A0   07
 *     second  node  seq   reason (00: none)
 */
import { REASON_NAMES, REASONS, type ReasonName } from './reasons.ts'

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
/** 2025-01-01T00:00:00Z. Six characters last until 2059. */
const EPOCH_S = 1_735_689_600
export const NODES = 1024
const SEQUENCES = 32_768

const digits = (value: number, count: number): string => {
  let text = ''
  for (let i = 0, rest = value; i < count; i++, rest = Math.floor(rest / 32)) text = ALPHABET[rest % 32] + text
  return text
}

/** What distinguishes a node from others: its machine and where it listens. */
export const nodeName = (
  machine: string,
  listen: readonly { readonly host: string; readonly port: number }[],
): string => `${machine} ${listen.map(({ host, port }) => `${host}:${port}`).join()}`

/** The number of a node, 0 to 1023, derived from a name that no other node has. The log reports it at the start. */
export function nodeNumber(name: string): number {
  let hash = 2_166_136_261
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 16_777_619)
  return (hash >>> 0) % NODES
}

/** Numbers behind that of a node are those of its workers. */
const FOR_WORKERS = 128

/** The number of one that takes the place of a node with the same name, whose sessions go on. @param random a whole number */
export const successorNumber = (name: string, random: number): number =>
  (nodeNumber(name) + FOR_WORKERS + (random % (NODES - 2 * FOR_WORKERS))) % NODES

/**
 * Makes a function that gives the id of a new session from the time in milliseconds since the epoch. 32,768 ids per
 * second are distinct, which is more than one process can accept.
 * @param first where the sequence begins; should be random, so that two nodes that happen to have the same number still
 * differ
 */
export function sessionIds(node: number, first = 0): (now: number) => string {
  let second = -1
  let prefix = ''
  let sequence = first % SEQUENCES
  return (now) => {
    const current = Math.floor(now / 1000)
    if (current !== second) {
      second = current
      prefix = digits(Math.max(0, current - EPOCH_S), 6) + digits(node, 2)
    }
    sequence = (sequence + 1) % SEQUENCES
    return (
      prefix +
      ALPHABET[sequence >> 10] +
      (ALPHABET[(sequence >> 5) & 31] as string) +
      (ALPHABET[sequence & 31] as string)
    )
  }
}

const SUFFIX = new Map<ReasonName | undefined, string>([[undefined, '00']])
for (const name of REASON_NAMES) SUFFIX.set(name, digits(REASONS[name].number, 2))

/** What the id of a session begins with that begins at this time, in milliseconds since the epoch: ids are in the order of time. */
export const digitsOfTime = (at: number): string => digits(Math.max(0, Math.floor(at / 1000) - EPOCH_S), 6)

/** The id in a refusal and in its log line: the session's id and the reason. */
export const refusalId = (session: string, reason: ReasonName | undefined): string => session + SUFFIX.get(reason)

/** What an id tells by itself. */
export interface IdRead {
  /** When the session began, to the second. */
  readonly at: Date
  /** The number of the node: 0 to 1023. */
  readonly node: number
  readonly sequence: number
  /** Absent in the id of a session, and where the words were those of a mail server. */
  readonly reason: ReasonName | undefined
}

const numberOf = (text: string): number => [...text].reduce((sum, digit) => sum * 32 + ALPHABET.indexOf(digit), 0)

/** @param id of a session (11 characters), or of a refusal (13) @returns undefined if it is neither */
export function readId(id: string): IdRead | undefined {
  if (!/^(?:[0-9A-HJKMNP-TV-Z]{11}|[0-9A-HJKMNP-TV-Z]{13})$/.test(id)) return undefined
  const number = numberOf(id.slice(11))
  const reason = REASON_NAMES.find((name) => REASONS[name].number === number)
  if (number !== 0 && reason === undefined) return undefined
  return {
    at: new Date((EPOCH_S + numberOf(id.slice(0, 6))) * 1000),
    node: numberOf(id.slice(6, 8)),
    sequence: numberOf(id.slice(8, 11)),
    reason,
  }
}

/** The id that somebody has written down: Crockford's base 32 reads O as 0, I and L as 1, and small letters as capitals. What stands around it in a refusal may come with it. */
export const writtenId = (text: string): string =>
  text
    .trim()
    .replace(/^\(?(.*?)\)?[.,]?$/, '$1')
    .toUpperCase()
    .replace(/O/g, '0')
    .replace(/[IL]/g, '1')
