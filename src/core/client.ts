/** Who is on the line: what every check, limit, log line and upstream hears about the peer. */

/** What we think of a client. A closed set: it is a metric label. */
export const STANDINGS = ['trusted', 'known', 'seen', 'new', 'suspect', 'banned'] as const
export type Standing = (typeof STANDINGS)[number]

/** The client as it connected (or as a listed balancer says it connected). Built once, at accept. */
export interface Client {
  /** The session's id: see core/id.ts. In every log line and in every refusal. */
  readonly id: string
  /** Canonical: no `::ffff:`, no zone. */
  readonly ip: string
  readonly port: number
  readonly family: 4 | 6
  /** What per-client limits count under: an IPv4 address, or an IPv6 /64 (`2001:db8:1:2::/64`). */
  readonly source: string
  /** The neighbourhood: an IPv4 /24 or an IPv6 /48. */
  readonly net: string
  /** The address and port the client connected to: ours, or what the balancer reports. */
  readonly local: { readonly ip: string; readonly port: number }
  /** Milliseconds since the epoch. */
  readonly connectedAt: number
  readonly standing: Standing
}

/** How many connections are open at this node, this one included. */
export interface OpenCounts {
  readonly source: number
  readonly total: number
}
