/** Who the client is: what every check, limit, log line and mail server learns about it. */

/** What we think of a client. The set is closed, because it is a metric label. */
export const STANDINGS = ['trusted', 'known', 'seen', 'new', 'suspect', 'banned'] as const
export type Standing = (typeof STANDINGS)[number]

/** Standings that a client's own history can give it, from the least worth remembering to the most. */
export const REMEMBERED = ['new', 'suspect', 'seen', 'known'] as const satisfies readonly Standing[]
export type Remembered = (typeof REMEMBERED)[number]

/** The client as it connected (or as a listed balancer says it connected). Built once, at accept. */
export interface Client {
  /** The session's id (core/id.ts), which every log line and every refusal carries. */
  readonly id: string
  /** Canonical: without `::ffff:` and without a zone. */
  readonly ip: string
  readonly port: number
  readonly family: 4 | 6
  /** The key of limits per client: an IPv4 address, or an IPv6 /64 (`2001:db8:1:2::/64`). */
  readonly source: string
  /** The neighbourhood: an IPv4 /24 or an IPv6 /48. */
  readonly net: string
  /** The address and port that the client connected to: ours, or those that the balancer reports. */
  readonly local: { readonly ip: string; readonly port: number }
  /**
   * The key of its limits, in the place of its source: that of its network while that has turned, so that it counts as one client
   * (overload/standing.ts). Absent: its source.
   */
  readonly countedAs?: string | undefined
  /** As of its latest message, or of when it connected. */
  readonly standing: Standing
  /** The organisational domain of its forward-confirmed name (dns/organisation.ts); undefined: it has none, or none is known yet. */
  readonly domain?: string | undefined
  /** Looks at its standing once more: the DNS may have told whose address it is, or its network may have turned. */
  lookAgain?(): void
  /** It has connected to us itself, and not through a balancer. */
  readonly isDirect?: boolean
  /** It carries everybody's mail (SPILLWAY_RELAYS). */
  readonly isRelay?: boolean
}

/**
 * What a relay sends says nothing about it, and what is refused there for good bounces somebody else's mail. So no history is
 * kept of it, it is charged to no limit per address or network, and it hears no 5yz of ours.
 */
export const isRelay = (client: Pick<Client, 'isRelay'>): boolean => client.isRelay === true

/** Limits are not charged for a trusted client, and it skips every check that has `sparesTrusted`. */
export const isTrusted = ({ standing }: Pick<Client, 'standing'>): boolean => standing === 'trusted'

/** Trusted by the operator, or by its own long history. */
export const isKnown = ({ standing }: Pick<Client, 'standing'>): boolean =>
  standing === 'trusted' || standing === 'known'

/** Whoever we know some good of: neither a stranger nor worse. */
export const isFriend = ({ standing }: Pick<Client, 'standing'>): boolean =>
  standing === 'trusted' || standing === 'known' || standing === 'seen'

/** How many connections are open at this node, including this one. */
export interface OpenCounts {
  /** Of the same source. Relays are one source and one neighbourhood. */
  readonly source: number
  /** Of the strangers of the neighbourhood, for a stranger; of its friends, for a friend. */
  readonly net: number
  /** Of clients that are neither trusted, known nor seen. */
  readonly strangers: number
  readonly total: number
}
