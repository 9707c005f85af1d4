/** Joins what feedback (state/feedback.ts) is about: the message, the history of its client, and its standing. */
import type { Feedback, FeedbackReport } from '../core/feedback.ts'
import { netOf, sourceOf } from '../core/ip.ts'
import type { ClientDomains } from '../front/client-domains.ts'
import { correctionOf } from '../state/feedback.ts'
import type { History } from '../state/history.ts'
import type { RelayedMessages } from '../state/relayed-messages.ts'
import type { Log } from '../telemetry/log.ts'
import type { BuiltPolicy } from './policy.ts'

export interface FeedbackParts {
  readonly history: Pick<History, 'learn'>
  readonly domains: Pick<ClientDomains, 'of' | 'learn'>
  readonly relayed: Pick<RelayedMessages, 'get' | 'change'>
  /** That in force. */
  readonly policy: Pick<BuiltPolicy, 'standingOf' | 'isRelay'>
  readonly log: Log
}

/** @returns undefined if no message with this queue id went through here lately */
export function takeFeedback({ of, verdict }: Feedback, parts: FeedbackParts): FeedbackReport | undefined {
  const { history, domains, relayed, policy, log } = parts
  const message = 'queueId' in of ? relayed.get(of.queueId) : undefined
  const ip = 'address' in of ? of.address : message?.address
  if (ip === undefined) return undefined
  const source = sourceOf(ip)
  const net = netOf(ip)
  const standing = () => policy.standingOf({ ip, source, net, domain: domains.of(ip) })
  const correction = correctionOf(verdict, message?.countsAs)
  // What the operator has said of a client on the allow list stands, and of relays no history is kept.
  const learnt = correction !== undefined && standing() !== 'trusted' && !policy.isRelay(ip)
  if (learnt) {
    domains.learn({ ip, net }, history.learn(ip, correction.lesson))
    if ('queueId' in of) relayed.change(of.queueId, correction.countsAs)
  }
  const report = { source, standing: standing(), learnt }
  log.info({ ...of, verdict, ...report }, 'feedback')
  return report
}
