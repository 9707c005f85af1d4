/**
 * What was put off in one session, until it is known how its client leaves. It is noted, so that it goes first when it comes back, only after
 * RSET or QUIT, or where we end the session with the reply to a command or because this node is being stopped. Mail servers must not just
 * hang up (RFC 5321 section 4.1.1.10), nor fall silent until their time is over: what such a client sends again counts as coming for the
 * first time. Postfix does hang up on connections that it has kept for more mail (smtp_connection_cache_on_demand), but it says RSET before.
 */
import type { Envelope } from '../../state/returns.ts'
import type { Context } from './context.ts'

/** A client that goes on says RSET first, and few messages wait here. */
const MOST = 200

type Session = Pick<Context, 'parts' | 'client' | 'record'>

/** A message has heard a 4yz, whoever said it: its client will send it again. @param asked undefined: nobody had to let it in */
export function keepPutOff({ parts, client, record }: Session, asked: Envelope | undefined): void {
  const keys = asked && parts.overload.keysOfPutOff(client, asked)
  if (keys === undefined) return
  record.putOffs ??= []
  if (record.putOffs.length < MOST) record.putOffs.push(keys)
}

/** The client leaves in order. */
export function notePutOffs({ parts, client, record }: Session): void {
  if (record.putOffs !== undefined) parts.overload.left(client, record.putOffs)
  record.putOffs = undefined
}
