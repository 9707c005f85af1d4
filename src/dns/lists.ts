/**
 * What DNS lists say of clients (RFC 5782). Of each new client all zones are asked side by side, from accept on; whoever judges it
 * later waits for what is missing, until two seconds after the beginning. What comes later counts for nothing then, and for the
 * next session of the client. An answer is kept for as long as the list says, within bounds.
 *
 * A list that is broken must not speak. Operators of lists answer 127.255.255.0/24 to whom they do not serve (Spamhaus: a public
 * resolver, or too many questions), and a zone that has expired may answer with anything for everybody. Such a zone is set aside:
 * it is asked nothing more, and what it has said counts for nothing. So is one that does not answer, again and again. It comes
 * back when it passes the test that every list is put to, at the start, then hourly, and soon after it has listed many clients in a row:
 * 127.0.0.2 is listed and 127.0.0.1 is not (RFC 5782 section 5). A list that speaks for clients need not list 127.0.0.2.
 */
import { LRUCache } from 'lru-cache'
import { type Client, isRelay } from '../core/client.ts'
import { within } from '../core/deadline.ts'
import { fits, type ListEntry, type Score, shownZone } from '../core/dnsbl.ts'
import { mayBeAnybody } from '../core/ip.ts'
import type { Maybe } from '../core/maybe.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Dns } from './dns.ts'
import { reversed } from './names.ts'
import { Places } from './places.ts'
import { ListZone, type Said } from './zone.ts'

export interface DnsListsOptions {
  readonly dns: Pick<Dns, 'ask' | 'edition'>
  /** DNSBL_ZONES, as they are now. */
  readonly entries: () => readonly ListEntry[]
  readonly metrics: Pick<Metrics, 'dnsblQueries' | 'dnsblZoneUp' | 'setDnsblZones'>
  readonly log: Log
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  /** How many addresses are remembered; by default MAX_KEPT. */
  readonly most?: number | undefined
}

/** How long a client may be kept waiting, from when the lists were first asked about it: less than a check may take. */
export const WAIT_MS = 1800
const MAX_KEPT = 50_000
/** Clients that are asked about at once, and those of one network among them. */
const MAX_OPEN = 128
const MAX_OPEN_OF_NET = 8
const TICK_MS = 5000
/** An answer is kept within these bounds; what is missing is asked for again. */
const LEAST_MS = 60_000
const MOST_MS = 3_600_000
const UNANSWERED_MS = 30_000

const NOTHING: Score = { score: 0, zones: [] }

type Listable = Pick<Client, 'ip' | 'net' | 'standing' | 'isRelay'>

/** No list knows private addresses. */
const isAsked = (client: Listable): boolean =>
  (client.standing === 'new' || client.standing === 'suspect') && !isRelay(client) && !mayBeAnybody(client.ip)

interface Lookup {
  readonly begunAt: number
  /** What was said so far, and by whom. */
  readonly said: Map<ListZone, Said>
  readonly whole: Promise<void>
  isDone: boolean
}

