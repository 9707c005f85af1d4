/** The sentences of an explanation: what happens to an address now, and what would change it. */
import type { AddressExplained } from '../admin/explain.ts'
import { rateText } from '../config/kinds.ts'
import type { PlainSettings } from '../config/settings.ts'
import type { Ban } from '../core/bans.ts'
import type { Client } from '../core/client.ts'
import { LIMITS, type LimitName } from '../core/limits.ts'
import type { Level } from '../core/overload.ts'
import type { Refusal } from '../core/policy.ts'
import { type ReasonName, reasonOf } from '../core/reasons.ts'
import { LEVEL_TABLE } from '../overload/levels.ts'
import type { DecidedBy } from '../overload/standing.ts'

export const timeOf = (at: number): string =>
  new Date(at)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, 'Z')
export const replyOf = ({ code, enhanced, text }: Refusal): string => `${code} ${enhanced} ${text}`
export const isLimit = (reason: ReasonName): reason is LimitName => Object.hasOwn(LIMITS, reason)

/** What of a standing's evidence decides, as the rest of a sentence that begins with "because". */
const BECAUSE: Readonly<Record<DecidedBy, string>> = {
  allow_list: 'the operator allows it, by SPILLWAY_ALLOW or at run time',
  relays_list: 'it is on SPILLWAY_RELAYS: what it sends says nothing about it',
  operators_ban: 'the operator has banned it',
  own_good_mail: 'it has sent good mail for long enough, and of its latest messages at least 80 % were good',
  automatic_ban: 'it is banned: it has proved itself a bot',
  own_bad_mail: 'of its latest messages more were bad than good, and more than one was bad',
  turned_network:
    'its network has turned: most of what known clients of it have sent within minutes was bad, so that for now they have the limits of one client together',
  bad_neighbours:
    'more than three addresses of its network have sent bad mail lately, and less than 20 % of them good mail',
  a_little_good_mail: 'it has sent good mail, and not for long enough to be known',
  good_neighbours: 'addresses of its network have sent good mail for long enough',
  good_domain: 'addresses with names of the same domain have sent good mail for long enough',
  nothing: 'nothing is known of it that counts',
}
export const becauseOf = (by: DecidedBy): string => BECAUSE[by]
export const isDecidedBy = (by: unknown): by is DecidedBy => typeof by === 'string' && Object.hasOwn(BECAUSE, by)

/** What the sentences are made of. */
export interface Told {
  readonly client: Client
  readonly by: DecidedBy
  readonly ban: Ban | undefined
  readonly level: Level
  readonly settings: PlainSettings
  readonly connect: Refusal | undefined
  readonly rcpt: Refusal | undefined
  readonly share: number
  readonly limits: AddressExplained['limits']
  readonly observed: readonly ReasonName[]
}

const usedOf = ({ facts: { used, max } }: Refusal): string => (used === undefined ? '' : `, ${used} of ${max}`)
const because = (refused: Refusal): string =>
  `it hears "${replyOf(refused)}", because ${reasonOf(refused.reason).operator}; the reason is ${refused.reason}${usedOf(refused)}`

export function verdictOf({ client, by, level, connect, rcpt, share, observed }: Told): string {
  const who = `${client.ip} is ${client.standing}, because ${BECAUSE[by]}.`
  const seen =
    observed.length === 0 ? '' : ` If they were not only observed, these would turn it away: ${observed.join(', ')}.`
  if (connect !== undefined) return `${who} It is turned away when it connects: ${because(connect)}.${seen}`
  if (rcpt !== undefined) return `${who} It may connect, and is turned away at RCPT: ${because(rcpt)}.${seen}`
  const part =
    share < 1
      ? `at level ${level} of overload about ${Math.round(share * 100)} % of its messages are let in, and the others are put off: they may come again`
      : 'Spillway would not turn its next message away. What the mail servers say to it is up to them'
  return `${who} It may connect, and ${part}.${seen}`
}

