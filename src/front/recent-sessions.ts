/**
 * The last sessions, for whoever asks why (GET /api/v1/explain), and what of them goes to Redis (state/kept-sessions.ts).
 * core/kept-session.ts says what the kinds are, session-to-keep.ts of which kind a session is. Each kind has a ring of fixed size, so that
 * no flood of one kind pushes out the others, and takes only so many in a second: the first ones of that second.
 *
 *     known, seen  1,024 each, all of them
 *     plausible    1,024, at most 16 a second
 *     sampled      1,024, at most 4 a second
 *     served         512, at most 8 a second
 *
 * Each network has its share of a kind (network-shares.ts). What is beyond that, of those that were turned away, is sampled.
 */
import type { Client } from '../core/client.ts'
import { providerOf } from '../core/ip.ts'
import { KEPT_KINDS, type KeptKind, type KeptSession } from '../core/kept-session.ts'
import { recordOf } from '../core/record.ts'
import { NetworkShares } from './network-shares.ts'
import type { SessionRecord } from './session-record.ts'
import { SessionRing } from './session-ring.ts'
import { keptKindOf, keptOf, senderOfSession } from './session-to-keep.ts'
import type { Shown } from './shown-address.ts'

const RINGS: Readonly<Record<KeptKind, { readonly places: number; readonly perSecond: number }>> = {
  known: { places: 1024, perSecond: Number.POSITIVE_INFINITY },
  seen: { places: 1024, perSecond: Number.POSITIVE_INFINITY },
  plausible: { places: 1024, perSecond: 16 },
  sampled: { places: 1024, perSecond: 4 },
  served: { places: 512, perSecond: 8 },
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
  readonly #rings = recordOf(KEPT_KINDS, (kind) => new SessionRing(RINGS[kind]))
  readonly #shares: Readonly<Record<Exclude<KeptKind, 'sampled'>, NetworkShares>>

  constructor(options: RecentSessionsOptions) {
    this.#options = options
    this.#shares = recordOf(['known', 'seen', 'plausible', 'served'], () => new NetworkShares(options.seed))
  }

  /**
   * A session is over. Costs next to nothing where it is not kept.
   * @param elapsed milliseconds of a clock that never goes back
   */
  note(record: SessionRecord, client: Client, elapsed: number, shown: Shown): void {
    const kind = this.#kindFor(record, client, elapsed)
    if (kind === undefined) return
    const ring = this.#rings[kind]
    if (!ring.hasRoom(Math.floor(elapsed / 1000))) {
      ring.skip()
      return
    }
    const session = keptOf(record, client, { host: this.#options.host, sample: ring.takeSample(), shown })
    const sender = senderOfSession(record)
    ring.add({ session, sender })
    this.#options.kept?.(kind, session, sender)
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

  /** @returns the kind that it counts as; undefined: it is not kept */
  #kindFor(record: SessionRecord, client: Client, elapsed: number): KeptKind | undefined {
    const kind = keptKindOf(record, client)
    if (kind === undefined || kind === 'sampled') return kind
    if (this.#shares[kind].take(providerOf(client.ip), elapsed)) return kind
    if (kind !== 'served') return 'sampled'
    this.#rings.served.skip()
    return undefined
  }
}
