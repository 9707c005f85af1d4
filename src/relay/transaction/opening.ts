/**
 * Opens a transaction: finds a server that takes MAIL, and sends it the first recipient. Another server is asked only while none
 * has taken MAIL: after that, the server may have acted on it. relay.ts handles the further recipients and the message.
 */

import type { Clock } from '../../core/clock.ts'
import { messageOf } from '../../core/errors.ts'
import { type Refusal, refusal } from '../../core/policy.ts'
import { NoUpstream } from '../pool/no-upstream.ts'
import type { Server } from '../pool/server.ts'
import type { Slot } from '../pool/slot.ts'
import type { Upstreams } from '../pool/upstreams.ts'
import { timeLeft, UpstreamRefusal } from '../smtp/dial.ts'
import { isAboutUs, isLast, type Reply } from '../smtp/reply.ts'
import { isOurs, UpstreamError } from '../smtp/upstream-error.ts'
import { type Answer, asRefusal, lost } from './answer.ts'
import type { Deadlines } from './attempt.ts'
import { DialFailure } from './dial-failure.ts'
import type { ClientLink } from './link.ts'
import type { Link } from './link-parts.ts'

/** MAIL as it goes to the mail server, with the extensions that its parameters use. Latin1, without CRLF. */
export interface Envelope {
  readonly mailLine: string
  readonly needs: readonly string[]
  /** As the client declared it, in octets. */
  readonly size?: number | undefined
  /** Asked before MAIL goes out: why it is not to, now that the client has waited; undefined: it is. */
  readonly isHeld?: () => Promise<Refusal | undefined>
}

/** How long a client may be made to wait, in milliseconds. */
export interface Waits {
  /** For everything together. */
  readonly rcptMs: number
  /** For one reply of a server. */
  readonly replyTimeoutMs: number
  /** For a server to take MAIL, connecting included, before another that has room is asked. */
  readonly connectTimeoutMs: number
}

/** Either a server has taken MAIL and answered RCPT on `link`, or every recipient of the transaction gets the same answer. */
export type Opened = { readonly link: Link; readonly rcpt: Reply } | { readonly refused: Answer }

/** How many servers are tried for one transaction while none can be reached. */
const MAX_TRIES = 3
/** The least time that a server gets, in milliseconds, if those before it have used up all there was. */
const LEAST_TRY_MS = 1000

export interface OpeningParts {
  readonly upstream: ClientLink
  readonly upstreams: Upstreams
  readonly waits: Waits
  readonly elapsed: Clock['elapsed']
  /** Looks up the client's name if servers are told it. This comes before a slot is taken: no slot is held for a DNS server. */
  readonly name: () => Promise<unknown> | undefined
  /** Called when MAIL goes out, or a server has judged the client without it. */
  readonly asking: () => void
}

/** What asking one server has led to: the transaction is decided, or another server is to be asked. */
type Tried =
  | { readonly kind: 'opened'; readonly opened: Opened }
  /** The server was not reached, or lacks what the envelope needs. */
  | { readonly kind: 'missed'; readonly last: Answer; readonly avoid: Server; readonly to?: Slot | undefined }
  /**
   * The server failed the transaction itself. `again`: a slot for a fresh connection to the same server; `to`: at another one.
   */
  | {
      readonly kind: 'failed'
      readonly last: Answer
      readonly avoid: Server
      readonly again?: Slot | undefined
      readonly to?: Slot | undefined
    }

