/**
 * Opens a transaction: finds a server that takes MAIL, and asks it for the first recipient. Another server is asked only
 * while none has taken MAIL: from then on this one may have acted on it. What becomes of the further recipients and of
 * the message is relay/transaction.ts.
 */

import { messageOf } from '../../core/errors.ts'
import { refusal } from '../../core/policy.ts'
import type { Server } from '../pool/server.ts'
import { NoUpstream, type Slot } from '../pool/slots.ts'
import type { Upstreams } from '../pool/upstreams.ts'
import { timeLeft, UpstreamRefusal } from '../smtp/dial.ts'
import { isAboutUs, isLast, type Reply } from '../smtp/reply.ts'
import { isOurs, UpstreamError } from '../smtp/smtp-client.ts'
import { type Answer, asRefusal, CLOSED_TO_US, lost } from './answer.ts'
import type { ClientLink, DialFailure, Link } from './link.ts'

/** MAIL as it goes upstream, with the extensions its parameters use. Latin1, without CRLF. */
export interface Envelope {
  readonly line: string
  readonly needs: readonly string[]
}

/** In milliseconds. */
export interface Waits {
  /** For all of it together. */
  readonly rcptMs: number
  /** For one reply of a server. */
  readonly replyTimeoutMs: number
}

/** Either a server has taken MAIL and answered RCPT on `link`, or every recipient of the transaction hears the same. */
export type Opened = { readonly link: Link; readonly rcpt: Reply } | { readonly refused: Answer }

/** Servers tried for one transaction while none can be reached. */
const MAX_TRIES = 3

/** Half of the time that is left: when somebody is given up after whom another is to be asked. */
function halfway(deadline: number): number {
  const now = performance.now()
  return now + (deadline - now) / 2
}

/** @param rcpt the first recipient's command (latin1, without CRLF) */
export async function openTransaction(
  upstream: ClientLink,
  upstreams: Upstreams,
  waits: Waits,
  envelope: Envelope,
  rcpt: string,
): Promise<Opened> {
  const deadline = performance.now() + waits.rcptMs
  let avoid: Server | undefined
  let last: Answer | undefined
  // Whether one server has failed the transaction itself, so that the next is the last.
  let askedOne = false
  let replaced = false
  let again: Slot | undefined
  for (let tries = 0; tries < MAX_TRIES; ) {
    const isLastTry = askedOne || tries === MAX_TRIES - 1
    const hasOthers = upstreams.servers().filter(({ up }) => up).length > 1
    const patience = isLastTry || !hasOthers ? deadline : halfway(deadline)
    let link: Link
    try {
      link = again === undefined ? await upstream.ready(patience, avoid) : await upstream.fresh(again, patience)
    } catch (error) {
      if (upstream.left) return { refused: lost(undefined, 'the client left') }
      tries++
      again = undefined
      if (error instanceof NoUpstream)
        return { refused: last ?? { kind: 'refusal', refusal: refusal(error.why), upstream: undefined } }
      const { cause, server } = error as DialFailure
      if (cause instanceof UpstreamRefusal && cause.phase === 'ehlo' && cause.reply.code >= 500) {
        // It refuses the client's own HELO name: that is its verdict, as if it had come at MAIL.
        return { refused: { kind: 'reply', to: 'ehlo', reply: cause.reply, upstream: server.label } }
      }
      avoid = server
      last = isOurs(cause)
        ? { kind: 'refusal', refusal: refusal('upstream_full', { why: messageOf(cause) }), upstream: undefined }
        : lost(server.label, messageOf(cause))
      continue
    }
    again = undefined
    const { server } = link.slot
    // It may have died while it was idle, and a fresh one needs its time.
    const isReplaceable = link.reused && !replaced
    const missing = missingOf(link, envelope)
    if (missing !== undefined) {
      upstream.giveBack()
      tries++
      avoid = server
      last = lost(server.label, missing)
      continue
    }
    try {
      const { mail, rcpt: answered } = await mailAndRcpt(upstream, link, [envelope.line, rcpt], {
        mail: () => timeLeft(isReplaceable ? halfway(patience) : patience, waits.replyTimeoutMs),
        rcpt: () => timeLeft(deadline, waits.replyTimeoutMs),
      })
      if (answered !== undefined) return { link, rcpt: answered }
      if (isAboutUs(mail)) upstreams.report(server, new UpstreamRefusal('mail', mail))
      else if (mail.code >= 500) return { refused: { kind: 'reply', to: 'mail', reply: mail, upstream: server.label } }
      const reply = isAboutUs(mail) ? CLOSED_TO_US : { ...asRefusal(mail), code: 451 }
      last = { kind: 'reply', to: 'mail', reply, upstream: server.label }
      if (!isLast(mail)) upstream.giveBack()
      else if (isReplaceable) again = upstream.replace(link)
      else upstream.drop(`it answered MAIL with ${mail.code}`)
    } catch (error) {
      // Once MAIL was taken, another server must not be asked: this one may have acted on it.
      if (error instanceof MailTaken) {
        upstream.drop(messageOf(error))
        return { refused: lost(server.label, messageOf(error.cause)) }
      }
      last = lost(server.label, messageOf(error))
      if (upstream.left) return { refused: last }
      if (isReplaceable) again = upstream.replace(link)
      else upstream.drop(messageOf(error))
    }
    if (again !== undefined) {
      replaced = true
      continue
    }
    if (askedOne) break
    askedOne = true
    avoid = server
  }
  return { refused: last ?? lost(undefined, 'no upstream') }
}

