/**
 * The clients that wait for a connection to a mail server: who has a place, and how each wait ends. Who is next is decided in
 * queue.ts.
 */
import type { Standing } from '../../core/client.ts'
import type { Claims } from './claims.ts'
import type { Wait } from './contention.ts'
import type { Holder } from './fairness.ts'
import { NoUpstream } from './no-upstream.ts'
import { atService, type Congestion, lateOf, NONE, nextOf, type Order, toLeave } from './queue.ts'
import type { Server } from './server.ts'
import type { SlotsOptions } from './slots-options.ts'

/** @typeParam S what they wait for */
export interface Waiting<S> extends Wait {
  /** Ends the wait. */
  settle(outcome: S | NoUpstream): void
}

/** How often we look at those who wait, in milliseconds. */
const LOOK_MS = 100

export interface WaitingRoomOptions
  extends Pick<SlotsOptions, 'servers' | 'waiting' | 'waitMs' | 'elapsed' | 'queued'> {
  readonly claims: Claims
  /** Called while any client waits. */
  readonly look: () => void
}

export class WaitingRoom<S> implements Iterable<Wait> {
  readonly #options: WaitingRoomOptions
  /** In the order in which they came. */
  readonly #all: Waiting<S>[] = []
  #congestion: Congestion = NONE
  /** Runs while any client waits. */
  #looking: NodeJS.Timeout | undefined

  constructor(options: WaitingRoomOptions) {
    this.#options = options
  }

  get length(): number {
    return this.#all.length
  }

  /** How many of this standing wait. */
  count(standing: Standing): number {
    let count = 0
    for (const { holder } of this.#all) if (holder.standing === standing) count++
    return count
  }

  [Symbol.iterator](): Iterator<Waiting<S>> {
    return this.#all.values()
  }

  next(order: Omit<Order, 'isOverloaded'>): Waiting<S> | undefined {
    return nextOf(this.#all, { ...order, isOverloaded: this.#congestion.isOverloaded })
  }

  /** This one gets what it waits for. */
  serve(waiting: Waiting<S>, outcome: S): void {
    this.#congestion = atService(this.#congestion, this.#all, this.#options.elapsed())
    waiting.settle(outcome)
  }

  /** Whoever has waited for too long leaves. */
  dismissLate(): void {
    const late = lateOf(this.#all, this.#congestion, this.#options.elapsed())
    for (const waiting of late) waiting.settle(new NoUpstream('upstream_full'))
  }

  /**
   * @param signal aborted when it is no longer waited for
   * @throws NoUpstream if there is no place, or nothing is waited for
   */
  enter(holder: Holder, avoid: Server | undefined, signal: AbortSignal | undefined): Promise<S> {
    if (signal?.aborted) throw new NoUpstream('upstream_full')
    this.#makePlace(holder)
    const { look, elapsed, waitMs, claims } = this.#options
    if (this.#all.length === 0) this.#looking = setInterval(look, LOOK_MS)
    return new Promise<S>((resolve, reject) => {
      const settle = (outcome: S | NoUpstream): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', giveUp)
        this.#leave(waiting)
        if (outcome instanceof NoUpstream) reject(outcome)
        else resolve(outcome)
      }
      const giveUp = (): void => settle(new NoUpstream(this.#isAnyUp() ? 'upstream_full' : 'upstream_down'))
      const timer = setTimeout(giveUp, waitMs)
      signal?.addEventListener('abort', giveUp)
      const waiting: Waiting<S> = { holder, avoid, since: elapsed(), settle }
      this.#all.push(waiting)
      claims.wait(holder.source, 1)
    })
  }

  /** All leave. */
  close(): void {
    for (const waiting of [...this.#all]) waiting.settle(new NoUpstream('upstream_down'))
  }

  #isAnyUp(): boolean {
    return this.#options.servers().some(({ up }) => up)
  }

  /** @throws NoUpstream if there is no place. A stranger leaves its place to a friend, and one in the clear to one with TLS. */
  #makePlace(holder: Holder): void {
    const { source } = holder
    const { claims, waiting: places } = this.#options
    const isFull = this.#all.length >= places
    const leaves = isFull ? toLeave(this.#all, this.#congestion, holder) : undefined
    const place = claims.place(source, this.#all.length - (leaves ? 1 : 0), places)
    if (place === 'none') throw new NoUpstream('upstream_full')
    const crowd = place === 'free' ? undefined : place.of
    const gone = leaves ?? this.#all.findLast((each) => each.holder.source === crowd)
    gone?.settle(new NoUpstream('upstream_full'))
  }

  #leave(waiting: Waiting<S>): void {
    const at = this.#all.indexOf(waiting)
    if (at >= 0) {
      this.#all.splice(at, 1)
      const { claims, queued, elapsed } = this.#options
      claims.wait(waiting.holder.source, -1)
      queued[waiting.holder.standing].observe((elapsed() - waiting.since) / 1000)
    }
    if (this.#all.length > 0) return
    clearInterval(this.#looking)
    this.#congestion = NONE
  }
}
