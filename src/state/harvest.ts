/**
 * Counts the recipients that the cluster does not know, and all that were named, for each address and for each network (/24, /48). An
 * address that guesses is over its own limit soon; a harvest that is spread over the addresses of a network is over that of the
 * network.
 *
 * A network has many customers, and one that harvests must not have the others refused. So no address counts for more than a fifth of
 * what its network may (LEAST_ADDRESSES), what a known client names in vain is not counted for its network unless it guesses, and
 * everything that exists is. A known client guesses if it has named three recipients or more that do not exist, and they are 30 % of
 * all that it named: so a whole network that has behaved and then turns bad (snowshoe) is held as one.
 *
 * Where the known clients of a network turn bad together (overload/standing.ts), all of them count as one address from then on, and
 * for that one counts what they have named before as well: it has that behind it, as one address would.
 *
 * Each mailbox counts once in a window. Otherwise a client could make its guesses a small share of what it names, by naming a valid
 * address before each of them.
 */
import type { Client } from '../core/client.ts'
import { LIMITS, type Maximum, UNKNOWN_LIMITS, type UnknownLimit } from '../core/limits.ts'
import { mailboxOf } from '../core/mailbox.ts'
import type { RecentRecipients } from '../core/usage.ts'
import type { Scope } from './scope.ts'
import { WindowTable } from './table.ts'

/** How many pairs of source, or of network, and mailbox are remembered. If there are more in one window, some count twice. */
const MAILBOXES = 1 << 18
/** How many addresses are told apart, for what their network has of them, and for what proves a guesser. */
const ADDRESSES = 1 << 17
/** Networks of known clients. */
const KNOWN_NETS = 1 << 15
/** So many addresses of a network must guess before it is over its limit. */
const LEAST_ADDRESSES = 5
/** Unknown recipients must be at least this share of all that were named. */
export const HARVEST_SHARE = 0.3
/** Who mistypes a name or two does not guess. */
const LEAST_GUESSES = 3

/** What is counted for the share of the unknown ones, beside each limit. */
export const ASKED = {
  unknown_recipients: 'asked_recipients',
  net_unknown_recipients: 'net_asked_recipients',
} as const satisfies Record<UnknownLimit, string>
export type Asked = (typeof ASKED)[UnknownLimit]

/** One recipient, and what the cluster has said of it. */
export interface Named {
  readonly recipient: string
  readonly isUnknown: boolean
  /** It was named as the recipient of a bounce: others may have chosen it (isBounceSender in core/mailbox.ts). */
  readonly isBounce: boolean
}

/** A limit on unknown recipients that is on. */
export interface HarvestScope {
  readonly unknown: Scope
  readonly asked: Scope
  /** The mailboxes that were named in this window. */
  readonly mailboxes: WindowTable
  /** Of each address: what its network has of it; or what it has guessed itself, with a sender, and all that it has named. */
  readonly guessed: WindowTable
  readonly named: WindowTable
  /** Of each network: what its known clients have guessed, and named, while each counted for itself. */
  readonly known: { readonly guessed: WindowTable; readonly named: WindowTable }
}

/** @param before whose counts go on if they are of the same limit @param most keys that a table has room for */
export function harvestScopes(
  scope: (limit: UnknownLimit, name: UnknownLimit | Asked) => Scope | undefined,
  seed: Uint8Array,
  before: readonly HarvestScope[] = [],
  most = Number.POSITIVE_INFINITY,
): readonly HarvestScope[] {
  return UNKNOWN_LIMITS.flatMap((limit) => {
    const unknown = scope(limit, limit)
    const asked = scope(limit, ASKED[limit])
    if (unknown === undefined || asked === undefined) return []
    const same = before.find((each) => each.unknown === unknown)
    if (same !== undefined) return [same]
    const { windowMs } = unknown
    const table = (capacity: number) => new WindowTable({ capacity: Math.min(most, capacity), windowMs, seed })
    const known = { guessed: table(KNOWN_NETS), named: table(KNOWN_NETS) }
    return [{ unknown, asked, mailboxes: table(MAILBOXES), guessed: table(ADDRESSES), named: table(ADDRESSES), known }]
  })
}

/** The cluster has answered a client about a recipient. */
export function heard(
  scopes: readonly HarvestScope[],
  client: Client,
  named: Named,
  maximum: Maximum,
  at: number,
): void {
  for (const scope of scopes) {
    const { limit, counter, key } = scope.unknown
    const who = key(client)
    const max = maximum(limit, client, at)
    const ofNet = LIMITS[limit].per === 'net'
    if (ofNet && named.isUnknown && !countsForNet(scopes, scope, client, max, at)) continue
    if (!scope.mailboxes.first(`${who} ${mailboxOf(named.recipient)}`, at)) continue
    if (named.isUnknown) counter.count(who, at, max)
    scope.asked.counter.count(who, at, max)
    if (named.isUnknown && (ofNet || !named.isBounce)) scope.guessed.charge(client.source, at, Number.MAX_SAFE_INTEGER)
    if (ofNet) continue
    scope.named.charge(client.source, at, Number.MAX_SAFE_INTEGER)
    if (client.standing !== 'known') continue
    if (named.isUnknown) scope.known.guessed.charge(client.net, at, Number.MAX_SAFE_INTEGER)
    scope.known.named.charge(client.net, at, Number.MAX_SAFE_INTEGER)
  }
}

function countsForNet(
  scopes: readonly HarvestScope[],
  { guessed }: HarvestScope,
  { standing, source }: Client,
  max: number,
  at: number,
): boolean {
  if (standing === 'known' && !isGuessing(ownOf(scopes, source, at))) return false
  return guessed.peek(source, at) < Math.max(1, Math.floor(max / LEAST_ADDRESSES))
}

/** Whether so much of what a client has named does not exist that it guesses. */
export const isGuessing = ({ guessed, named }: Pick<RecentRecipients, 'guessed' | 'named'>): boolean =>
  guessed >= LEAST_GUESSES && guessed >= HARVEST_SHARE * named

function ownOf(
  scopes: readonly HarvestScope[],
  source: string,
  at: number,
): Pick<RecentRecipients, 'guessed' | 'named'> {
  const own = scopes.find(({ unknown }) => LIMITS[unknown.limit].per === 'source')
  return { guessed: own?.guessed.peek(source, at) ?? 0, named: own?.named.peek(source, at) ?? 0 }
}

/** @returns what a client, or its network, has named lately; undefined: that limit is off */
export function lately(
  scopes: readonly HarvestScope[],
  limit: UnknownLimit,
  client: Client,
  maximum: Maximum,
  at: number,
): RecentRecipients | undefined {
  const scope = scopes.find(({ unknown }) => unknown.limit === limit)
  if (scope === undefined) return undefined
  const { unknown, asked } = scope
  const who = unknown.key(client)
  const max = maximum(limit, client, at)
  const isShared = client.countedAs !== undefined && LIMITS[limit].per === 'source'
  const before = (table: WindowTable): number => (isShared ? table.peek(client.net, at) : 0)
  const use = unknown.counter.use(who, at, max)
  return {
    unknown: { ...use, used: use.used + before(scope.known.guessed) },
    asked: asked.counter.use(who, at, max).used + before(scope.known.named),
    ...ownOf(scopes, client.source, at),
  }
}
