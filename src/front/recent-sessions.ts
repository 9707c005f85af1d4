/**
 * The last sessions, for whoever asks why (GET /api/v1/explain), and what of them goes to Redis (state/kept-sessions.ts).
 * core/kept-session.ts has the kinds. Each has a ring of fixed size, so that no flood of one kind pushes out the others, and takes only so
 * many in a second: the first ones of that second.
 *
 *     known, seen  1,024 each, all of them
 *     plausible    1,024, at most 16 a second
 *     sampled      1,024, at most 4 a second
 *     served         512, at most 8 a second
 *
 * Of a network (an IPv4 /24, an IPv6 /32) only the first 60 are taken at once, and one in two minutes afterwards. What is beyond
 * that, of those that were turned away, is sampled: one source never takes what others need.
 *
 * What clients and mail servers have said is clipped, and escaped as in the log. An entry takes less than 3 KB.
 */
import { type Client, isFriend, isRelay } from '../core/client.ts'
import { providerOf } from '../core/ip.ts'
import { KEPT_KINDS, type KeptKind, type KeptSession, senderOf } from '../core/kept-session.ts'
import { utf8Of } from '../core/latin1.ts'
import type { Refusal } from '../core/policy.ts'
import { recordOf } from '../core/record.ts'
import { visible } from '../core/visible.ts'
import type { SessionRecord } from './session-record.ts'
import type { Shown } from './shown-address.ts'

const RINGS: Readonly<Record<KeptKind, { readonly places: number; readonly perSecond: number }>> = {
  known: { places: 1024, perSecond: Number.POSITIVE_INFINITY },
  seen: { places: 1024, perSecond: Number.POSITIVE_INFINITY },
  plausible: { places: 1024, perSecond: 16 },
  sampled: { places: 1024, perSecond: 4 },
  served: { places: 512, perSecond: 8 },
}

/** Sessions of one network that are taken at once, and after how long one more is. */
export const AT_ONCE = 60
export const ONE_MORE_MS = 120_000
const SHARES = 4096

/** Characters that are kept of a text of others, once it is escaped. */
const MOST_KEPT = 160
/** Recipients and messages of a session. */
const MOST_TOLD = 3
const MOST_FACTS = 8

/** A copy: a part of a string would keep the whole of it in memory. */
const clipped = (text: string): string => {
  const shown = visible(text.slice(0, MOST_KEPT)).replace(/\n/g, ' ')
  return Buffer.from(shown.slice(0, MOST_KEPT)).toString()
}

/** What is kept, with what it is found by. */
interface Entry {
  readonly session: KeptSession
  /** Undefined: it named none, or the null reverse-path. Shown to nobody. */
  readonly sender: string | undefined
}

/**
 * What networks have taken of what there is for a kind, by the generic cell rate algorithm (ITU-T I.371), in a table of fixed size.
 * Networks in one place have one share together, and nobody outside knows the seed.
 */
class Shares {
  readonly #until = new Float64Array(SHARES)
  readonly #seed: number

  constructor(seed: number) {
    this.#seed = seed
  }

  /** @param elapsed milliseconds */
  take(net: string, elapsed: number): boolean {
    let hash = this.#seed
    for (let i = 0; i < net.length; i++) hash = Math.imul(hash ^ net.charCodeAt(i), 16_777_619)
    const place = (hash >>> 0) % SHARES
    const until = Math.max(this.#until[place] as number, elapsed)
    if (until - elapsed > (AT_ONCE - 1) * ONE_MORE_MS) return false
    this.#until[place] = until + ONE_MORE_MS
    return true
  }
}

class Ring {
  readonly #places: number
  readonly #perSecond: number
  readonly #entries: Entry[] = []
  #next = 0
  #second = -1
  #taken = 0
  #skipped = 0

  constructor({ places, perSecond }: { readonly places: number; readonly perSecond: number }) {
    this.#places = places
    this.#perSecond = perSecond
  }

  /** @param second by any clock */
  hasRoom(second: number): boolean {
    if (second !== this.#second) {
      this.#second = second
      this.#taken = 0
    }
    return this.#taken < this.#perSecond
  }

  /** One that is not kept: the next one stands for it as well. */
  skip(): void {
    this.#skipped++
  }

  /** How many sessions the one stands for that is added now. */
  weight(): number {
    const weight = 1 + this.#skipped
    this.#skipped = 0
    return weight
  }

  add(entry: Entry): void {
    this.#taken++
    this.#entries[this.#next] = entry
    this.#next = (this.#next + 1) % this.#places
  }