export function changeOf(told: Told): string[] {
  const { client, connect, rcpt, by, share } = told
  const refused = connect ?? rcpt
  const shed = share < 1 && refused === undefined ? [overloadEnds(told)] : []
  const first = refused === undefined ? shed : changesOf(refused, told)
  const isOperators = by === 'allow_list' || by === 'relays_list' || by === 'operators_ban'
  const allow =
    refused !== undefined && refused.reason !== 'upstream_down' && !isOperators
      ? [`To let it in for a while whatever is known of it: spillway allow add ${client.ip} --time 24h.`]
      : []
  return [...first, ...standingChanges(told), ...allow]
}

/** What ends a refusal. */
function changesOf({ reason }: Refusal, told: Told): string[] {
  const { client, ban, settings, limits } = told
  if (isLimit(reason)) {
    const { setting } = LIMITS[reason]
    const row = limits.find(({ limit }) => limit === reason)
    const window =
      row?.windowSeconds === undefined ? '' : ` of ${rateText({ max: row.max, windowMs: row.windowSeconds * 1000 })}`
    const over =
      row?.resetsAt === undefined
        ? ''
        : ` If it sends nothing more, the whole limit is free again at ${timeOf(Date.parse(row.resetsAt))}, and a part of it before.`
    return [
      `It has used up its limit${window}.${over} The setting is ${setting}; known senders have ${settings.limitKnownFactor} times as much.`,
    ]
  }
  switch (reason) {
    case 'denied':
      return ['To let it in, take it out of SPILLWAY_DENY, and then: spillway reload.']
    case 'banned':
      return ban === undefined
        ? []
        : [
            `The ban of ${ban.network} is over at ${timeOf(ban.until)}. To lift it now: spillway bans remove ${ban.network}.`,
          ]
    case 'overload':
      return [overloadEnds(told)]
    case 'ip_concurrency':
      return ['It gets in when it has closed some of its connections. The setting is SPILLWAY_LIMIT_IP_CONCURRENCY.']
    case 'net_concurrency':
      return [
        `It gets in when others of ${client.net} have closed some of their connections: a network may hold half of what others leave of SPILLWAY_MAX_CONNECTIONS.`,
      ]
    case 'max_connections':
      return ['All connections are taken (SPILLWAY_MAX_CONNECTIONS): it gets in when one is free.']
    case 'upstream_down':
      return ['It gets in when a mail server is up again: spillway status has them.']
    case 'dnsbl':
      return [
        'It gets in when the DNS lists have taken it off, or with a higher SPILLWAY_DNSBL_THRESHOLD. DNS lists do not judge senders that are seen or known.',
      ]
    default:
      return []
  }
}

function overloadEnds({ level, client }: Told): string {
  const { down } = LEVEL_TABLE[level]
  const whom = client.standing === 'seen' ? 'Whoever is known is' : 'Whoever is seen or known is'
  return level === 0
    ? 'Strangers hold all connections that are not kept for others (SPILLWAY_OVERLOAD_KNOWN_RESERVE): it gets in when one of theirs is free.'
    : `Level ${level} ends when the pressure stays below ${down}; spillway level shows it. ${whom} not shed before.`
}

/** What would give it another standing. */
function standingChanges({ by, client, settings: { knownAfter, knownDays } }: Told): string[] {
  const known = `It is known after ${knownAfter} good messages over at least ${knownDays} days.`
  switch (by) {
    case 'nothing':
      return [`It is seen after its first message that a mail server accepts. ${known}`]
    case 'a_little_good_mail':
    case 'good_neighbours':
    case 'good_domain':
      return [known]
    case 'own_bad_mail':
      return [
        'Bad mail weighs half as much a day later, and good mail outweighs it. If it was no spam, say so: POST /api/v1/feedback.',
      ]
    case 'turned_network':
      return [
        `${client.net} is held as one client until most of what its known clients send is good again, or for some minutes after the last bad message.`,
      ]
    case 'bad_neighbours':
      return [`Its neighbours' bad mail weighs half as much a day later. ${known}`]
    default:
      return []
  }
}
