/** What all steps of a session need, from HELO to the reply to the last dot. */
import type { Policy } from '../../checks/index.ts'
import type { Observer, Runner } from '../../checks/runner.ts'
import type { Client } from '../../core/client.ts'
import type { Maybe } from '../../core/maybe.ts'
import type { Facts, Mode, Refusal, Verdict } from '../../core/policy.ts'
import type { Guesses } from '../../overload/guesses.ts'
import type { Overload } from '../../overload/overload.ts'
import type { Manner } from '../../overload/returning.ts'
import type { ClientAttributes } from '../../relay/smtp/client-attributes.ts'
import type { Relay, RelayParts } from '../../relay/transaction/relay.ts'
import type { HeloCrowds } from '../../state/helo-crowds.ts'
import type { KnownRecipients } from '../../state/known-recipients.ts'
import type { Limits } from '../../state/limits.ts'
import type { UnknownRecipients } from '../../state/unknown-recipients.ts'
import type { Outcomes } from '../outcome.ts'
import type { Voice } from '../reply.ts'
import type { SessionRecord } from '../session-record.ts'
import type { Replies } from './replies.ts'
import { isDoubted } from './signs.ts'
import type { Transaction } from './transaction.ts'

/** Shared by all sessions. */
export interface ConversationParts {
  /** Those in force: others from one moment to the next, if the policy has changed. */
  readonly checks: Runner
  /** Another number whenever somebody may have been banned. */
  readonly bans: { readonly edition: number }
  readonly limits: Limits
  readonly overload: Pick<Overload, 'level' | 'atMail' | 'atRcpt' | 'keysOfPutOff' | 'left'>
  readonly guesses: Pick<Guesses, 'came' | 'ask' | 'accepted'>
  readonly knownRecipients: KnownRecipients
  readonly unknownRecipients: Pick<UnknownRecipients, 'get' | 'heard' | 'forget'>
  /** Whether a stranger's neighbourhood makes it doubtful. @param ip canonical */
  readonly hasDoubtfulNeighbours: (ip: string) => boolean
  readonly heloCrowds: Pick<HeloCrowds, 'met'>
  readonly unknownGuard: boolean
  /** HISTORY_BAD_REPLY: replies to the dot that accept a message and say that it is bad. */
  readonly badReply: RegExp | undefined
  readonly relay: RelayParts
  readonly outcomes: Outcomes
  readonly voice: Voice
  /** Size limit of a message in octets; undefined: none. */
  readonly maxSize: () => number | undefined
  /** Mode of the size check, for messages that prove too large only as they come. */
  readonly sizeMode: Mode
}

/** What may change in the course of a connection. */
export interface Connection {
  /** Protocol and cipher, if TLS is in use. */
  readonly tls: ClientAttributes['tls']
  /** Whether the client has ever sent a line more slowly than any machine does. */
  readonly typesSlowly: boolean
}

/** Of one session. */
export interface Context {
  readonly parts: ConversationParts
  readonly client: Client
  readonly record: SessionRecord
  readonly relay: Relay
  readonly replies: Replies
  readonly observed: Observer
}

export const judge = <S extends keyof Policy>(
  { parts, observed }: Context,
  stage: S,
  part: keyof Policy[S],
  facts: Facts[S],
): Maybe<Verdict> => parts.checks.run(stage, part, facts, observed)

/** What speaks against a client while only a share of the strangers is let in. */
export function mannerOf({ parts, client, record }: Pick<Context, 'parts' | 'client' | 'record'>): Manner {
  const { isClear } = record
  if (isDoubted(record)) return { isDoubtful: true, isClear }
  const byNeighbours = parts.hasDoubtfulNeighbours(client.ip)
  return { isDoubtful: byNeighbours, byNeighbours, isClear }
}

/**
 * Why a message is put off that was let in before: its client's network has turned since (overload/standing.ts), while it waited for a mail server or
 * for its client. Its limits are no longer its own. What is for postmaster alone was never judged by them. Undefined: it is not.
 */
export async function turnedMeanwhile(context: Context, { asked, facts }: Transaction): Promise<Refusal | undefined> {
  const { client } = context
  if (client.standing !== 'known' || asked === undefined) return undefined
  client.lookAgain?.()
  if (client.countedAs === undefined) return undefined
  const known = { ...facts, to: asked.to, accepted: 0, exempt: false, shed: () => undefined }
  const verdict = await judge(context, 'rcpt', 'uncounted', known)
  return verdict.action === 'accept' ? undefined : verdict
}