/** @param rcptLine the first recipient's command (latin1, without CRLF) */
export async function openTransaction(parts: OpeningParts, envelope: Envelope, rcptLine: string): Promise<Opened> {
  const { upstream, waits, elapsed } = parts
  const before = upstream.attemptsMs
  const started = elapsed()
  const endAt = started + waits.rcptMs
  const naming = parts.name()
  if (naming !== undefined) await naming
  const namedMs = naming === undefined ? 0 : elapsed() - started
  let avoid: Server | undefined
  let last: Answer | undefined
  let slot: Slot | undefined
  let missed = 0
  let failed = 0
  // A connection that is used again may have died meanwhile. It is replaced once.
  let replaced = false
  while (missed < MAX_TRIES && failed < 2) {
    const spentMs = namedMs + upstream.attemptsMs - before
    const { connectTimeoutMs } = waits
    const patienceMs = Math.max(connectTimeoutMs - spentMs, Math.min(connectTimeoutMs, LEAST_TRY_MS))
    const reached = await reach(parts, { patienceMs, endAt }, { avoid, slot, last })
    slot = undefined
    const held = 'kind' in reached ? undefined : await envelope.isHeld?.()
    if (held !== undefined) {
      // The connection is ready for the next message, and is not left for another server.
      upstream.mailAnswered()
      return { refused: { kind: 'refusal', refusal: held, upstream: undefined } }
    }
    const tried =
      'kind' in reached ? reached : await ask(parts, reached, { envelope, rcptLine, endAt, mayReplace: !replaced })
    if (tried.kind === 'opened') return tried.opened
    if (upstream.gone) {
      tried.to?.free()
      return { refused: tried.last }
    }
    last = tried.last
    if (tried.kind === 'failed' && tried.again !== undefined) {
      slot = tried.again
      replaced = true
      continue
    }
    if (tried.kind === 'missed') missed++
    else failed++
    slot = tried.to
    avoid = tried.avoid
  }
  slot?.free()
  return { refused: last ?? lost(undefined, 'no upstream') }
}

/** Gets a connection to some server. */
async function reach(
  { upstream, asking }: OpeningParts,
  deadlines: Deadlines,
  wanted: { avoid: Server | undefined; slot: Slot | undefined; last: Answer | undefined },
): Promise<Link | Tried> {
  const { avoid, slot, last } = wanted
  const refused = (answer: Answer): Tried => ({ kind: 'opened', opened: { refused: answer } })
  try {
    return slot === undefined ? await upstream.ready(deadlines, avoid) : await upstream.take(slot, deadlines)
  } catch (error) {
    if (upstream.gone) {
      if (error instanceof DialFailure) error.to?.free()
      return refused(lost(undefined, 'the client left'))
    }
    if (error instanceof NoUpstream) {
      return refused(last ?? { kind: 'refusal', refusal: refusal(error.why), upstream: undefined })
    }
    const { cause, server, to } = error as DialFailure
    // A refusal of the client itself is a verdict on it, as if it had come at MAIL.
    if (upstream.isRefused(cause)) asking()
    if (cause instanceof UpstreamRefusal && cause.phase === 'ehlo' && cause.reply.code >= 500) {
      return refused({ kind: 'reply', to: 'ehlo', reply: cause.reply, upstream: server.label })
    }
    const why = messageOf(cause)
    const answer: Answer = isOurs(cause)
      ? { kind: 'refusal', refusal: refusal('upstream_full', { why }), upstream: undefined }
      : lost(server.label, why)
    return { kind: 'missed', last: answer, avoid: server, to }
  }
}

/** Sends MAIL and the first RCPT to the server at the other end. */
async function ask(
  { upstream, upstreams, waits, elapsed, asking }: OpeningParts,
  link: Link,
  asked: { envelope: Envelope; rcptLine: string; endAt: number; mayReplace: boolean },
): Promise<Tried> {
  const { envelope, rcptLine, endAt, mayReplace } = asked
  const { server } = link.slot
  const { label } = server
  const missing = missingOf(link, envelope)
  if (missing !== undefined) {
    upstream.mailAnswered()
    upstream.giveBack()
    return { kind: 'missed', last: lost(label, missing), avoid: server }
  }
  const isReplaceable = link.reused && mayReplace
  // Leaves time for a fresh connection.
  const mailBy = isReplaceable ? elapsed() + (endAt - elapsed()) / 2 : endAt
  const failed = (last: Answer, isOver: boolean, why: string): Tried => {
    const again = isOver && isReplaceable && !upstream.gone ? upstream.replace(link) : undefined
    if (again === undefined) {
      if (isOver) upstream.drop(why)
      else upstream.giveBack()
    }
    return { kind: 'failed', last, avoid: server, again }
  }
  try {
    asking()
    const { mail, rcpt: answered } = await mailAndRcpt(upstream, link, [envelope.mailLine, rcptLine], {
      mail: () => timeLeft(mailBy, elapsed(), waits.replyTimeoutMs),
      rcpt: () => timeLeft(endAt, elapsed(), waits.replyTimeoutMs),
    })
    upstreams.served(server)
    if (answered !== undefined) return { kind: 'opened', opened: { link, rcpt: answered } }
    if (isAboutUs(mail)) upstream.report(server, new UpstreamRefusal('mail', mail))
    const reply = asRefusal(mail, 'mail')
    if (reply.code >= 500) {
      return { kind: 'opened', opened: { refused: { kind: 'reply', to: 'mail', reply, upstream: label } } }
    }
    return failed(
      { kind: 'reply', to: 'mail', reply: { ...reply, code: 451 }, upstream: label },
      isLast(mail),
      `it answered MAIL with ${mail.code}`,
    )
  } catch (error) {
    // Once MAIL was taken, another server must not be asked: this one may have acted on it.
    if (error instanceof MailTaken) {
      upstream.drop(messageOf(error))
      return { kind: 'opened', opened: { refused: lost(label, messageOf(error.cause)) } }
    }
    const moved = upstream.moved()
    if (moved === undefined) return failed(lost(label, messageOf(error)), true, messageOf(error))
    const { why, to } = moved
    upstream.report(server, why)
    upstream.drop(why.message)
    return { kind: 'failed', last: lost(label, why.message), avoid: server, to }
  } finally {
    upstream.mailAnswered()
  }
}