  *latest(): Iterable<Entry> {
    const { length } = this.#entries
    for (let i = 1; i <= length; i++) yield this.#entries[(this.#next - i + length) % length] as Entry
  }
}

export interface RecentSessionsOptions {
  /** The name of this node. */
  readonly host: string
  /** 32 secret random bits. */
  readonly seed: number
  /** Called with each that is kept, and with the address of its sender as it is found by. */
  readonly kept?: ((kind: KeptKind, session: KeptSession, sender: string | undefined) => void) | undefined
}

export class RecentSessions {
  readonly #options: RecentSessionsOptions
  readonly #rings = recordOf(KEPT_KINDS, (kind) => new Ring(RINGS[kind]))
  readonly #shares: Readonly<Record<Exclude<KeptKind, 'sampled'>, Shares>>

  constructor(options: RecentSessionsOptions) {
    this.#options = options
    this.#shares = recordOf(['known', 'seen', 'plausible', 'served'], () => new Shares(options.seed))
  }

  /**
   * A session is over. Costs next to nothing where it is not kept.
   * @param elapsed milliseconds of a clock that never goes back
   */
  note(record: SessionRecord, client: Client, elapsed: number, shown: Shown): void {
    const kind = this.#placeOf(record, client, elapsed)
    if (kind === undefined) return
    const ring = this.#rings[kind]
    if (!ring.hasRoom(Math.floor(elapsed / 1000))) {
      ring.skip()
      return
    }
    const session = keptOf(record, client, { host: this.#options.host, sample: ring.weight(), shown })
    const sender = record.from === undefined || record.from === '' ? undefined : senderIn(record.from)
    ring.add({ session, sender })
    this.#options.kept?.(kind, session, sender)
  }

  /** Which kind it counts as; undefined: it is not kept. */
  #placeOf(record: SessionRecord, client: Client, elapsed: number): KeptKind | undefined {
    const kind = keptKindOf(record, client)
    if (kind === undefined || kind === 'sampled') return kind
    if (this.#shares[kind].take(providerOf(client.ip), elapsed)) return kind
    if (kind !== 'served') return 'sampled'
    this.#rings.served.skip()
    return undefined
  }

  /** The latest first, at most `most` of each kind. */
  find(fits: (session: KeptSession, sender: string | undefined) => boolean, most: number): KeptSession[] {
    const found: KeptSession[] = []
    for (const ring of Object.values(this.#rings)) {
      let count = 0
      for (const { session, sender } of ring.latest()) {
        if (!fits(session, sender)) continue
        found.push(session)
        if (++count === most) break
      }
    }
    return found
  }
}

function keptKindOf(record: SessionRecord, client: Client): KeptKind | undefined {
  if (record.refusal === undefined && record.upstreamSaid === undefined)
    return record.accepted || record.observed !== undefined ? 'served' : undefined
  if (isRelay(client)) return 'known'
  if (isFriend(client)) return client.standing === 'seen' ? 'seen' : 'known'
  const isPlausible = client.standing === 'new' && record.from !== undefined
  return isPlausible && !record.isBroken && record.offences === undefined ? 'plausible' : 'sampled'
}

/** RFC 5321 section 4.5.3.1: a path has 256 octets at most. */
const senderIn = (from: string): string => senderOf(utf8Of(from.slice(0, 256)))

function keptOf(
  record: SessionRecord,
  { id, ip, standing }: Client,
  { host, sample, shown }: { readonly host: string; readonly sample: number; readonly shown: Shown },
): KeptSession {
  const { refusal, upstreamSaid: said, helo, from } = record
  const sender = from === undefined ? undefined : shown(from)
  return {
    ...{ id, host, ip, standing, sample },
    stage: record.refusedAt ?? record.stage,
    refusal: refusal && { reason: refusal.reason, code: refusal.code, facts: factsOf(refusal) },
    helo: helo === undefined ? undefined : clipped(helo),
    from: sender && clipped(sender.text),
    fromHmac: sender?.hmac,
    rcpts: (record.told ?? []).slice(0, MOST_TOLD).map(({ to, code }) => {
      const { text, hmac } = shown(to)
      return { to: clipped(text), ...(hmac !== undefined && { toHmac: hmac }), code }
    }),
    rcptCount: record.rcpts,
    messages: (record.messages ?? [])
      .slice(0, MOST_TOLD)
      .map(({ result, reply }) => ({ result, reply: clipped(reply) })),
    refusedBy: said && { upstream: said.upstream, reply: clipped(said.reply) },
    observe: [...(record.observed ?? [])],
  }
}

const factsOf = ({ facts }: Refusal): Record<string, string | number> =>
  Object.fromEntries(
    Object.entries(facts)
      .flatMap(([name, fact]) =>
        fact === undefined ? [] : [[name, typeof fact === 'string' ? clipped(fact) : fact] as const],
      )
      .slice(0, MOST_FACTS),
  )
