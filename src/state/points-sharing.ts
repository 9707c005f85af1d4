/**
 * Shares the points of offenders over Redis (points.ts), so that a bot that spreads its visits over the nodes is banned after as many as
 * at one node (shared-strings.ts has how). Ten minutes are one string: 28 octets for each record. A string takes 200,000; of what is
 * beyond that each node counts its own. All nodes read a string in one order, their own records too, and that decides who bans.
 *
 * Names that mail was accepted under (shared-addresses.ts) are records of the same length, which a version that does not know them
 * takes for an offence that it does not know. A node that starts reads those of the last forty minutes; of a name that goes on bringing
 * mail it hears within six hours.
 */
import { OFFENCE_NAMES, type Offence } from '../core/bans.ts'
import { addressOf, firstOf, readBits, sourceOf } from '../core/ip.ts'
import type { OffenceNews, OffenceTold } from './offence-news.ts'
import { HALF_LIFE_MS, LONGEST_MS } from './points.ts'
import { SharedStrings, type Strings } from './shared-strings.ts'
import type { SharingOptions } from './sharing.ts'

/** The octets of a record: teller, its number, time, offence, one that is not used, the address or its first 64 bits, points. */
export const RECORD = 28
export const SLICE_MS = HALF_LIFE_MS
export const MOST_OF_SLICE = 200_000 * RECORD

/** In the place of the offence: the record is a name. */
const NAME = 0xffff

const bits = new Int32Array(2)

export const STRINGS: Strings<OffenceTold> = {
  use: 'points',
  failure: 'the points of offenders are not shared over Redis',
  record: RECORD,
  sliceMs: SLICE_MS,
  // With the one that is being written, 28 MB at most, whatever comes.
  earlier: LONGEST_MS / SLICE_MS,
  mostOfSlice: MOST_OF_SLICE,
  write(told, records, from) {
    const isName = 'name' in told
    readBits(firstOf(told.source), bits)
    records.writeUInt32LE(isName ? 0 : told.teller, from)
    records.writeUInt32LE(isName ? told.name : told.number, from + 4)
    records.writeUIntLE(told.at, from + 8, 6)
    records.writeUInt16LE(isName ? NAME : OFFENCE_NAMES.indexOf(told.offence), from + 14)
    records.writeInt32LE(bits[0] as number, from + 16)
    records.writeInt32LE(bits[1] as number, from + 20)
    records.writeFloatLE(isName ? 0 : told.points, from + 24)
  },
  read(records, from) {
    const kind = records.readUInt16LE(from + 14)
    const number = records.readUInt32LE(from + 4)
    const source = sourceOf(addressOf(records.readInt32LE(from + 16), records.readInt32LE(from + 20)))
    const at = records.readUIntLE(from + 8, 6)
    if (kind === NAME) return { source, name: number, at }
    const offence = OFFENCE_NAMES[kind]
    return {
      teller: records.readUInt32LE(from),
      number,
      source,
      // Of what this version does not know nothing counts.
      points: offence === undefined ? 0 : records.readFloatLE(from + 24),
      offence: offence ?? (OFFENCE_NAMES[0] as Offence),
      at,
    }
  },
}

export interface PointsSharingOptions extends SharingOptions {
  readonly news: OffenceNews
  /** Whether anybody is banned by itself. */
  readonly isInUse: () => boolean
}

export class PointsSharing extends SharedStrings<OffenceTold> {
  constructor(options: PointsSharingOptions) {
    super(options, options.news, STRINGS)
  }
}