/**
 * @param remaining milliseconds that are left for a reply to MAIL, and to RCPT
 * @returns `rcpt` only if MAIL was taken
 * @throws UpstreamError; MailTaken if anything fails after MAIL was taken
 */
async function mailAndRcpt(
  upstream: ClientLink,
  link: Link,
  [mailLine, rcptLine]: readonly [string, string],
  remaining: { readonly mail: () => number; readonly rcpt: () => number },
): Promise<{ mail: Reply; rcpt: Reply | undefined }> {
  const { smtp, extensions } = link
  let resetReply: Promise<Reply> | undefined
  let mailReply: Promise<Reply>
  let rcptReply: Promise<Reply> | undefined
  if (extensions.has('PIPELINING')) {
    const reset = link.inTransaction ? ['RSET'] : []
    const replies = smtp.pipeline([...reset, mailLine, rcptLine], remaining.rcpt(), remaining.mail())
    mailReply = upstream.awaitReply(link, 'mail', replies[reset.length] as Promise<Reply>)
    rcptReply = upstream.awaitReply(link, 'rcpt', replies[reset.length + 1] as Promise<Reply>)
    if (link.inTransaction) resetReply = replies[0]
    for (const reply of [resetReply, rcptReply]) reply?.catch(() => undefined)
  } else {
    if (link.inTransaction) {
      resetReply = smtp.command('RSET', remaining.mail())
      await resetReply
    }
    mailReply = upstream.awaitReply(link, 'mail', smtp.command(mailLine, remaining.mail()))
  }
  const mail = await mailReply
  upstream.mailAnswered()
  link.inTransaction = mail.code < 300
  // A server that has not forgotten the last transaction answers for that one.
  const reset = await resetReply
  if (reset !== undefined && reset.code >= 300) {
    const error = new UpstreamError('protocol', `it answered RSET with ${reset.code}`)
    throw link.inTransaction ? new MailTaken(error) : error
  }
  // The verdict is known: we need not wait for the server to refuse RCPT as well.
  if (!link.inTransaction) return { mail, rcpt: undefined }
  try {
    rcptReply ??= upstream.awaitReply(link, 'rcpt', smtp.command(rcptLine, remaining.rcpt()))
    upstream.enter('envelope')
    return { mail, rcpt: await rcptReply }
  } catch (error) {
    throw new MailTaken(error)
  }
}

/** Why a server cannot be given this envelope; undefined if it can. What it offers may have changed since the client was told. */
export function missingOf({ extensions }: Link, { needs, size = 0 }: Envelope): string | undefined {
  const missing = needs.find((keyword) => !extensions.has(keyword))
  if (missing !== undefined) return `${missing} is not offered`
  // RFC 1870 section 4: 0 means no limit.
  const max = Number(extensions.get('SIZE') ?? 0)
  return max > 0 && size > max ? `a message of ${size} octets is over its SIZE of ${max}` : undefined
}

class MailTaken extends Error {
  override readonly cause: unknown
  constructor(cause: unknown) {
    super(messageOf(cause))
    this.cause = cause
  }
}
