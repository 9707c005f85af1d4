/**
 * Refuses who is banned (core/bans.ts). A ban that came by itself is 4yz, because nobody has looked at it; the operator's own is 5yz.
 */
import type { Ban } from '../core/bans.ts'
import type { Client } from '../core/client.ts'
import { ACCEPT, type Check, refusalAt } from '../core/policy.ts'

/** @param stage where it is answered @param banOf the ban that holds for a client now */
export const banned = <S extends 'connect' | 'rcpt'>(
  stage: S,
  banOf: (client: Client) => Ban | undefined,
): Check<S> => ({
  name: 'banned',
  stage,
  sparesTrusted: true,
  judge: ({ client }) => {
    const ban = banOf(client)
    if (ban === undefined) return ACCEPT
    const { network, by, reason, until } = ban
    const facts = { banned: network, bannedBy: by, bannedFor: reason, bannedUntil: new Date(until).toISOString() }
    return refusalAt(stage, 'banned', facts, by === 'operator')
  },
})
