/**
 * Who waits for a connection to a mail server, who of them is next, and for how long each may wait. Pure: who waits comes in as
 * plain values, in the order in which they came, and time as an argument.
 *
 * **Friends first.** Whoever is trusted, known or seen is served before strangers. No friend lives on that alone: a source that
 * holds FRIEND_MOST of all connections already has its turn among the strangers, so that one that has turned bad leaves something
 * to others. So does one of a neighbourhood whose friends hold as many: a whole /24 that has behaved and then turns bad (snowshoe)
 * leaves as much as one of its addresses would, and its turn comes as if all that its friends hold were one client's. What strangers
 * hold there does not count, or a bot could rent a place beside a known sender. Among friends the source that holds the fewest is next
 * (fairness.ts), and among equals the one that came first.
 *
 * **Strangers by neighbourhood.** Of strangers those of the neighbourhood that holds the fewest are next: a flood from one /24 has an address
 * for each connection, and would have its turn like 254 senders. Within it the source that holds the fewest is next. Among equals a client that
 * speaks TLS goes before one in the clear, as where a share is let in (overload/returning.ts), and then the one that came first.
 *
 * **Newest first while the queue stands.** A queue that fills and empties again is a good one: it evens out what comes. One that
 * only stands makes everybody wait and serves no more. The two are told apart as CoDel does (Nichols and Jacobson, RFC 8289):
 * each time a client is served, by how long the first in the queue has waited. Where that was more than TARGET_MS each time for
 * INTERVAL_MS, the queue is overloaded; it no longer is when the first has waited for less, or nobody waits. RFC 8289 goes by the
 * one that is served, which is the first there, but may be the newest here.
 *
 * While it is overloaded, the newest of equals is next, and strangers wait for STRANGER_MS at most (adaptive LIFO and controlled
 * delay: Maurer, Fail at Scale, ACM Queue 2015). As many are served as before, most of them at once; the others hear 451 soon,
 * and hold no session meanwhile. What a friend may wait is never shortened. While no connection comes free at all, as when the
 * mail servers stall, nothing is known of the queue, and it stays as it was.
 */
import { isFriend } from '../../core/client.ts'
import type { Wait } from './contention.ts'
import type { Holder } from './fairness.ts'

/** Five times longer than a mail server usually takes for an envelope, and a tenth of INTERVAL_MS (RFC 8289 section 3.2). */
export const TARGET_MS = 500
/** Longer than most messages hold a connection, as an interval is longer than a round trip in RFC 8289. */
export const INTERVAL_MS = 5000
export const STRANGER_MS = 2000
/** The share of all connections that a friend's source, or its neighbourhood, may hold and still go first; one connection in any case. */
const FRIEND_MOST = 0.25

/** What is known of the queue. */
export interface Congestion {
  /** Since when the first in the queue has waited for more than TARGET_MS whenever a client was served; undefined: it has not. */
  readonly since: number | undefined
  readonly isOverloaded: boolean
}

/** Of a queue that is empty, or short enough. */
export const NONE: Congestion = { since: undefined, isOverloaded: false }

/** A client is served. @param waiting those who waited until now, with that one; at least one @param now in ms */
export function atService({ since = undefined }: Congestion, waiting: readonly Wait[], now: number): Congestion {
  // Whoever does not want a certain server waits for another reason.
  const first = waiting.find(({ avoid }) => avoid === undefined)
  if (first === undefined || now - first.since <= TARGET_MS) return NONE
  const from = since ?? now
  return { since: from, isOverloaded: now - from >= INTERVAL_MS }
}

export interface Order {
  /** How many connections a source holds. */
  readonly held: (source: string) => number
  /** How many the friends of a neighbourhood hold, or its strangers. */
  readonly heldByNet: (net: string, whose: 'friends' | 'strangers') => number
  /** How many there are. */
  readonly connections: number
  readonly isOverloaded: boolean
  /** Whether there may be a connection for this one. */
  readonly mayBeServed: (wait: Wait) => boolean
}

/** Who is next; undefined: nobody can be served. Takes time linear in the number of those who wait. */
export function nextOf<W extends Wait>(waiting: readonly W[], order: Order): W | undefined {
  const { held, heldByNet, connections, isOverloaded, mayBeServed } = order
  const most = Math.max(1, Math.floor(connections * FRIEND_MOST))
  let next: W | undefined
  let nextRank: Rank | undefined
  for (let i = 0; i < waiting.length; i++) {
    const wait = waiting[isOverloaded ? waiting.length - 1 - i : i] as W
    const rank = rankOf(wait.holder, { held, heldByNet }, most)
    if (nextRank !== undefined && !isBefore(rank, nextRank)) continue
    if (!mayBeServed(wait)) continue
    next = wait
    nextRank = rank
    if (rank.isFirst && rank.crowd + rank.own === 0) break
  }
  return next
}

/** Where one of those that wait stands; among equals the order of coming decides. */
interface Rank {
  readonly isFirst: boolean
  /** What its neighbourhood holds, where it waits as one client with it, and what it holds itself. */
  readonly crowd: number
  readonly own: number
  readonly isClear: boolean
}

function rankOf(holder: Holder, { held, heldByNet }: Pick<Order, 'held' | 'heldByNet'>, most: number): Rank {
  const { source, net, isClear = false } = holder
  const own = held(source)
  if (!isFriend(holder)) return { isFirst: false, crowd: Math.max(own, heldByNet(net, 'strangers')), own, isClear }
  // A crowd of friends waits as one client that holds what all of them hold.
  const crowd = heldByNet(net, 'friends')
  if (crowd >= most) return { isFirst: false, crowd, own: 0, isClear: false }
  return own < most
    ? { isFirst: true, crowd: 0, own, isClear: false }
    : { isFirst: false, crowd: own, own: 0, isClear: false }
}

function isBefore(one: Rank, other: Rank): boolean {
  if (one.isFirst !== other.isFirst) return one.isFirst
  if (one.crowd !== other.crowd) return one.crowd < other.crowd
  if (one.own !== other.own) return one.own < other.own
  return !one.isClear && other.isClear
}

/** Who has waited for too long. The others have the time that everybody has. */
export function lateOf<W extends Wait>(waiting: readonly W[], { isOverloaded }: Congestion, now: number): W[] {
  return isOverloaded ? waiting.filter(({ holder, since }) => !isFriend(holder) && now - since >= STRANGER_MS) : []
}

/**
 * Which stranger leaves the queue for whoever comes when it is full: the one that would be the last of them; undefined: none. A stranger
 * with TLS takes the place of one in the clear only, and who speaks in the clear that of nobody.
 */
export function toLeave<W extends Wait>(
  waiting: readonly W[],
  { isOverloaded }: Congestion,
  comes: Holder,
): W | undefined {
  const isForFriend = isFriend(comes)
  if (!isForFriend && comes.isClear) return undefined
  const leaves = ({ holder }: W): boolean => !isFriend(holder) && (isForFriend || holder.isClear === true)
  return isOverloaded ? waiting.find(leaves) : waiting.findLast(leaves)
}
