/**
 * Questions to the DNS (RFC 1035), by node's own resolver, c-ares. It asks the servers of DNS_SERVERS or those of the system, over
 * TCP where an answer is cut off, and takes an answer only from whom it has asked.
 *
 * "There is no such record" and "nobody could tell" are kept apart: of the second nothing follows. How many questions are asked at
 * once is bounded by whoever asks them (names.ts), because what must not be crowded out differs.
 */
import { Resolver } from 'node:dns/promises'
import type { DnsResult, DnsUse, Metrics } from '../telemetry/metrics.ts'

export type Answer<T> =
  | { readonly kind: 'records'; readonly records: readonly T[] }
  | { readonly kind: 'absent' }
  /** `isLate`: nothing was heard in time. Otherwise a server said that it could not tell, or could not be reached. */
  | { readonly kind: 'unanswered'; readonly isLate: boolean }

export interface DnsOptions {
  /** `ip` or `ip:port`; empty: those of the system. They may change from one question to the next. */
  readonly servers: () => readonly string[]
  readonly metrics: Pick<Metrics, 'dnsQueries' | 'dnsQueryDuration'>
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
}

/** Each server is asked twice at most, and waited for a second, and then two. */
const PATIENCE = { timeout: 900, tries: 2 }

/** What c-ares says if there is no such name, or no such record of it. Anything else is no answer. */
const ABSENT = ['ENOTFOUND', 'ENODATA']

export class Dns {
  readonly #options: DnsOptions
  #servers: readonly string[] | undefined
  #resolver = new Resolver(PATIENCE)
  #edition = 0
  #isStopped = false

  constructor(options: DnsOptions) {
    this.#options = options
  }

  /** Another one when other servers are asked: what those before have said is forgotten then. */
  get edition(): number {
    this.#follow()
    return this.#edition
  }

  /** Never rejects. Resolves within PATIENCE. */
  async ask<T>(use: DnsUse, question: (resolver: Resolver) => Promise<readonly T[]>): Promise<Answer<T>> {
    if (this.#isStopped) return { kind: 'unanswered', isLate: false }
    this.#follow()
    const { metrics, elapsed } = this.#options
    const begun = elapsed()
    const ended = <A extends Answer<T>>(result: DnsResult, answer: A): A => {
      metrics.dnsQueries.inc(use, result)
      metrics.dnsQueryDuration.of().observe((elapsed() - begun) / 1000)
      return answer
    }
    try {
      const records = await question(this.#resolver)
      return ended('answered', { kind: 'records', records })
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      if (ABSENT.includes(code)) return ended('absent', { kind: 'absent' })
      const isLate = code === 'ETIMEOUT'
      return ended(isLate ? 'timeout' : 'failed', { kind: 'unanswered', isLate })
    }
  }

  /** Gives up what is being asked; nothing is asked any more. */
  stop(): void {
    this.#isStopped = true
    this.#resolver.cancel()
  }

  #follow(): void {
    const servers = this.#options.servers()
    if (servers === this.#servers) return
    const isSame = this.#servers?.join() === servers.join()
    this.#servers = servers
    if (isSame) return
    this.#resolver = new Resolver(PATIENCE)
    if (servers.length > 0) this.#resolver.setServers([...servers])
    this.#edition++
  }
}
