/**
 * One recipient, from its RCPT to the reply. The steps, and the files that they use:
 *
 *     read     is it a recipient, with parameters that were offered?                               grammar.ts
 *     spare    is it exempt from the limits of its sender: postmaster, abuse, a verification?
 *     admit    is the message let in under overload? Asked once for all its recipients              overload/
 *              may it ask about somebody who may not exist?                                         overload/guesses.ts
 *              checks of stage rcpt; in between, the message and the recipient are charged         checks/, charges.ts
 *     recall   did a mail server call it unknown a short while ago? Then that is its answer        state/unknown-recipients.ts
 *     ask      a mail server; the first recipient of a message finds one and brings MAIL along     relay/transaction/
 *     answer   what the client hears, and what we learn from it
 *
 * The client may leave while something is awaited. Then nothing more is charged for it, and no mail server is asked.
 */
import { isRole } from '../../core/address.ts'
import { isFriend, isTrusted } from '../../core/client.ts'
import { RECIPIENT_LIMIT } from '../../core/limits.ts'
import { isBounceSender } from '../../core/mailbox.ts'
import type { Came } from '../../core/overload.ts'
import { type Refusal, refusal, type Verdict } from '../../core/policy.ts'
import type { Extensions } from '../../relay/smtp/dial.ts'
import { isUnknownUser } from '../../relay/smtp/reply.ts'
import type { Answer } from '../../relay/transaction/answer.ts'
import type { Budget } from '../../state/limits.ts'
import type { Said } from '../../state/unknown-recipients.ts'
import { evidenceOf } from '../evidence.ts'
import type { AnsweredFrom } from '../recipient-answer.ts'
import { type ClientReply, UNREAD } from './client-reply.ts'
import { type Context, judge, mannerOf, turnedMeanwhile } from './context.ts'
import { extensionsUsed, type Path, type Read, readRcpt } from './grammar.ts'
import { keepPutOff } from './put-offs.ts'
import type { RefusedRecipient, Transaction } from './transaction.ts'

export interface Rcpt {
  /** As the client sent it; latin1. */
  readonly line: string
  /** What EHLO offered; undefined if no mail server had been reached. */
  readonly offered: Extensions | undefined
}

type HeardReply = Extract<Answer, { kind: 'reply' }>

/** A recipient on its way. */
interface Recipient extends Path {
  /** The extensions that its parameters use. */
  readonly needs: readonly string[]
  /** The budget that exempts it from the limits of its sender; undefined: it is not exempt. */
  readonly sparedBy: Budget | undefined
}

export async function recipient(context: Context, transaction: Transaction, rcpt: Rcpt): Promise<ClientReply> {
  const read = readRecipient(rcpt)
  if (!read.ok) return context.replies.mistake(read.mistake)
  const found: Recipient = { ...read.value, sparedBy: spare(context, transaction, read.value.address) }
  const verdict = await admit(context, transaction, found)
  if (verdict === undefined || transaction.isOver) return UNREAD
  if (verdict.action !== 'accept') return refuse(context, transaction, found, verdict)
  const recalled = recall(context, transaction, found)
  if (recalled !== undefined) return answered(context, transaction, found, recalled, 'memory')
  const answer = await ask(context, transaction, found)
  if (transaction.isOver) return UNREAD
  if (answer.kind === 'refusal') {
    transaction.isForsaken = true
    return refuse(context, transaction, found, answer.refusal, answer.upstream)
  }
  return answered(context, transaction, found, answer)
}

function readRecipient({ line, offered }: Rcpt): Read<Omit<Recipient, 'sparedBy'>> {
  const read = readRcpt(line)
  if (!read.ok) return read
  const needs = extensionsUsed('rcpt', read.value.parameters, offered)
  return needs.ok ? { ok: true, value: { ...read.value, needs: needs.value } } : needs
}

/**
 * postmaster and abuse can be reached past the limits of the sender (RFC 5321 section 4.5.1), and so can a user whom a client
 * verifies with a null sender, each within a budget of its own.
 */
