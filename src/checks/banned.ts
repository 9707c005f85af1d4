/**
 * Refuses who is banned (core/bans.ts). A ban that came by itself is 4yz, because nobody has looked at it; the operator's own is 5yz.
 */
import type { Ban } from '../core/bans.ts'
import type { Client } from '../core/client.ts'
import { ACCEPT, type Check, type Refusal, refusalAt } from '../core/policy.ts'

/** @param stage where it is answered @param banOf the ban that holds for a client now */
export const banned = <S extends 'connect' | 'rcpt'>(
  stage: S,
  banOf: (client: Client) => Ban | undefined,
): Check<S> => {
  // Of a ban it is always the same, and in a flood it is asked for thousands of times a second.
  const refusals = new WeakMap<Ban, Refusal>()
  return {
    name: 'banned',
    stage,
    sparesTrusted: true,
    judge: ({ client }) => {
      const ban = banOf(client)
      if (ban === undefined) return ACCEPT
      const before = refusals.get(ban)
      if (before !== undefined) return before
      const { network, by, reason, until } = ban
      const facts = { banned: network, bannedBy: by, bannedFor: reason, bannedUntil: new Date(until).toISOString() }
      const made = refusalAt(stage, 'banned', facts, by === 'operator')
      refusals.set(ban, made)
      return made
    },
  }
}
