/**
 * Shares over Redis what was put off (returns.ts), so that a message that one node has put off comes back at any other
 * (shared-strings.ts has how).
 *
 * Ten minutes are one string: ten octets for each note, of a message that was put off, of its sender, or of one that was let in when it came
 * back. A string takes 1.2 million notes; what would be more is not shared, and each node goes by what it has put off itself. A node that starts
 * reads what the last hour has left.
 *
 * A batch that fails is no harm: a message that none but this node has put off is put off again at another one, and then counts
 * there too. If Redis comes back empty, the others know already what was in it.
 */
import type { Returns, Told } from './returns.ts'
import { SharedStrings, type Strings } from './shared-strings.ts'
import type { SharingOptions } from './sharing.ts'

/** The octets of a note. */
export const RECORD = 10
export const SLICE_MS = 600_000
/** 2,000 notes a second. */
export const MOST_OF_SLICE = 1_200_000 * RECORD
/** In the word of the set: the message was let in. */
const SPENT = 0x8000_0000

const STRINGS: Strings<Told> = {
  use: 'returns',
  failure: 'what was put off is not shared over Redis',
  record: RECORD,
  sliceMs: SLICE_MS,
  // With the one that is being written, 84 MB at most, whatever comes.
  earlier: 6,
  mostOfSlice: MOST_OF_SLICE,
  write({ set, word, second, isSpent }, records, at) {
    records.writeUInt32LE((set | (isSpent ? SPENT : 0)) >>> 0, at)
    records.writeUInt32LE(word, at + 4)
    records.writeUInt16LE(second, at + 8)
  },
  read(records, at) {
    const set = records.readUInt32LE(at)
    return {
      set: set & ~SPENT,
      word: records.readUInt32LE(at + 4),
      second: records.readUInt16LE(at + 8),
      isSpent: set >= SPENT,
    }
  },
}

export interface ReturnsSharingOptions extends SharingOptions {
  readonly returns: Returns
}

export class ReturnsSharing extends SharedStrings<Told> {
  constructor(options: ReturnsSharingOptions) {
    super(options, options.returns, STRINGS)
  }
}