function spare({ parts, client }: Context, { facts }: Transaction, to: string): Budget | undefined {
  const { limits, knownRecipients } = parts
  if (isRole(to)) return limits.spare('role', client) ? 'role' : undefined
  return facts.from === '' && knownRecipients.has(to) && limits.spare('verify', client) ? 'verify' : undefined
}

/**
 * Who is exempt from the limits of its sender gets past the level of overload as well, as long as strangers do not use that for a flood.
 * @returns undefined if the client left meanwhile
 */
async function admit(context: Context, transaction: Transaction, found: Recipient): Promise<Verdict | undefined> {
  const { address: to, sparedBy } = found
  const { charges, facts } = transaction
  const { parts, client } = context
  const exempt = sparedBy !== undefined
  const lookAgain = (): void => {
    if (transaction.asked === undefined) client.lookAgain?.()
  }
  if (!exempt) lookAgain()
  let isPast: boolean | undefined
  const known = {
    ...{ ...facts, to, accepted: context.relay.accepted, exempt },
    // Only the level asks, after all other checks: what these refuse takes nothing of what strangers have together. A message that is
    // for postmaster first is asked about with its next recipient.
    shed(): Refusal['facts'] | undefined {
      if (transaction.isOver) return undefined
      isPast ??= exempt && parts.limits.sparesLevel(sparedBy, client)
      if (isPast) return undefined
      lookAgain()
      const came = parts.guesses.came(client, { from: facts.from, to })
      const shed = transaction.shed(to, (asked) => parts.overload.atRcpt(client, asked, () => mannerOf(context)))
      return shed ?? guess(context, transaction, found, came)
    },
  }
  const first = await judge(context, 'rcpt', 'uncounted', known)
  if (first.action !== 'accept' || transaction.isOver) return first
  const message = exempt ? charges.shared() : charges.message()
  const each = exempt ? undefined : charges.recipient(message)
  const usage = each === undefined ? message : { ...message, [RECIPIENT_LIMIT]: each }
  return judge(context, 'rcpt', 'counted', { ...known, usage })
}

/**
 * A stranger's message that would begin a transaction for a recipient of whom nothing is known may be one of a flood that asks in vain.
 * @param came how it comes @returns why the recipient is put off; undefined: it is not
 */
function guess(context: Context, transaction: Transaction, to: Recipient, came: Came): Refusal['facts'] | undefined {
  const { parts, client, relay } = context
  const { guesses, knownRecipients, unknownRecipients, overload } = parts
  if (isFriend(client) || relay.asked || knownRecipients.has(to.address)) return undefined
  if (transaction.guess === undefined) {
    if (unknownRecipients.get(to) !== undefined) return undefined
    const envelope = { from: transaction.facts.from, to: to.address }
    transaction.guess = guesses.ask(client, envelope, came, () => mannerOf(context))
  }
  const { shed } = transaction.guess
  return shed && { overloadLevel: overload.level, ...shed }
}

/**
 * What the mail servers have just said of this recipient. It counts as if they had been asked. A trusted client always asks, so
 * that an operator who has made a mailbox sees it at once. The mail server that said it must be in use and up: what one said that
 * has been taken out of the settings, or has failed since, may have been its fault.
 */
function recall({ parts, client }: Context, transaction: Transaction, to: Recipient): HeardReply | undefined {
  if (isTrusted(client) || transaction.isForsaken) return undefined
  const said = parts.unknownRecipients.get(to)
  if (said === undefined) return undefined
  if (!parts.relay.upstreams.servers().some(({ label, up }) => up && label === said.upstream)) return undefined
  transaction.isRecalled = true
  return { kind: 'reply', to: 'rcpt', ...said }
}

/** Never rejects. */
function ask(context: Context, transaction: Transaction, { line: rcptLine, needs }: Recipient): Promise<Answer> {
  const { mailLine, facts } = transaction
  const envelope = {
    ...{ mailLine, needs: [...new Set([...transaction.needs, ...needs])], size: facts.size },
    isHeld: () => turnedMeanwhile(context, transaction),
  }
  return context.relay.rcpt(envelope, rcptLine)
}

