/**
 * Lets in a share of the messages of strangers, and says which (returning.ts, fair-share.ts). The shares follow the pressure
 * (admission.ts), within the bounds of the level (levels.ts).
 *
 * A message is asked about at its first recipient, because only that shows whether it has come back, and whether it is for postmaster
 * or abuse. But a new client that is doubtful or speaks in the clear is asked about at MAIL already. If it comes for the first time,
 * and nothing of its turn is let in at present, it is put off there: no recipient would change that, but postmaster. So of all messages
 * it is also remembered which sender they had (state/returns.ts). What comes back with that sender, from anywhere, gets to its recipient, and as many
 * from the same network or domain as were put off at MAIL count there as come back. A client may be put off at MAIL at one try and at its
 * recipient at the next, or the other way round. Bounces and verifications, which have a null sender, are never put off at MAIL.
 */
import type { Client, Standing } from '../core/client.ts'
import type { Clock } from '../core/clock.ts'
import type { Came, Level } from '../core/overload.ts'
import type { Envelope, Keys, Returns } from '../state/returns.ts'
import { leastPerSecond, nextShare } from './admission.ts'
import { FairShare } from './fair-share.ts'
import { boundsOf } from './levels.ts'
import { type Manner, TURNS, turnOf } from './returning.ts'

export interface RationingOptions {
  /** What was put off lately. */
  readonly returns: Pick<Returns, 'came' | 'spend' | 'keysOf'>
  /** Counts a message of which only a share is let in. */
  readonly counted: (came: Came, isIn: boolean) => void
  readonly clock: Pick<Clock, 'elapsed'>
  /** Eight secret random bytes for the tables of nets. */
  readonly seed: Uint8Array
}

/** Why a message is put off, for the log. */
export type ShedMessage = {
  /** Whether it was put off before. */
  readonly came: Came
  /** Its client is doubtful (returning.ts), and comes after the others. */
  readonly doubtful?: 'yes'
  /** It could have had TLS and has not asked for it, and comes after those of its kind that have. */
  readonly clear?: 'yes'
}

/** Standings of which a part may be let in. The others are let in, or none of them is. */
export type Rationed = 'new' | 'seen'
export const isRationed = (standing: Standing): standing is Rationed => standing === 'new' || standing === 'seen'

export const PLAIN: Manner = { isDoubtful: false, isClear: false }

type From = Pick<Client, 'net' | 'domain'>

/** Whether it comes after others of its kind. */
const isLate = ({ isDoubtful, isClear }: Manner): boolean => isDoubtful || isClear

export class Rationing {
  readonly #options: RationingOptions
  readonly #fair: Readonly<Record<Rationed, FairShare>>
  readonly #shares: Record<Rationed, number> = { new: 1, seen: 1 }

  constructor(options: RationingOptions) {
    const { seed } = options
    this.#options = options
    this.#fair = { new: new FairShare(seed, TURNS), seen: new FairShare(seed, TURNS) }
  }

  /** The share that is let in at present, 0 to 1. */
  share(standing: Rationed): number {
    return this.#shares[standing]
  }

  /**
   * Decides which share is let in.
   * @param seconds since the last time; 0: only the level has changed @param isPinned the level is not that of the pressure
   */
  set(level: Level, pressure: number, seconds: number, isPinned = false): void {
    const least = isPinned ? 0 : leastPerSecond(pressure)
    for (const standing of ['new', 'seen'] as const) {
      this.#shares[standing] = nextShare(this.#shares[standing], pressure, boundsOf(level, standing), seconds)
      this.#fair[standing].set(this.#shares[standing], seconds, least)
    }
  }

  /**
   * A new client has said MAIL.
   * @param from not '' @param manner asked only while a share is let in
   * @returns why it is put off; undefined: its recipient decides
   */
  atMail({ net, domain }: From, from: string, manner: () => Manner): ShedMessage | undefined {
    if (this.#shares.new >= 1) return undefined
    const is = manner()
    if (!isLate(is) || this.#fair.new.reaches(turnOf('first', is))) return undefined
    if (this.#options.returns.came(net, { from, to: '' }, domain) !== 'first') return undefined
    return this.#ask('new', net, 'first', is)
  }

  /**
   * A client has named the first recipient of a message.
   * @param manner asked only while a share is let in
   * @returns why it is put off; undefined: it is let in
   */
  atRcpt(standing: Rationed, client: From, envelope: Envelope, manner: () => Manner): ShedMessage | undefined {
    const { net, domain } = client
    const { returns } = this.#options
    if (this.#shares[standing] >= 1) {
      // Nobody has looked how it comes: when only a share is let in, it takes nothing from an earlier turn.
      this.#fair[standing].offer(net, this.#options.clock.elapsed(), TURNS - 1)
      return undefined
    }
    const came = returns.came(net, envelope, domain)
    const shed = this.#ask(standing, net, came, manner())
    if (shed === undefined && came !== 'first') returns.spend(net, envelope, domain)
    return shed
  }

  /** @param envelope `to` is '' where no recipient was heard */
  keysOf({ net, domain }: From, envelope: Envelope): Keys {
    return this.#options.returns.keysOf(net, envelope, domain)
  }

  #ask(standing: Rationed, net: string, came: Came, is: Manner): ShedMessage | undefined {
    const { counted, clock } = this.#options
    const isIn = this.#fair[standing].offer(net, clock.elapsed(), turnOf(came, is))
    counted(came, isIn)
    if (isIn) return undefined
    return { came, ...(is.isDoubtful && { doubtful: 'yes' }), ...(is.isClear && { clear: 'yes' }) }
  }
}
