/** Applies all rules between settings, and holds the small ones: warnings of what is allowed but seldom meant. */
import { compile, type Network } from '../core/ip.ts'
import { DAY_MS } from '../core/time.ts'
import { limits, sharedWindows } from './limit-rules.ts'
import { addresses, kernelOffload, openFiles, ticketKey, tls, upstreamTls } from './machine-rules.ts'
import type { Ground, Report, Rule, Warning } from './rule.ts'
import type { SettingName } from './settings.ts'
import { workers } from './workers.ts'

export interface Findings {
  readonly mistakes: readonly { readonly name: SettingName; readonly expected: string }[]
  readonly warnings: readonly Warning[]
}

const everybody: Rule = ({ settings, isSound }, report) => {
  const meaning = [
    ['SPILLWAY_ALLOW', settings.allow, 'no limit applies to anybody'],
    ['SPILLWAY_DENY', settings.deny, 'all mail from there bounces'],
    ['SPILLWAY_RELAYS', settings.relays, 'no history is kept of anybody, and nobody has a limit of their own'],
    [
      'SPILLWAY_PROXY_PROTOCOL_FROM',
      settings.proxyProtocolFrom,
      'anybody may claim any address, and a client that sends no PROXY header is turned away',
    ],
  ] as const
  for (const [name, networks, effect] of meaning) {
    if (!isSound(name)) continue
    const all = networks.find(({ text }) => text.endsWith('/0'))
    if (all) report.warn(`${name} has ${all.text}, which is everybody: ${effect}`)
  }
}

const customs: Rule = ({ settings, isGiven, isSound, hostname }, report) => {
  if (isSound('SPILLWAY_HOSTNAME') && !isGiven('hostname') && !settings.hostname.includes('.')) {
    report.warn(
      `SPILLWAY_HOSTNAME is not set and the machine calls itself "${hostname}", which is not a fully qualified name: clients are greeted as ${settings.hostname}. Set it to the name in your MX record`,
    )
  }
  if (isSound('SPILLWAY_LIMIT_RECIPIENTS_PER_MESSAGE') && settings.limitRecipientsPerMessage < 100) {
    report.warn(
      `SPILLWAY_LIMIT_RECIPIENTS_PER_MESSAGE=${settings.limitRecipientsPerMessage} is less than the 100 that every server has to accept (RFC 5321 section 4.5.3.1.8)`,
    )
  }
  const { messageMaxSize } = settings
  if (isSound('SPILLWAY_MESSAGE_MAX_SIZE') && messageMaxSize !== 'upstream' && messageMaxSize < 65_536) {
    report.warn(
      'SPILLWAY_MESSAGE_MAX_SIZE is less than the 64KiB that every server has to accept (RFC 5321 section 4.5.3.1.7)',
    )
  }
  if (isSound('SPILLWAY_RELAY_GUARD') && !settings.relayGuard) {
    report.warn(
      "SPILLWAY_RELAY_GUARD is off: nothing notices if a mail server relays for the whole world because it trusts Spillway's address",
    )
  }
  if (isSound('SPILLWAY_OBSERVE') && settings.observe === 'all') {
    report.warn('SPILLWAY_OBSERVE=all: the checks refuse nobody, they only count')
  }
}

/** A network of one list that has addresses in common with one of the other. */
function overlap(one: readonly Network[], other: readonly Network[]): string | undefined {
  const [isInOne, isInOther] = [compile(one), compile(other)]
  const inner = one.find(({ first }) => isInOther(first)) ?? other.find(({ first }) => isInOne(first))
  return inner?.text
}

const relays: Rule = ({ settings, isSound }, report) => {
  if (!isSound('SPILLWAY_RELAYS')) return
  const allowed = isSound('SPILLWAY_ALLOW') ? overlap(settings.relays, settings.allow) : undefined
  if (allowed !== undefined)
    report.warn(`SPILLWAY_RELAYS and SPILLWAY_ALLOW both have ${allowed}: there SPILLWAY_ALLOW wins`)
  const denied = isSound('SPILLWAY_DENY') ? overlap(settings.relays, settings.deny) : undefined
  if (denied !== undefined)
    report.warn(
      `SPILLWAY_RELAYS and SPILLWAY_DENY both have ${denied}: there SPILLWAY_RELAYS wins, and nothing is refused for good`,
    )
}

const history: Rule = ({ settings, isSound }, report) => {
  if (!isSound('SPILLWAY_KNOWN_DAYS') || !isSound('SPILLWAY_HISTORY_TTL')) return
  const { knownDays, historyTtl } = settings
  if (knownDays * DAY_MS <= historyTtl) return
  report.warn(
    `SPILLWAY_KNOWN_DAYS=${knownDays} is longer than SPILLWAY_HISTORY_TTL: a client that seldom sends is forgotten before it is known`,
  )
}

const RULES: readonly Rule[] = [
  limits,
  sharedWindows,
  tls,
  ticketKey,
  upstreamTls,
  openFiles,
  kernelOffload,
  workers,
  addresses,
  everybody,
  customs,
  relays,
  history,
]

export function judge(ground: Ground): Findings {
  const mistakes: { name: SettingName; expected: string }[] = []
  const warnings: Warning[] = []
  const report: Report = {
    mistake: (name, expected) => void mistakes.push({ name, expected }),
    warn: (what, more) => void warnings.push({ what, ...more }),
  }
  for (const rule of RULES) rule(ground, report)
  return { mistakes, warnings }
}
