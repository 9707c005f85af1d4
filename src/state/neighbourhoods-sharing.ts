/**
 * Shares over Redis in which networks addresses were bad (neighbourhoods.ts), so that every node knows the networks that send spam, and one
 * that starts in a flood does, too (shared-strings.ts has how). A day is one string: twenty octets for each network and new bad address of
 * it, and of those no more than neighbourhoods.ts tells. A string takes 300,000; what is beyond that each node finds out by itself.
 */
import { DAY_MS } from '../core/time.ts'
import type { BadNet, Neighbourhoods } from './neighbourhoods.ts'
import { FULL, SharedStrings, type Strings } from './shared-strings.ts'
import type { SharingOptions } from './sharing.ts'

/** The octets of a record. */
const RECORD = 20
/** Weights are written in 512ths. */
const UNIT = 512
/** Records that are appended by one command. */
const AT_ONCE = 5000

const STRINGS: Strings<BadNet> = {
  use: 'neighbourhoods',
  failure: 'which networks send spam is not shared over Redis',
  record: RECORD,
  sliceMs: DAY_MS,
  // What is older weighs an eighth and less. With today's, 24 MB at most, whatever comes.
  earlier: 3,
  mostOfSlice: 300_000 * RECORD,
  write({ high, low, hour, buckets, bad }, records, at) {
    records.writeInt32LE(high | 0, at)
    records.writeInt32LE(low | 0, at + 4)
    records.writeUInt32LE(hour, at + 8)
    records.writeUInt32LE(buckets, at + 12)
    records.writeUInt32LE(Math.round(bad * UNIT), at + 16)
  },
  read: (records, at) => ({
    high: records.readInt32LE(at),
    low: records.readInt32LE(at + 4),
    hour: records.readUInt32LE(at + 8),
    buckets: records.readUInt32LE(at + 12),
    bad: records.readUInt32LE(at + 16) / UNIT,
  }),
}

export class NeighbourhoodsSharing extends SharedStrings<BadNet> {
  readonly #nets: Neighbourhoods

  constructor(options: SharingOptions & { readonly nets: Neighbourhoods }) {
    super(options, options.nets, STRINGS)
    this.#nets = options.nets
  }

  /** Writes all that is known of networks in which addresses were bad. Rejects if Redis fails, or has no room for more today. */
  async writeAll(): Promise<void> {
    const all: BadNet[] = []
    this.#nets.each(0, 1, (net) => all.push(net))
    for (let at = 0; at < all.length; at += AT_ONCE) {
      if (!(await this.write(all.slice(at, at + AT_ONCE)))) throw new Error(`which networks send spam: ${FULL}`)
    }
  }
}
