/**
 * The whole policy on one page: which check judges at which stage, in order, cheapest first. `uncounted` checks run
 * before anything is charged to a limit, so that what they refuse uses up nobody's budget. Then the limits are charged:
 * at connect for a connection, at rcpt for a message (with its first recipient) and for each recipient. `counted`
 * checks compare these charges with the limits.
 *
 * The head of front/connection.ts says who is exempt, and overload/standing.ts who a client is to us. To add a check,
 * write a file beside this one, its name and reason in core/reasons.ts, a line here, and a test. To add a limit, write
 * a row in core/limits.ts, its setting and its reason; its check is here already.
 */
import type { Ban } from '../core/bans.ts'
import type { Client, OpenCounts } from '../core/client.ts'
import { limitsThatCount, UNKNOWN_LIMITS, type UnknownLimit } from '../core/limits.ts'
import type { Check, Facts, Refusal } from '../core/policy.ts'
import type { SignMode } from '../core/signs.ts'
import type { RecentRecipients } from '../core/usage.ts'
import { banned } from './banned.ts'
import { commandNewlineAtHelo, commandNewlineAtMail } from './command-newline.ts'
import { denied } from './denied.ts'
import { type DnsblParts, dnsblAtMail, dnsblAtRcpt } from './dnsbl.ts'
import { domains } from './domains.ts'
import { helo } from './helo.ts'
import { ipConcurrency } from './ip-concurrency.ts'
import { overLimit } from './over-limit.ts'
import { overloadAtBanner, overloadAtMail, overloadAtRcpt } from './overload.ts'
import { pipeliningAtHelo, pipeliningAtMail } from './pipelining.ts'
import { pregreet } from './pregreet.ts'
import { recipients } from './recipients.ts'
import { size } from './size.ts'
import { tongue } from './tongue.ts'
import { unknownRecipients } from './unknown-recipients.ts'

/** Which checks run at which stage. A check for a stage that is not listed here would have no place. */
export interface Policy {
  readonly connect: Uncounted<'connect'> & Counted<'connect'> & Again<'connect'>
  readonly helo: Uncounted<'helo'> & Foreign<'helo'>
  readonly mail: Uncounted<'mail'>
  readonly rcpt: Uncounted<'rcpt'> & Counted<'rcpt'>
}
type Uncounted<S extends keyof Facts> = { readonly uncounted: readonly Check<S>[] }
type Counted<S extends keyof Facts> = { readonly counted: readonly Check<S>[] }
/** Those by which an open session is judged once more when the policy has changed, or somebody was banned. They are among the uncounted ones. */
type Again<S extends keyof Facts> = { readonly again: readonly Check<S>[] }
/** Those by which a client is judged that has sent a line of another protocol, wherever in its session. */
type Foreign<S extends keyof Facts> = { readonly foreign: readonly Check<S>[] }

export interface PolicyParts {
  readonly isDenied: (ip: string) => boolean
  /** The ban that holds for a client now. */
  readonly banOf: (client: Client) => Ban | undefined
  /** DENY_STAGE: where the deny list and bans are answered. */
  readonly denyStage: 'connect' | 'rcpt'
  /** How many connections a client's source may have open; undefined: no limit. */
  readonly concurrency: (client: Client) => number | undefined
  /** Why the level of overload refuses a client at the banner; undefined: it does not. */
  readonly overloaded: (client: Client, open: OpenCounts) => Refusal['facts'] | undefined
  readonly tongue: SignMode
  readonly pregreet: SignMode
  readonly pipelining: SignMode
  readonly commandNewline: SignMode
  readonly helo: SignMode
  /** Ours. */
  readonly hostname: string
  readonly domains: readonly string[]
  readonly recipientsPerMessage: number
  readonly dnsbl: DnsblParts
  readonly unknownLately: (client: Client, limit: UnknownLimit) => RecentRecipients | undefined
}

export const policy = (parts: PolicyParts): Policy => {
  const listed = <S extends 'connect' | 'rcpt'>(stage: S): Check<S>[] =>
    stage === parts.denyStage ? [denied(stage, parts.isDenied), banned(stage, parts.banOf)] : []
  const atConnect = listed('connect')
  return {
    connect: {
      uncounted: [...atConnect, overloadAtBanner(parts.overloaded), ipConcurrency(parts.concurrency)],
      counted: limitsThatCount('connections').map((limit) => overLimit('connect', limit)),
      again: atConnect,
    },
    helo: {
      uncounted: [
        pregreet(parts.pregreet),
        pipeliningAtHelo(parts.pipelining),
        commandNewlineAtHelo(parts.commandNewline),
        helo(parts.helo, parts.hostname),
      ],
      foreign: [tongue(parts.tongue)],
    },
    mail: {
      uncounted: [
        pipeliningAtMail(parts.pipelining),
        commandNewlineAtMail(parts.commandNewline),
        size,
        dnsblAtMail(parts.dnsbl),
        overloadAtMail,
      ],
    },
    rcpt: {
      uncounted: [
        ...listed('rcpt'),
        domains(parts.domains),
        recipients(parts.recipientsPerMessage),
        ...UNKNOWN_LIMITS.map((limit) => unknownRecipients(limit, parts.unknownLately)),
        // What a list speaks against takes no part of what the level lets in of strangers.
        dnsblAtRcpt(parts.dnsbl),
        overloadAtRcpt,
      ],
      counted: [...limitsThatCount('messages'), ...limitsThatCount('recipients')].map((limit) =>
        overLimit('rcpt', limit),
      ),
    },
  }
}
