/**
 * The last sessions that were turned away, for whoever asks why (GET /api/v1/explain). Three rings of fixed size, so that no flood of
 * one kind pushes out the others, and each takes only so many in a second: the first ones of that second.
 *
 *     friends   trusted, known or seen                    2,048, all of them
 *     mail      strangers that got as far as MAIL         1,024, at most 16 a second
 *     others    strangers that were turned away earlier   1,024, at most 4 a second
 *
 * So in a flood the last minute of the second kind is there at least, and the last four minutes of the third; while little goes on, all
 * is. What clients and mail servers have said is clipped, and escaped as in the log. An entry takes less than 2 KB.
 */
import { type Client, isFriend, type Standing } from '../core/client.ts'
import type { Refusal, Stage } from '../core/policy.ts'
import { visible } from '../core/visible.ts'
import type { SessionRecord } from './session-record.ts'

/** A session in which we, or a mail server, have turned something away. */
export interface RefusedSession {
  /** Of the session: the first 11 characters of the id that its client has heard. It tells the second, too. */
  readonly id: string
  readonly ip: string
  readonly standing: Standing
  /** Of our last refusal; otherwise as far as it got. */
  readonly stage: Stage
  /** Our last refusal; undefined: a mail server has refused. */
  readonly refusal: Refusal | undefined
  readonly helo: string | undefined
  /** With its local part only if the log shows local parts. */
  readonly from: string | undefined
  /** The last refusal of a mail server. */
  readonly refusedBy: { readonly upstream: string; readonly reply: string } | undefined
}

const RINGS = {
  friends: { places: 2048, perSecond: Number.POSITIVE_INFINITY },
  mail: { places: 1024, perSecond: 16 },
  others: { places: 1024, perSecond: 4 },
} as const

/** Characters that are kept of a text of others, once it is escaped. */
const MOST_KEPT = 160

/** A copy: a part of a string would keep the whole of it in memory. */
const clipped = (text: string): string => {
  const shown = visible(text.slice(0, MOST_KEPT)).replace(/\n/g, ' ')
  return Buffer.from(shown.slice(0, MOST_KEPT)).toString()
}

class Ring {
  readonly #places: number
  readonly #perSecond: number
  readonly #entries: RefusedSession[] = []
  #next = 0
  #second = -1
  #taken = 0

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

  add(entry: RefusedSession): void {
    this.#taken++
    this.#entries[this.#next] = entry
    this.#next = (this.#next + 1) % this.#places
  }

  *latest(): Iterable<RefusedSession> {
    const { length } = this.#entries
    for (let i = 1; i <= length; i++) yield this.#entries[(this.#next - i + length) % length] as RefusedSession
  }
}

export class RecentRefusals {
  readonly #rings = { friends: new Ring(RINGS.friends), mail: new Ring(RINGS.mail), others: new Ring(RINGS.others) }

  /**
   * A session is over. Costs next to nothing where it is not kept.
   * @param elapsed milliseconds of a clock that never goes back @param redacted an address as the log shows it
   */
  note(record: SessionRecord, client: Client, elapsed: number, redacted: (address: string) => string): void {
    const { refusal, upstreamSaid: said } = record
    if (refusal === undefined && said === undefined) return
    const ring = this.#rings[isFriend(client) ? 'friends' : record.from === undefined ? 'others' : 'mail']
    if (!ring.hasRoom(Math.floor(elapsed / 1000))) return
    ring.add({
      ...{ id: client.id, ip: client.ip, standing: client.standing, refusal },
      stage: record.refusedAt ?? record.stage,
      helo: record.helo === undefined ? undefined : clipped(record.helo),
      from: record.from === undefined ? undefined : clipped(redacted(record.from)),
      refusedBy: said && { upstream: said.upstream, reply: clipped(said.reply) },
    })
  }

  /** The latest first, at most `most`. */
  find(fits: (entry: RefusedSession) => boolean, most: number): RefusedSession[] {
    const found: RefusedSession[] = []
    for (const ring of Object.values(this.#rings)) {
      let count = 0
      for (const entry of ring.latest()) {
        if (!fits(entry)) continue
        found.push(entry)
        if (++count === most) break
      }
    }
    // An id begins with the second; behind that it is in no order.
    return found.sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, most)
  }
}
