/**
 * What was put off in one session, until it is known how its client leaves. It is noted, so that it goes first when it comes back, only after
 * RSET or QUIT, or where we end the session with the reply to a command or because this node is being stopped. Mail servers must not just
 * hang up (RFC 5321 section 4.1.1.10), nor fall silent until their time is over: what such a client sends again counts as coming for the
 * first time. Postfix does hang up on connections that it has kept for more mail (smtp_connection_cache_on_demand), but it says RSET before.
 */
import type { Envelope } from '../../state/returns.ts'
import { type Context, mannerOf } from './context.ts'

/** A hundred messages, each by its sender as well. A client that goes on says RSET first, and few wait here. */
const MOST = 200

/** A message has heard a 4yz, whoever said it: its client will send it again. @param asked undefined: nobody had to let it in */
export function keepPutOff(context: Pick<Context, 'parts' | 'client' | 'record'>, asked: Envelope | undefined): void {
  const { parts, client, record } = context
  if (asked === undefined) return
  const keys = parts.overload.keysOfPutOff(client, asked, () => mannerOf(context))
  if (keys.length === 0) return
  record.putOffs ??= []
  if (record.putOffs.length + keys.length <= MOST) record.putOffs.push(...keys)
}

/** The client leaves in order. */
export function notePutOffs({ parts, client, record }: Pick<Context, 'parts' | 'client' | 'record'>): void {
  if (record.putOffs !== undefined) parts.overload.left(client, record.putOffs)
  record.putOffs = undefined
}
