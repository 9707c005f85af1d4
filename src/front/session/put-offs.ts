/**
 * What one session has put off, until it is known how its client leaves. Only after a QUIT, or where we end the session, is it
 * remembered, so that it goes first when it comes back. Whoever just hangs up is no mail server: those must not (RFC 5321 section
 * 4.1.1.10). What comes after that counts as coming for the first time.
 */
import type { Client } from '../../core/client.ts'
import type { Overload } from '../../overload/overload.ts'
import type { Envelope } from '../../state/returns.ts'
import type { SessionRecord } from '../session-record.ts'
import { type Context, mannerOf } from './context.ts'

/** As many as a session may have, as shipped. */
const MOST = 100

/** A message has heard a 4yz, whoever said it: its client will send it again. @param asked undefined: nobody had to let it in */
export function keepPutOff(context: Pick<Context, 'parts' | 'client' | 'record'>, asked: Envelope | undefined): void {
  const { record } = context
  if (asked === undefined) return
  record.putOffs ??= []
  if (record.putOffs.length < MOST) record.putOffs.push({ envelope: asked, manner: mannerOf(context) })
}

/** The client has said QUIT, or we end the session. */
export function rememberPutOffs(
  record: Pick<SessionRecord, 'putOffs'>,
  overload: Pick<Overload, 'putOff'>,
  client: Client,
): void {
  for (const asked of record.putOffs ?? []) overload.putOff(client, asked)
  record.putOffs = undefined
}
