/**
 * Recipients an upstream has taken in the last 30 days, and whether the cluster can still be believed when it calls one
 * unknown. A directory or storage failure often makes mail servers answer 550 5.1.1 to everybody; passed on, senders
 * would give up for good. So when many of the recipients taken lately are suddenly unknown, "unknown" is not believed
 * until that stops.
 *
 * Only keyed hashes are kept, in a table of fixed size: eight places a bucket, the one not seen for longest goes first.
 */
import { hash as oneShot, randomBytes } from 'node:crypto'

const DAY_MS = 86_400_000
export const REMEMBERED_DAYS = 30
/** When at least so many recipients taken lately are called unknown within a minute … */
export const GUARD_COUNT = 20
/** … and they are at least this share of all recipients taken lately that were asked for. */
const GUARD_SHARE = 0.05
const GUARD_WINDOW_MS = 60_000
/** Recipients told apart in half a minute; at more than this, shares are told from the first of them. */
const MAX_NOTED = 1 << 16
const WAYS = 8

export interface KnownRecipients {
  /** Whether an upstream took this address within the last 30 days. */
  has(address: string): boolean
  /** Learns an upstream's answer: taken, or "no such user". Nothing is learned while the guard is active. */
  heard(address: string, answer: 'taken' | 'unknown'): void
  /** Whether the upstreams' "unknown user" is not to be believed at present. */
  guarding(): boolean
}

export interface KnownRecipientsOptions {
  /** Addresses remembered; a power of two. 12 bytes each. */
  readonly capacity?: number
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Key of the hashes; random by default. */
  readonly key?: Buffer
}

export function createKnownRecipients(options: KnownRecipientsOptions): KnownRecipients {
  const { capacity = 1 << 19, now, key = randomBytes(32) } = options
  const high = new Uint32Array(capacity)
  const low = new Uint32Array(capacity)
  /** Day of the last acceptance, counted from the epoch; 0: empty. */
  const days = new Uint32Array(capacity)
  const buckets = capacity / WAYS
  const secret = key.toString('latin1')

  // Two halves of a minute, so that what is older than a minute never counts. A recipient counts once however often it is
  // asked for: one mailbox that was given up, and is still written to by everybody, is no failed directory.
  interface Half {
    readonly start: number
    readonly asked: Set<number>
    readonly unknown: Set<number>
  }
  const halfAt = (start: number): Half => ({ start, asked: new Set(), unknown: new Set() })
  let half = halfAt(0)
  let before = halfAt(0)
  const turn = (at: number): void => {
    const start = Math.floor(at / (GUARD_WINDOW_MS / 2))
    if (start === half.start) return
    before = start === half.start + 1 ? half : halfAt(start - 1)
    half = halfAt(start)
  }
  const note = (place: number, of: 'asked' | 'unknown'): void => {
    if (!before[of].has(place) && half[of].size < MAX_NOTED) half[of].add(place)
  }

  /** The domain counts without case; so does the local part, as nearly every server has it. The key makes it secret. */
  const hash = (address: string): readonly [high: number, low: number, first: number] => {
    const digest = oneShot('sha256', secret + address.toLowerCase(), 'buffer')
    return [digest.readUInt32LE(0), digest.readUInt32LE(4), (digest.readUInt32LE(8) % buckets) * WAYS]
  }
  const find = ([h, l, first]: ReturnType<typeof hash>): number => {
    for (let i = first; i < first + WAYS; i++) if (high[i] === h && low[i] === l && days[i] !== 0) return i
    return -1
  }
  const today = (): number => Math.floor(now() / DAY_MS)
  const fresh = (place: number): boolean => place >= 0 && today() - (days[place] as number) <= REMEMBERED_DAYS

  const guarding = (): boolean => {
    turn(now())
    const unknown = half.unknown.size + before.unknown.size
    return unknown >= GUARD_COUNT && unknown >= GUARD_SHARE * (half.asked.size + before.asked.size)
  }

  return {
    has: (address) => fresh(find(hash(address))),
    heard(address, answer) {
      const hashed = hash(address)
      const place = find(hashed)
      if (fresh(place)) {
        turn(now())
        note(place, 'asked')
        if (answer === 'unknown') note(place, 'unknown')
      }
      if (answer === 'unknown' || guarding()) return
      let at = place
      if (at < 0) {
        const [h, l, first] = hashed
        at = first
        for (let i = first; i < first + WAYS; i++) if ((days[i] as number) < (days[at] as number)) at = i
        high[at] = h
        low[at] = l
      }
      days[at] = today()
    },
    guarding,
  }
}
