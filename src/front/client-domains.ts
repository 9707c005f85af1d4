/**
 * The domains of clients, for their history: whose name an address has, as far as the DNS has told (dns/names.ts). It is asked in the
 * background, and nobody ever waits for it:
 *
 *     at accept    nothing is asked, and a client that is refused costs no question; what was heard earlier counts
 *     let in       asked for whoever is new, or seen: a domain may raise the one, and tells of both that they have come back
 *     a lesson     asked for whoever has sent mail that counts, once a day for each address: also for those that are known, or a domain
 *                  would only hear of its strangers
 *
 * Trusted clients and relays are never asked about: what is said of them is the operator's word. Nor are private addresses, which are
 * nobody's but ours.
 */
import { type Client, isRelay } from '../core/client.ts'
import { isPrivate } from '../core/ip.ts'
import type { ClientNames, Name } from '../dns/names.ts'
import type { Domains } from '../state/domains.ts'
import type { Lesson } from '../state/past.ts'

export interface ClientDomainsOptions {
  readonly names: Pick<ClientNames, 'glance' | 'peek'>
  readonly domains: Pick<Domains, 'learn'>
  /** HISTORY_DOMAINS. */
  readonly isOn: () => boolean
}

const organisationIn = (name: Name | undefined): string | undefined =>
  name?.kind === 'name' ? name.organisation : undefined

export class ClientDomains {
  readonly #options: ClientDomainsOptions

  constructor(options: ClientDomainsOptions) {
    this.#options = options
  }

  /** What is known at this moment. @param ip canonical */
  of(ip: string): string | undefined {
    const { names, isOn } = this.#options
    return isOn() ? organisationIn(names.peek(ip)) : undefined
  }

  /** Begins to ask for the name of a client that was let in, if anything may follow from it. */
  ask(client: Pick<Client, 'ip' | 'net' | 'standing' | 'isRelay'>): void {
    const { standing, ip, net } = client
    if (isRelay(client) || (standing !== 'new' && standing !== 'seen')) return
    if (isPrivate(ip) || !this.#options.isOn()) return
    void this.#options.names.glance(ip, net)
  }

  /** An address has sent mail that counts, for the first time today. Its domain learns it when its name is known. @param lesson as History.learn returns it */
  learn({ ip, net }: Pick<Client, 'ip' | 'net'>, lesson: Lesson | undefined): void {
    const { names, domains, isOn } = this.#options
    if (lesson === undefined || isPrivate(ip) || !isOn()) return
    void names.glance(ip, net).then((name) => {
      const organisation = organisationIn(name)
      if (organisation !== undefined) domains.learn(organisation, ip, lesson)
    })
  }
}
