/**
 * The whole policy on one page: which check judges which stage, in order, cheapest first. `uncounted` checks run before
 * anything is charged to a limit, so that what they refuse spends nobody's budget; `counted` ones compare what was
 * charged in between: at connect a connection, at rcpt a message (with its first recipient) and each recipient. Who is exempt
 * stands at the head of front/connection.ts; who a client is, in overload/standing.ts. To add a check: a file beside this one, its name and reason in core/reasons.ts, a line here, a test.
 */
import type { Check, Facts } from '../core/policy.ts'
import { denied } from './denied.ts'
import { domains } from './domains.ts'
import { globalConnections } from './global-connections.ts'
import { globalMessages } from './global-messages.ts'
import { ipConcurrency } from './ip-concurrency.ts'
import { ipConnections } from './ip-connections.ts'
import { ipMessages } from './ip-messages.ts'
import { ipRecipients } from './ip-recipients.ts'
import { netConnections } from './net-connections.ts'
import { recipients } from './recipients.ts'
import { size } from './size.ts'
import { type Asked, unknownRecipients } from './unknown-recipients.ts'

/** What is asked when, and nothing else: a check of a stage that is not here could not be put anywhere. */
export interface Policy {
  readonly connect: Uncounted<'connect'> & Counted<'connect'>
  readonly helo: Uncounted<'helo'>
  readonly mail: Uncounted<'mail'>
  readonly rcpt: Uncounted<'rcpt'> & Counted<'rcpt'>
}
type Uncounted<S extends keyof Facts> = { readonly uncounted: readonly Check<S>[] }
type Counted<S extends keyof Facts> = { readonly counted: readonly Check<S>[] }

export interface PolicyParts {
  readonly isDenied: (ip: string) => boolean
  readonly concurrency: number | undefined
  readonly maxSize: () => number | undefined
  readonly domains: readonly string[]
  readonly recipientsPerMessage: number
  readonly unknownLately: (source: string) => Asked | undefined
}

export const policy = (parts: PolicyParts): Policy => ({
  connect: {
    uncounted: [denied(parts.isDenied), ipConcurrency(parts.concurrency)],
    counted: [ipConnections, netConnections, globalConnections],
  },
  helo: { uncounted: [] },
  mail: { uncounted: [size(parts.maxSize)] },
  rcpt: {
    uncounted: [domains(parts.domains), recipients(parts.recipientsPerMessage), unknownRecipients(parts.unknownLately)],
    counted: [ipMessages, globalMessages, ipRecipients],
  },
})
