/**
 * What one session has put off, until it is known how its client leaves. Only after a QUIT, or where we end the session, is it
 * noted, so that it goes first when it comes back. Whoever just hangs up is no mail server: those must not (RFC 5321 section
 * 4.1.1.10). What comes after that counts as coming for the first time.
 */
import type { Envelope } from '../../state/returns.ts'
import { type Context, mannerOf } from './context.ts'

/** As many messages as a session may have, as shipped, each by its sender as well. */
const MOST = 200

/** A message has heard a 4yz, whoever said it: its client will send it again. @param asked undefined: nobody had to let it in */
export function keepPutOff(context: Pick<Context, 'parts' | 'client' | 'record'>, asked: Envelope | undefined): void {
  const { parts, client, record } = context
  if (asked === undefined) return
  const keys = parts.overload.putOff(client, asked, () => mannerOf(context))
  if (keys.length === 0) return
  record.putOffs ??= []
  if (record.putOffs.length < MOST) record.putOffs.push(...keys)
}

/** The client has said QUIT, or we end the session. */
export function notePutOffs({ parts, client, record }: Pick<Context, 'parts' | 'client' | 'record'>): void {
  if (record.putOffs !== undefined) parts.overload.left(client, record.putOffs)
  record.putOffs = undefined
}