export class DnsLists {
  readonly #options: DnsListsOptions
  /** Made for the first client that is looked up: it takes its whole room at once, and most nodes ask no list. */
  #lookups: LRUCache<string, Lookup> | undefined
  readonly #places = new Places(MAX_OPEN, MAX_OPEN_OF_NET)
  #entries: readonly ListEntry[] | undefined
  #zones: ListZone[] = []
  #edition = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: DnsListsOptions) {
    this.#options = options
  }

  /** Puts the zones to the test, now and whenever it is time. */
  start(): void {
    this.#follow()
    this.#timer ??= setInterval(() => this.#follow(), TICK_MS).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Begins to ask about a client that was let in, if nothing good is known of it. */
  ask(client: Listable): void {
    if (isAsked(client)) this.#lookup(client.ip, client.net)
  }

  /** What the lists say of a client, as of now or in a moment. Of whom they were not asked they say nothing. */
  scoreOf(client: Listable): Maybe<Score> {
    const lookup = isAsked(client) ? this.#lookup(client.ip, client.net) : undefined
    if (lookup === undefined) return NOTHING
    const left = lookup.isDone ? 0 : lookup.begunAt + WAIT_MS - this.#options.elapsed()
    if (left <= 0) return this.#sum(lookup)
    return within(lookup.whole, left, () => undefined).then(() => this.#sum(lookup))
  }

  /** What they have said of a client already; undefined: nothing is kept. Nobody is asked. @param ip canonical */
  peek(ip: string): (Score & { readonly isDone: boolean }) | undefined {
    const lookup = this.#lookups?.peek(ip)
    return lookup && { ...this.#sum(lookup), isDone: lookup.isDone }
  }

  #sum({ said }: Lookup): Score {
    let score = 0
    const zones: string[] = []
    for (const [zone, { answers }] of said) {
      if (!zone.isUp || answers.length === 0) continue
      const weights = zone.entries.filter((entry) => answers.some((answer) => fits(entry, answer)))
      for (const { weight } of weights) score += weight
      if (weights.some(({ weight }) => weight > 0)) zones.push(zone.shown)
    }
    return { score, zones }
  }

  /** @returns undefined if there is nobody to ask, or too many are being asked about */
  #lookup(ip: string, net: string): Lookup | undefined {
    this.#follow()
    const zones = this.#zones.filter(({ isUp }) => isUp)
    if (zones.length === 0) return undefined
    const { elapsed, most = MAX_KEPT } = this.#options
    this.#lookups ??= new LRUCache({ max: most, ttl: MOST_MS, ttlResolution: 0, perf: { now: elapsed } })
    const lookups = this.#lookups
    const held = lookups.get(ip)
    if (held !== undefined) return held
    const free = this.#places.take(net)
    if (free === undefined) return undefined
    const said: Lookup['said'] = new Map()
    const question = reversed(ip)
    const asked = zones.map(async (zone) => {
      const answer = await zone.ask(question)
      if (answer !== undefined) said.set(zone, answer)
    })
    const whole = Promise.all(asked).then(() => {
      free()
      lookup.isDone = true
      const keep = [...said.values()].map(({ ttlMs }) => Math.min(MOST_MS, Math.max(LEAST_MS, ttlMs)))
      if (said.size < zones.length) keep.push(UNANSWERED_MS)
      if (lookups.peek(ip) === lookup) lookups.set(ip, lookup, { ttl: Math.min(...keep) })
    })
    const lookup: Lookup = { begunAt: this.#options.elapsed(), said, whole, isDone: false }
    lookups.set(ip, lookup)
    return lookup
  }

  /**
   * Keeps to the settings. What was heard under others is forgotten, but not which zones are well; that as well, if other DNS servers
   * are asked: a list may have been set aside because of those before, or lie only by them.
   */
  #follow(): void {
    const { entries: now, dns, metrics, log, elapsed } = this.#options
    const entries = now()
    const { edition } = dns
    if (entries !== this.#entries || edition !== this.#edition) {
      if (edition !== this.#edition) for (const zone of this.#zones.splice(0)) zone.retire()
      this.#entries = entries
      this.#edition = edition
      const before = new Map(this.#zones.map((zone) => [zone.name, zone]))
      const names = [...new Set(entries.map(({ zone }) => zone))]
      metrics.setDnsblZones([...new Set(names.map(shownZone))])
      this.#lookups?.clear()
      this.#zones = names.map((name) => {
        const of = entries.filter(({ zone }) => zone === name)
        const zone = before.get(name) ?? new ListZone({ name, dns, metrics, log, elapsed })
        before.delete(name)
        zone.entries = of
        return zone
      })
      for (const zone of before.values()) zone.retire()
    }
    for (const zone of this.#zones) zone.tick()
  }
}