function refuse(
  context: Context,
  transaction: Transaction,
  { address }: Recipient,
  verdict: Refusal,
  upstream?: string,
): ClientReply {
  const { replies } = context
  replies.recipient(address, verdict.code)
  const reply = replies.refuse(verdict, 'refused')
  turnedAway(context, transaction, address, { code: verdict.code, reply, upstream, reason: verdict.reason })
  return reply
}

/** The recipient that a message was asked about with stands for the message. */
function turnedAway(context: Context, transaction: Transaction, to: string, refused: RefusedRecipient): void {
  transaction.refuse(refused)
  if (refused.code < 500 && to === transaction.asked?.to) keepPutOff(context, transaction.asked)
}

/** The client hears what the mail server said, unless the cluster seems to have lost its directory. */
function answered(
  context: Context,
  transaction: Transaction,
  to: Recipient,
  { to: command, reply: said, upstream }: HeardReply,
  from: AnsweredFrom = 'upstream',
): ClientReply {
  const { parts, client, replies } = context
  const { limits, knownRecipients, unknownGuard } = parts
  const isUnknown = command === 'rcpt' && isUnknownUser(said)
  const isTaken = said.code < 300
  if (from === 'upstream' && (isTaken || isUnknown)) learn(context, transaction, to, { reply: said, upstream }, isTaken)
  if (from === 'upstream' && (isTaken || isUnknown)) transaction.guess?.heard(isTaken)
  const isDoubted = isUnknown && knownRecipients.guarding(to.address)
  if (isDoubted && unknownGuard) {
    return refuse(context, transaction, to, refusal('unknown_guard'), upstream)
  }
  // A verification counts neither for nor against its client. Everybody knows postmaster and abuse, and in a
  // domain that takes every address there is nothing to guess.
  const { from: sender } = transaction.facts
  const isVerification = to.sparedBy !== undefined && sender === ''
  const isTold = isRole(to.address) || isVerification || (isTaken && knownRecipients.acceptsEverything(to.address))
  if ((isTaken || isUnknown) && !isTold) limits.heard(client, to.address, isUnknown, isBounceSender(sender))
  // A directory that has failed says nothing about those who asked it, whether or not the client is told so.
  const evidence = isDoubted || isRole(to.address) ? 'nothing' : evidenceOf(command, said)
  replies.recipient(to.address, said.code, { evidence, isSpared: to.sparedBy !== undefined, isUnknown, from })
  const reply = replies.relayed(upstream, said, transaction.utf8, isTaken ? 'nothing' : 'refused', from)
  if (!isTaken) turnedAway(context, transaction, to.address, { code: said.code, reply, upstream, reason: undefined })
  return reply
}

/** What a mail server's answer says about the recipient. */
function learn({ parts }: Context, { facts }: Transaction, to: Recipient, said: Said, isTaken: boolean): void {
  const { knownRecipients, unknownRecipients } = parts
  knownRecipients.heard(to.address, isTaken ? 'accepted' : 'unknown')
  if (isTaken) unknownRecipients.forget(to.path)
  // Whoever writes to postmaster or abuse always asks.
  else if (!isRole(to.address) && !isForOne(facts, to, said)) unknownRecipients.heard(to, said)
}

/** Whether the words repeat what only this client has said or is. Others must not hear it, nor hear what it makes us say. */
function isForOne({ client, helo, from }: Transaction['facts'], { path }: Recipient, { reply }: Said): boolean {
  const words = reply.lines.join(' ').replaceAll(path, ' ').toLowerCase()
  // A single word may be among the words by chance.
  const names = [client.ip, from.includes('@') ? from : '', /[a-z].*\./i.test(helo) ? helo : '']
  return names.some((each) => each !== '' && words.includes(each.toLowerCase()))
}
