/** What the operator has said of a DNS list, and what the lists say of a client. */

/** From and to, inclusive. */
export type Octets = readonly (readonly [from: number, to: number])[]

/** One entry of DNSBL_ZONES. A zone may have several, which all count. */
export interface ListEntry {
  /** In lower case, without the last dot. */
  readonly zone: string
  /** Answers that count, octet by octet; undefined: any in 127.0.0.0/8. */
  readonly filter: readonly [Octets, Octets, Octets, Octets] | undefined
  /** What an answer is worth; below 0: it speaks for the client. */
  readonly weight: number
  /** As the operator would write it. */
  readonly text: string
}

/** What the lists say of a client together. */
export interface Score {
  readonly score: number
  /** The zones that speak against it, by the names that anybody may see. */
  readonly zones: readonly string[]
}

/** A label that is a customer's key, as in `<key>.zen.dq.spamhaus.net`. */
const KEY = /^[a-z0-9]{20,}\./

/** The name of a zone that anybody may see: without the key of the customer, if the first label is one. */
export const shownZone = (zone: string): string => (zone.split('.').length > 2 ? zone.replace(KEY, '') : zone)

/** An address in numbers, as a list answers. */
export const fits = ({ filter }: Pick<ListEntry, 'filter'>, answer: readonly number[]): boolean =>
  filter === undefined ||
  filter.every((ranges, i) => ranges.some(([from, to]) => (answer[i] ?? -1) >= from && (answer[i] ?? -1) <= to))
