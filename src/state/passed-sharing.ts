/**
 * Shares over Redis which clients have passed a test (passed.ts), so that they pass at every node (shared-strings.ts has how). An
 * hour is one string: twelve octets for each pass. A string takes 200,000; whoever is beyond that meets the test at each node.
 */
import type { Pass, Passed } from './passed.ts'
import { SharedStrings, type Strings } from './shared-strings.ts'
import type { SharingOptions } from './sharing.ts'

/** The octets of a pass. */
export const RECORD = 12
export const SLICE_MS = 3_600_000

const STRINGS: Strings<Pass> = {
  use: 'passed',
  failure: 'which clients have passed a test is not shared over Redis',
  record: RECORD,
  sliceMs: SLICE_MS,
  // With the one that is being written, 60 MB at most, whatever comes.
  earlier: 24,
  mostOfSlice: 200_000 * RECORD,
  write({ set, word, minute }, records, at) {
    records.writeUInt32LE(set, at)
    records.writeUInt32LE(word, at + 4)
    records.writeUInt32LE(minute, at + 8)
  },
  read: (records, at) => ({
    set: records.readUInt32LE(at),
    word: records.readUInt32LE(at + 4),
    minute: records.readUInt32LE(at + 8),
  }),
}

export interface PassedSharingOptions extends SharingOptions {
  readonly passed: Passed
  /** Whether there is a test to pass. */
  readonly isInUse: () => boolean
}

export class PassedSharing extends SharedStrings<Pass> {
  constructor(options: PassedSharingOptions) {
    super(options, options.passed, STRINGS)
  }
}
