/**
 * The client's forward-confirmed name (RFC 1912 section 2.1; "iprev" in RFC 8601 section 3): a name that the address points to
 * and that points back to the address. "There is none" and "the DNS did not answer" are kept apart, because mail servers treat them
 * differently.
 *
 * Two ask for names: the relay, before it tells a mail server who the client is (`find`), and the history of clients, for whom a
 * session never waits (`glance`). Whoever holds an address decides how slowly its name is answered. So each of the two has places of
 * its own, a network has only a few of those in the background, and a place is free again when the DNS is done, not when
 * nobody waits any longer. What finds no place is not asked.
 */
import { LRUCache } from 'lru-cache'
import { within } from '../core/deadline.ts'
import { canonical } from '../core/ip.ts'
import { groups } from '../core/ip-bytes.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Dns } from './dns.ts'
import { organisationOf } from './organisation.ts'
import { Places } from './places.ts'

export type Name =
  /** `organisation`: whose name it is; absent: it says of nobody. */
  | { readonly kind: 'name'; readonly name: string; readonly organisation?: string }
  | { readonly kind: 'none' }
  | { readonly kind: 'unanswered' }
export type NameOf = (ip: string) => Promise<Name>

export interface ClientNamesOptions {
  readonly dns: Pick<Dns, 'ask' | 'edition'>
  readonly metrics: Pick<Metrics, 'dnsQueries'>
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  /** How many addresses are remembered; by default MAX_KEPT. */
  readonly most?: number | undefined
}

/** No answer is waited for longer. */
const DEADLINE_MS = 2000
const MAX_NAMES = 3
const MAX_OPEN = 128
const MAX_OPEN_OF_NET = 8
const MAX_KEPT = 50_000
/** A name is kept for as long as its address record says, within these. */
const LEAST_MS = 600_000
const MOST_MS = 3_600_000
const KEEP_MS = { none: 120_000, unanswered: 10_000 }

interface Found {
  readonly name: Name
  readonly keepMs: number
}

const NONE: Found = { name: { kind: 'none' }, keepMs: KEEP_MS.none }
const UNANSWERED: Found = { name: { kind: 'unanswered' }, keepMs: KEEP_MS.unanswered }
/** Names that are safe in a log line, a header and an XCLIENT command. */
const HOSTNAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*$/i

export class ClientNames {
  readonly #options: ClientNamesOptions
  /** Made when there is something to keep: it takes its whole room at once. */
  #found: LRUCache<string, Name> | undefined
  readonly #asking = new Map<string, Promise<Name>>()
  /** For those who wait, whose networks are not told apart, and for those who do not. */
  readonly #awaited = new Places(MAX_OPEN, MAX_OPEN)
  readonly #background = new Places(MAX_OPEN, MAX_OPEN_OF_NET)
  #edition = 0

  constructor(options: ClientNamesOptions) {
    this.#options = options
  }

  /** For whoever waits: two seconds at most. @param ip canonical */
  find(ip: string): Promise<Name> {
    return this.#held(ip) ?? this.#look(ip, this.#awaited.take(''))
  }

  /** For whoever does not wait. @param net of the address: a network gets only a few answers at a time */
  glance(ip: string, net: string): Promise<Name> {
    return this.#held(ip) ?? this.#look(ip, this.#background.take(net))
  }

  /** What is known at this moment; undefined: nothing. */
  peek(ip: string): Name | undefined {
    this.#follow()
    return this.#found?.get(ip)
  }

  /** How many are remembered. */
  get size(): number {
    return this.#found?.size ?? 0
  }

  #held(ip: string): Promise<Name> | undefined {
    const found = this.peek(ip)
    return found === undefined ? this.#asking.get(ip) : Promise.resolve(found)
  }

  /** @param free frees its place; undefined: there is none */
  #look(ip: string, free: (() => void) | undefined): Promise<Name> {
    if (free === undefined) {
      this.#options.metrics.dnsQueries.inc('name', 'busy')
      return Promise.resolve(UNANSWERED.name)
    }
    const edition = this.#edition
    const keep = ({ name, keepMs }: Found): Name => {
      if (edition === this.#edition) this.#kept().set(ip, name, { ttl: keepMs })
      return name
    }
    let isLate = false
    const whole = confirm(this.#options.dns, ip, () => isLate).then((found) => {
      free()
      return keep(found)
    })
    const answer = within(whole, DEADLINE_MS, () => {
      isLate = true
      return keep(UNANSWERED)
    }).finally(() => {
      if (this.#asking.get(ip) === answer) this.#asking.delete(ip)
    })
    this.#asking.set(ip, answer)
    return answer
  }

  #kept(): LRUCache<string, Name> {
    const { elapsed, most = MAX_KEPT } = this.#options
    this.#found ??= new LRUCache({ max: most, ttlResolution: 0, perf: { now: elapsed } })
    return this.#found
  }

  /** What other servers have said is forgotten. */
  #follow(): void {
    const { edition } = this.#options.dns
    if (edition === this.#edition) return
    this.#edition = edition
    this.#found?.clear()
    this.#asking.clear()
  }
}

/** The name under which the address has its PTR records: RFC 1035 section 3.5, RFC 3596 section 2.5. */
export const reverseName = (ip: string): string => `${reversed(ip)}.${ip.includes(':') ? 'ip6' : 'in-addr'}.arpa`

/** The address as it stands in names, the last part first: bytes in decimal, or digits of IPv6. */
export const reversed = (ip: string): string =>
  ip.includes(':') ? [...groups(ip).toString('hex')].reverse().join('.') : ip.split('.').reverse().join('.')

/** Never rejects. @param isLate nobody waits any longer: what has not been asked by then is not asked */
async function confirm(dns: Pick<Dns, 'ask'>, ip: string, isLate: () => boolean): Promise<Found> {
  // Not `reverse`, which reports a DNS server that fails as if there were no name.
  const pointers = await dns.ask('name', (resolver) => resolver.resolvePtr(reverseName(ip)))
  if (pointers.kind === 'absent') return NONE
  if (pointers.kind === 'unanswered') return UNANSWERED
  let isAnswered = true
  for (const name of pointers.records.slice(0, MAX_NAMES)) {
    if (!HOSTNAME.test(name)) continue
    if (isLate()) return UNANSWERED
    const addresses = await dns.ask('name', (resolver) =>
      ip.includes(':') ? resolver.resolve6(name, { ttl: true }) : resolver.resolve4(name, { ttl: true }),
    )
    if (addresses.kind === 'unanswered') isAnswered = false
    if (addresses.kind !== 'records') continue
    const own = addresses.records.find(({ address }) => canonical(address) === ip)
    if (own !== undefined) return { name: named(name, ip), keepMs: keepMsOf(own.ttl) }
  }
  return isAnswered ? NONE : UNANSWERED
}

function named(name: string, ip: string): Name {
  const organisation = organisationOf(name, ip)
  return organisation === undefined ? { kind: 'name', name } : { kind: 'name', name, organisation }
}

/** @param ttl in seconds, as the DNS gives it */
const keepMsOf = (ttl: number): number => Math.min(MOST_MS, Math.max(LEAST_MS, ttl * 1000))
