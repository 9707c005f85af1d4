/**
 * Shares the points of offenders over Redis (points.ts), so that a bot that spreads its visits over the nodes is banned after as many as
 * at one node (shared-strings.ts has how). Ten minutes are one string: 28 octets for each record. A string takes 200,000; of what is
 * beyond that each node counts its own. All nodes read a string in one order, their own records too, and that decides who bans.
 */
import { OFFENCE_NAMES, type Offence } from '../core/bans.ts'
import { addressOf, firstOf, readBits, sourceOf } from '../core/ip.ts'
import { type GivenPoints, HALF_LIFE_MS, LONGEST_MS, type Points } from './points.ts'
import { SharedStrings, type Strings } from './shared-strings.ts'
import type { SharingOptions } from './sharing.ts'

/** The octets of a record: teller, its number, time, offence, one that is not used, the address or its first 64 bits, points. */
export const RECORD = 28
export const SLICE_MS = HALF_LIFE_MS
export const MOST_OF_SLICE = 200_000 * RECORD

const bits = new Int32Array(2)

export const STRINGS: Strings<GivenPoints> = {
  use: 'points',
  failure: 'the points of offenders are not shared over Redis',
  record: RECORD,
  sliceMs: SLICE_MS,
  // With the one that is being written, 28 MB at most, whatever comes.
  earlier: LONGEST_MS / SLICE_MS,
  mostOfSlice: MOST_OF_SLICE,
  write({ teller, number, source, points, offence, at }, records, from) {
    readBits(firstOf(source), bits)
    records.writeUInt32LE(teller, from)
    records.writeUInt32LE(number, from + 4)
    records.writeUIntLE(at, from + 8, 6)
    records.writeUInt16LE(OFFENCE_NAMES.indexOf(offence), from + 14)
    records.writeInt32LE(bits[0] as number, from + 16)
    records.writeInt32LE(bits[1] as number, from + 20)
    records.writeFloatLE(points, from + 24)
  },
  read(records, from) {
    const offence = OFFENCE_NAMES[records.readUInt16LE(from + 14)]
    return {
      teller: records.readUInt32LE(from),
      number: records.readUInt32LE(from + 4),
      source: sourceOf(addressOf(records.readInt32LE(from + 16), records.readInt32LE(from + 20))),
      // Of what this version does not know nothing counts.
      points: offence === undefined ? 0 : records.readFloatLE(from + 24),
      offence: offence ?? (OFFENCE_NAMES[0] as Offence),
      at: records.readUIntLE(from + 8, 6),
    }
  },
}

export interface PointsSharingOptions extends SharingOptions {
  readonly points: Points
  /** Whether anybody is banned by itself. */
  readonly isInUse: () => boolean
}

export class PointsSharing extends SharedStrings<GivenPoints> {
  constructor(options: PointsSharingOptions) {
    super(options, options.points, STRINGS)
  }
}
