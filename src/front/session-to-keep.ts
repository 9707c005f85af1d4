/**
 * What is kept of a session that is over, and as which kind (core/kept-session.ts). What clients and mail servers have said is clipped, and
 * escaped as in the log: a session takes less than 3 KB.
 */
import { type Client, isFriend, isRelay } from '../core/client.ts'
import { type KeptKind, type KeptSession, senderOf } from '../core/kept-session.ts'
import { utf8Of } from '../core/latin1.ts'
import type { Refusal } from '../core/policy.ts'
import { visible } from '../core/visible.ts'
import type { SessionRecord } from './session-record.ts'
import type { Shown } from './shown-address.ts'

/** Characters that are kept of a text of others, once it is escaped. */
const MOST_KEPT = 160
/** Recipients and messages of a session. */
const MOST_TOLD = 3
const MOST_FACTS = 8

/** A copy: a part of a string would keep the whole of it in memory. */
const clipped = (text: string): string => {
  const shown = visible(text.slice(0, MOST_KEPT)).replace(/\n/g, ' ')
  return Buffer.from(shown.slice(0, MOST_KEPT)).toString()
}

/** @returns undefined: it is not kept */
export function keptKindOf(record: SessionRecord, client: Client): KeptKind | undefined {
  if (record.refusal === undefined && record.upstreamSaid === undefined)
    return record.accepted || record.observed !== undefined ? 'served' : undefined
  if (isRelay(client)) return 'known'
  if (isFriend(client)) return client.standing === 'seen' ? 'seen' : 'known'
  const isPlausible = client.standing === 'new' && record.from !== undefined
  return isPlausible && !record.isBroken && record.offences === undefined ? 'plausible' : 'sampled'
}

/**
 * By what it is found: the address of its last sender, at most the 256 octets that a path has (RFC 5321 section 4.5.3.1).
 * @returns undefined: it named none, or the null reverse-path
 */
export const senderOfSession = ({ from }: SessionRecord): string | undefined =>
  from === undefined || from === '' ? undefined : senderOf(utf8Of(from.slice(0, 256)))

/** @param sample how many sessions it stands for */
export function keptOf(
  record: SessionRecord,
  { id, ip, standing }: Client,
  { host, sample, shown }: { readonly host: string; readonly sample: number; readonly shown: Shown },
): KeptSession {
  const { refusal, upstreamSaid: said, helo, from } = record
  const sender = from === undefined ? undefined : shown(from)
  return {
    ...{ id, host, ip, standing, sample },
    stage: record.refusedAt ?? record.stage,
    refusal: refusal && { reason: refusal.reason, code: refusal.code, facts: factsOf(refusal) },
    helo: helo === undefined ? undefined : clipped(helo),
    from: sender && clipped(sender.text),
    fromHmac: sender?.hmac,
    rcpts: (record.told ?? []).slice(0, MOST_TOLD).map(({ to, code }) => {
      const { text, hmac } = shown(to)
      return { to: clipped(text), ...(hmac !== undefined && { toHmac: hmac }), code }
    }),
    rcptCount: record.rcpts,
    messages: (record.messages ?? [])
      .slice(0, MOST_TOLD)
      .map(({ result, reply }) => ({ result, reply: clipped(reply) })),
    refusedBy: said && { upstream: said.upstream, reply: clipped(said.reply) },
    observe: [...(record.observed ?? [])],
  }
}

const factsOf = ({ facts }: Refusal): Record<string, string | number> =>
  Object.fromEntries(
    Object.entries(facts)
      .flatMap(([name, fact]) =>
        fact === undefined ? [] : [[name, typeof fact === 'string' ? clipped(fact) : fact] as const],
      )
      .slice(0, MOST_FACTS),
  )
