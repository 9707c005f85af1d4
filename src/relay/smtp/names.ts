/**
 * The client's forward-confirmed name (RFC 1912 section 2.1; "iprev" in RFC 8601 section 3): a name that the address points to
 * and that points back to the address. It is looked up only for sessions that reach the relay, is cached, and is never waited for
 * longer than two seconds. "There is none" and "the DNS did not answer" are kept apart, because mail servers treat them
 * differently.
 */
import { Resolver } from 'node:dns/promises'
import { LRUCache } from 'lru-cache'
import { within } from '../../core/deadline.ts'
import { canonical } from '../../core/ip.ts'
import { groups } from './proxy-header.ts'

export type Name =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'none' }
  | { readonly kind: 'unanswered' }
export type Names = (ip: string) => Promise<Name>

export interface NamesOptions {
  /** `ip` or `ip:port`; empty: those of the system. */
  readonly servers: readonly string[]
}

const DEADLINE_MS = 2000
const MAX_NAMES = 3
const MAX_IN_FLIGHT = 128
const KEEP_MS = { name: 600_000, none: 120_000, unanswered: 10_000 }

const NONE: Name = { kind: 'none' }
const UNANSWERED: Name = { kind: 'unanswered' }
/** Names that are safe in a log line, a header and an XCLIENT command. */
const HOSTNAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*$/i

export function createNames({ servers }: NamesOptions): Names {
  const resolver = new Resolver({ timeout: 900, tries: 2 })
  if (servers.length > 0) resolver.setServers([...servers])
  const cache = new LRUCache<string, Name>({ max: 50_000 })
  const asking = new Map<string, Promise<Name>>()

  return async (ip) => {
    const cached = cache.get(ip)
    if (cached !== undefined) return cached
    const already = asking.get(ip)
    if (already !== undefined) return already
    if (asking.size >= MAX_IN_FLIGHT) return UNANSWERED
    const answer = within(confirm(resolver, ip), DEADLINE_MS, () => UNANSWERED).then((name) => {
      asking.delete(ip)
      cache.set(ip, name, { ttl: KEEP_MS[name.kind] })
      return name
    })
    asking.set(ip, answer)
    return answer
  }
}

/** Whether the DNS answered that there is no such record. Any other error is no answer. */
const isAbsent = (error: unknown): boolean => {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOTFOUND' || code === 'ENODATA'
}

/** The name under which the address has its PTR records: RFC 1035 section 3.5, RFC 3596 section 2.5. */
export const reverseName = (ip: string): string =>
  ip.includes(':')
    ? `${[...groups(ip).toString('hex')].reverse().join('.')}.ip6.arpa`
    : `${ip.split('.').reverse().join('.')}.in-addr.arpa`

async function confirm(resolver: Resolver, ip: string): Promise<Name> {
  let names: string[]
  try {
    // Not `reverse`, which reports a DNS server that fails as if there were no name.
    names = await resolver.resolvePtr(reverseName(ip))
  } catch (error) {
    return isAbsent(error) ? NONE : UNANSWERED
  }
  let answered = true
  for (const name of names.slice(0, MAX_NAMES)) {
    if (!HOSTNAME.test(name)) continue
    try {
      const addresses = await (ip.includes(':') ? resolver.resolve6(name) : resolver.resolve4(name))
      if (addresses.some((address) => canonical(address) === ip)) return { kind: 'name', name }
    } catch (error) {
      if (!isAbsent(error)) answered = false
    }
  }
  return answered ? NONE : UNANSWERED
}
