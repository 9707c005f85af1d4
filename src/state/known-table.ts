/**
 * The memory behind known-recipients.ts: what was seen on which day, in sets of 128 places of 10 bytes. Each key
 * belongs to one set, and no other set is searched for it.
 *
 * When a set is full, the domain with the most places in it gives up its oldest. So a domain takes room only from one
 * that has more: whatever arrives for one domain, the others keep what they have, up to an equal share.
 *
 * Nodes merge their sets over Redis (known-sharing.ts). A set is written as its records in order, so that two nodes
 * that know the same write the same bytes. Of two records with the same key the larger stamp wins: the later day, and
 * on the same day the refusal.
 */

export const WAYS = 128
/** The bytes of a record: six of the hash, two of the domain's hash, two of the stamp. */
export const RECORD = 10
/** Days are counted from 2024-01-01. They fit into 15 bits until 2113. */
const FIRST_DAY = 19_723
const LAST_DAY = 0x7fff
export const REMEMBERED_DAYS = 30

/** A key consists of keyed hashes, so that no outsider can aim at a place. */
export interface Key {
  readonly set: number
  readonly high: number
  /** 16 bits, as is `domain`. */
  readonly low: number
  /** The same for all keys of a domain. Two domains that happen to share it are treated as one. */
  readonly domain: number
}

/** @param days since the epoch @returns the day as it is stored, at least 1 */
export const dayOf = (days: number): number => Math.max(1, Math.min(LAST_DAY, days - FIRST_DAY))

export class KnownTable {
  readonly sets: number
  readonly #high: Uint32Array
  readonly #low: Uint16Array
  readonly #domain: Uint16Array
  /** Twice the day, plus 1 for a refusal. 0: the place is empty. */
  readonly #stamp: Uint16Array
  /** Scratch space: the number of places of each domain in one set. */
  readonly #counts = new Uint8Array(1 << 16)
  #today = 1

  constructor(sets: number) {
    this.sets = sets
    const places = sets * WAYS
    this.#high = new Uint32Array(places)
    this.#low = new Uint16Array(places)
    this.#domain = new Uint16Array(places)
    this.#stamp = new Uint16Array(places)
  }

  /** Sets the day, as dayOf gives it. If the clock has stepped back, entries with a future date are dated today. */
  begin(today: number): void {
    if (today < this.#today) {
      const latest = today * 2 + 1
      for (let at = 0; at < this.#stamp.length; at++) {
        const stamp = this.#stamp[at] as number
        if (stamp > latest) this.#stamp[at] = today * 2 + (stamp & 1)
      }
    }
    this.#today = today
  }

  clear(): void {
    this.#stamp.fill(0)
  }

  /** The place of the key; -1 if it was not seen within REMEMBERED_DAYS. */
  find(key: Key): number {
    const at = this.#find(key)
    return at >= 0 && this.#isFresh(at) ? at : -1
  }

  isRefusal(place: number): boolean {
    return ((this.#stamp[place] as number) & 1) === 1
  }

  /** @returns whether this is news: the key was not there, or was there with another day or kind */
  put(key: Key, isRefusal: boolean): boolean {
    return this.#put(key, this.#today * 2 + (isRefusal ? 1 : 0))
  }

  /** The records of the set, in order. */
  read(set: number): Buffer {
    const places: number[] = []
    for (let at = set * WAYS; at < (set + 1) * WAYS; at++) if (this.#isFresh(at)) places.push(at)
    const [high, low] = [this.#high, this.#low]
    places.sort((a, b) => (high[a] as number) - (high[b] as number) || (low[a] as number) - (low[b] as number))
    const records = Buffer.allocUnsafe(places.length * RECORD)
    places.forEach((at, i) => {
      records.writeUInt32LE(high[at] as number, i * RECORD)
      records.writeUInt16LE(low[at] as number, i * RECORD + 4)
      records.writeUInt16LE(this.#domain[at] as number, i * RECORD + 6)
      records.writeUInt16LE(this.#stamp[at] as number, i * RECORD + 8)
    })
    return records
  }

  /** Adds another node's records of the set, except those that are too old or dated in the future. */
  merge(set: number, records: Buffer): void {
    for (let i = 0; i + RECORD <= records.length; i += RECORD) {
      const stamp = records.readUInt16LE(i + 8)
      // Tomorrow is accepted: the other node's clock may be past midnight already.
      if (stamp >> 1 > this.#today + 1 || !this.#isOf(stamp)) continue
      const [high, low, domain] = [records.readUInt32LE(i), records.readUInt16LE(i + 4), records.readUInt16LE(i + 6)]
      const key = { set, high, low, domain }
      const at = this.#find(key)
      if (at < 0) this.#put(key, stamp)
      else this.#stamp[at] = Math.max(this.#stamp[at] as number, stamp)
    }
  }

  #find({ set, high, low }: Key): number {
    const [highs, end] = [this.#high, (set + 1) * WAYS]
    for (let at = set * WAYS; at < end; at++) {
      if (highs[at] === high && this.#low[at] === low && this.#stamp[at] !== 0) return at
    }
    return -1
  }

  #isOf(stamp: number): boolean {
    return stamp !== 0 && this.#today - (stamp >> 1) <= REMEMBERED_DAYS
  }

  #isFresh(at: number): boolean {
    return this.#isOf(this.#stamp[at] as number)
  }

  #put(key: Key, stamp: number): boolean {
    let at = this.#find(key)
    if (at < 0) at = this.#room(key)
    if (this.#stamp[at] === stamp && this.#high[at] === key.high && this.#low[at] === key.low) return false
    this.#high[at] = key.high
    this.#low[at] = key.low
    this.#domain[at] = key.domain
    this.#stamp[at] = stamp
    return true
  }

  /** The place that a new key of this domain gets. */
  #room({ set, domain }: Key): number {
    const first = set * WAYS
    for (let at = first; at < first + WAYS; at++) if (!this.#isFresh(at)) return at
    const counts = this.#counts
    const own = domain
    counts[own] = 1
    for (let at = first; at < first + WAYS; at++) counts[this.#domain[at] as number]!++
    let most = counts[own] as number
    // A place of its own domain, unless another domain has more. If no domain has two, the place that was not seen for
    // longest.
    let isOwn = most > 1
    for (let at = first; at < first + WAYS; at++) {
      const count = counts[this.#domain[at] as number] as number
      if (count <= most) continue
      most = count
      isOwn = false
    }
    let oldest = -1
    for (let at = first; at < first + WAYS; at++) {
      const of = this.#domain[at] as number
      if (isOwn ? of !== own : (counts[of] as number) < most) continue
      if (oldest < 0 || (this.#stamp[at] as number) < (this.#stamp[oldest] as number)) oldest = at
    }
    for (let at = first; at < first + WAYS; at++) counts[this.#domain[at] as number] = 0
    counts[own] = 0
    return oldest
  }
}
