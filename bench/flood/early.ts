// What tells bots from mail servers before they cost anything: which clients are on the lab's DNS list and which have a name, the
// settings that turn the tests on, and counts of who was refused by which of them.

import { botAddress, botsOf } from '../../src/cli/senders/bot.ts'
import type { HonestPopulation } from '../../src/cli/senders/honest.ts'
import type { Refused } from '../../src/cli/senders/visit.ts'
import { REASON_NAMES, REASONS, type ReasonName } from '../../src/core/reasons.ts'
import { toldAs } from './names.ts'

export const ZONE = 'dnsbl.lab.example'

/** Everything that judges how a client talks, and the list: 5yz, so that whoever is refused once is refused for good. */
export const EARLY_TESTS: Readonly<Record<string, string>> = {
  GREETING_DELAY: '5s',
  PREGREET: 'reject',
  PIPELINING: 'reject',
  HELO: 'reject',
  TONGUE: 'reject',
  COMMAND_NEWLINE: 'reject',
  DNSBL_ZONES: ZONE,
  DNSBL_THRESHOLD: '1',
  DNSBL: 'reject',
}

const TESTS: ReadonlySet<string> = new Set<ReasonName>([
  ...(['tongue', 'pregreet', 'pipelining', 'command_newline', 'helo', 'dnsbl', 'banned'] as const),
  ...(['unknown_recipients', 'net_unknown_recipients'] as const),
])
export const isTest = (reason: string): boolean => TESTS.has(reason)

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const BY_NUMBER = new Map<number, ReasonName>(REASON_NAMES.map((name) => [REASONS[name].number, name]))
/** The reason of a refusal by Spillway, from the id at its end; undefined: it is the cluster's, or there is none. */
export function reasonIn(text: string): ReasonName | undefined {
  const [, high, low] = /\([0-9A-Z]{11}([0-9A-Z])([0-9A-Z])\)\s*$/.exec(text) ?? []
  if (high === undefined || low === undefined) return undefined
  return BY_NUMBER.get(32 * ALPHABET.indexOf(high) + ALPHABET.indexOf(low))
}

/** Visits of one kind of client. */
export interface Met {
  readonly visits: number
  /** Refused before a MAIL of it was taken, and before its first recipient was. */
  readonly beforeMail: number
  readonly beforeRcpt: number
  /** The first refusal of each visit, by its reason. */
  readonly reasons: Readonly<Record<string, number>>
}
type Counting = { -readonly [K in 'visits' | 'beforeMail' | 'beforeRcpt']: number } & {
  reasons: Record<string, number>
}

const BEFORE_MAIL: ReadonlySet<string> = new Set(['greeting', 'helo', 'starttls', 'mail'])

export class Meetings {
  readonly #by = new Map<string, Counting>()

  /** @param kinds what the client is; it is counted as each */
  count(kinds: readonly string[], refused: Refused | undefined): void {
    for (const kind of kinds) {
      const met = this.#by.get(kind) ?? { visits: 0, beforeMail: 0, beforeRcpt: 0, reasons: {} }
      this.#by.set(kind, met)
      met.visits++
      if (refused === undefined) continue
      const reason = reasonIn(refused.text) ?? 'the cluster'
      met.reasons[reason] = (met.reasons[reason] ?? 0) + 1
      if (BEFORE_MAIL.has(refused.at)) met.beforeMail++
      if (BEFORE_MAIL.has(refused.at) || (refused.at === 'rcpt' && reason !== 'the cluster')) met.beforeRcpt++
    }
  }

  get all(): Readonly<Record<string, Met>> {
    return Object.fromEntries(this.#by)
  }
}

/** Whether a sender's address has a name in the DNS: of the established ones every second. @param sender its name: s12, n7 */
export const hasName = (sender: string): boolean => sender.startsWith('s') && Number(sender.slice(1)) % 2 === 0

const reversed = (ip: string): string => ip.split('.').reverse().join('.')

/** Whether a bot is on the list: always the same ones, and of a greater share all those of a smaller one. */
const isListed = (bot: number, share: number): boolean => (Math.imul(bot + 1, 0x9e3779b1) >>> 0) / 2 ** 32 < share

/**
 * The records of the lab's name server: the list, with the entry by which it is tested (RFC 5782 section 5), and the names of those
 * that have one.
 */
export function recordsOf(population: HonestPopulation, listed: number, scale: number): string[] {
  const records = new Set([`2.0.0.127.${ZONE}. A 127.0.0.2`])
  for (const bot of botsOf(scale)) {
    if (isListed(bot, listed)) records.add(`${reversed(toldAs(botAddress(bot, scale)))}.${ZONE}. A 127.0.0.2`)
  }
  for (let rank = 0; rank < population.count; rank++) {
    const { name, addresses } = population.established(rank)
    if (!hasName(name)) continue
    addresses.map(toldAs).forEach((ip, i) => {
      records.add(`${reversed(ip)}.in-addr.arpa. PTR mx${i}.${name}.example.`)
      records.add(`mx${i}.${name}.example. A ${ip}`)
    })
  }
  return [...records]
}
