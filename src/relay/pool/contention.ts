/** What fairness.ts decides about, from what the pool holds (slots.ts). Pure. */
import { isFriend } from '../../core/client.ts'
import type { Claims } from './claims.ts'
import { type Contention, type Holder, shareOf } from './fairness.ts'
import type { Server } from './server.ts'

/** A client that waits for a slot. */
export interface Wait {
  readonly holder: Holder
  /** A server that it does not want. */
  readonly avoid: Server | undefined
  readonly since: number
}

export interface Held {
  /** In the order in which they came; at least one. */
  readonly waiting: readonly [Wait, ...Wait[]]
  readonly holders: ReadonlyMap<Holder, Server>
  readonly claims: Pick<Claims, 'of' | 'size'>
  readonly servers: readonly Server[]
  /** Slots at all servers that are up. */
  readonly connections: number
  /** Whether strangers hold all that they may (overload/reserve.ts). */
  readonly isClosedToStrangers: boolean
  /** Whether it is a stranger whose neighbourhood holds all that its strangers may. */
  readonly isCrowd: (holder: Holder) => boolean
  readonly now: number
}

export function contentionOf(held: Held): Contention {
  const { holders, claims, servers, connections, isClosedToStrangers, now } = held
  const share = shareOf(connections, claims.size)
  const heldBy = (source: string): number => claims.of(source).held
  // What a friend gives back is not for strangers then: friends make room for friends, and strangers for strangers.
  const isForFriends = isClosedToStrangers && held.waiting.some(({ holder }) => isFriend(holder))
  const isServable = (holder: Holder): boolean => !isClosedToStrangers || isFriend(holder) === isForFriends
  const servable = held.waiting.filter(({ holder }) => isServable(holder))
  const others = servable.filter(({ holder }) => !held.isCrowd(holder))
  // Where only neighbourhoods wait that hold all they may, each of them makes room for itself.
  const crowds = others.length === 0 ? new Set(servable.map(({ holder }) => holder.net)) : undefined
  const waiting = crowds === undefined ? others : servable
  const isAsked = ({ net }: Holder): boolean => crowds === undefined || crowds.has(net)
  // If there is only one source, it waits for its own slots.
  const isAlone = claims.size === 1
  const isOnlyOne = servers.filter(({ up }) => up).length === 1
  let waitingBelowShare = 0
  for (const { holder, avoid } of waiting) {
    const isServed = avoid === undefined || !avoid.up || !isOnlyOne
    if (isServed && (isAlone || heldBy(holder.source) < share)) waitingBelowShare++
  }
  return {
    // A slot at a server that is not used would help nobody.
    holders: [...holders]
      .filter(([holder, at]) => at.up && (isForFriends || isServable(holder)) && isAsked(holder))
      .map(([holder]) => holder),
    share,
    held: heldBy,
    waiting: waiting.length,
    waitingBelowShare,
    waitedMs: now - (waiting[0] ?? held.waiting[0]).since,
    now,
  }
}