/**
 * @param left milliseconds that are left for a reply to MAIL, and to RCPT
 * @returns `rcpt` where MAIL was taken
 * @throws UpstreamError; MailTaken when lost after MAIL was taken
 */
async function mailAndRcpt(
  upstream: ClientLink,
  link: Link,
  [mailLine, rcptLine]: readonly [string, string],
  left: { readonly mail: () => number; readonly rcpt: () => number },
): Promise<{ mail: Reply; rcpt: Reply | undefined }> {
  const { smtp, extensions } = link
  let resetReply: Promise<Reply> | undefined
  let mailReply: Promise<Reply>
  let rcptReply: Promise<Reply> | undefined
  if (extensions.has('PIPELINING')) {
    const reset = link.open ? ['RSET'] : []
    const replies = smtp.pipeline([...reset, mailLine, rcptLine], left.rcpt(), left.mail())
    mailReply = upstream.heard(link, 'mail', replies[reset.length] as Promise<Reply>)
    rcptReply = upstream.heard(link, 'rcpt', replies[reset.length + 1] as Promise<Reply>)
    if (link.open) resetReply = replies[0]
    for (const reply of [resetReply, rcptReply]) reply?.catch(() => undefined)
  } else {
    if (link.open) {
      resetReply = smtp.command('RSET', left.mail())
      await resetReply
    }
    mailReply = upstream.heard(link, 'mail', smtp.command(mailLine, left.mail()))
  }
  const mail = await mailReply
  link.open = mail.code < 300
  // A server that does not forget the last transaction answers for that one.
  const reset = await resetReply
  if (reset !== undefined && reset.code >= 300) {
    const error = new UpstreamError('protocol', `it answered RSET with ${reset.code}`)
    throw link.open ? new MailTaken(error) : error
  }
  // The verdict has been heard: the server need not refuse RCPT as well.
  if (!link.open) return { mail, rcpt: undefined }
  try {
    rcptReply ??= upstream.heard(link, 'rcpt', smtp.command(rcptLine, left.rcpt()))
    return { mail, rcpt: await rcptReply }
  } catch (error) {
    throw new MailTaken(error)
  }
}

/** Why a server cannot be given this envelope: what it offers may have changed since the client was told. */
export function missingOf({ extensions }: Link, { needs }: Envelope): string | undefined {
  const missing = needs.find((keyword) => !extensions.has(keyword))
  return missing && `${missing} is not offered any more`
}

class MailTaken extends Error {
  override readonly cause: unknown
  constructor(cause: unknown) {
    super(messageOf(cause))
    this.cause = cause
  }
}
