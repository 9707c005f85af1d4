/**
 * The open connections of this node: in total, by address family, by source, and those of strangers. A seat is taken at accept, and its
 * holder frees it. Relays (SPILLWAY_RELAYS) count together, as one source. The table has one entry per source that has a connection open, so that MAX_CONNECTIONS bounds it.
 */
import { type Client, isFriend, isRelay, type OpenCounts } from '../core/client.ts'

export interface Seat {
  readonly open: OpenCounts
  /** May be called more than once; only the first call counts. */
  free(): void
}

/** No source has this key. */
const RELAYS = 'relays'

export class Seats {
  readonly #bySource = new Map<string, number>()
  readonly #byFamily = { 4: 0, 6: 0 }
  #total = 0
  #strangers = 0

  take(client: Pick<Client, 'source' | 'family' | 'standing' | 'isRelay'>): Seat {
    const { family } = client
    const source = isRelay(client) ? RELAYS : client.source
    const stranger = isFriend(client) ? 0 : 1
    const ofSource = (this.#bySource.get(source) ?? 0) + 1
    this.#bySource.set(source, ofSource)
    this.#byFamily[family]++
    this.#total++
    this.#strangers += stranger
    let taken = true
    return {
      open: { source: ofSource, strangers: this.#strangers, total: this.#total },
      free: () => {
        if (!taken) return
        taken = false
        this.#total--
        this.#strangers -= stranger
        this.#byFamily[family]--
        const left = (this.#bySource.get(source) as number) - 1
        if (left === 0) this.#bySource.delete(source)
        else this.#bySource.set(source, left)
      },
    }
  }

  get total(): number {
    return this.#total
  }

  ofFamily(family: 4 | 6): number {
    return this.#byFamily[family]
  }
}
