/**
 * Who gets a connection to a mail server, and who gives one back, while there are not enough for all. Pure: what the pool holds
 * comes in as plain values, and the rules depend on numbers alone. While there is room for everybody, none of this takes effect.
 *
 * A connection costs a client only an envelope. So one address with many connections could hold them all, and so could many
 * addresses that send an octet now and then. The rules, in order:
 *
 * 1. A connection that is only parked goes to a client that waits, at once.
 * 2. A connection that comes free goes to a friend first, then to the source that holds the fewest, and among equals to the one that
 *    came first, or last while the queue stands (queue.ts).
 * 3. A source that holds more than its share (all connections, divided by the sources that hold or want one) gives back the
 *    excess while a source with less waits. Connections of silent or slow clients go first, the slowest of them first. One whose
 *    text comes at a good pace, or whose mail server takes long to answer RCPT or DATA, goes only when it has had its time.
 * 4. A source within its share gives a connection back if its client is late, or if its text comes more slowly than what counts
 *    as life. That limit rises with the time that others have waited.
 *
 * A connection is never taken back while it waits for us, for a mail server to take MAIL, or for the reply to its dot: past its
 * dot a message belongs to the server that has it.
 */
import type { Standing } from '../../core/client.ts'
import type { Turn } from './turn.ts'

/** A client that holds a connection, or waits for one. */
export interface Holder {
  /** The key that shares are counted under; see ClientLink.source. */
  readonly source: string
  /** Its neighbourhood. */
  readonly net: string
  readonly standing: Standing
  /** Whether the client speaks without TLS; where that is not on offer all do. */
  readonly isClear?: boolean
  /** Whether the client types more slowly than any machine does. */
  readonly slow: boolean
  readonly turn: Turn
  /**
   * Gives the connection back at once; a transaction under way ends in 451. Called only in the states `parked`, `client` and
   * `envelope`.
   */
  giveWay(): void
}

/**
 * A client within its share is late when its commands have taken this much too long. A lost packet is resent sooner than that.
 */
const LATE_MS = 2000
/** An envelope may take this much of its client's time while others wait, in milliseconds, however quick each command is. */
const ENVELOPE_MS = 20_000
/** LATE_MS for a source that is over its share. */
const OVER_LATE_MS = 250
/** The pace of a text is judged after this long. */
const JUDGED_AFTER_MS = 1000
/** The pace that counts as life when a client begins to wait, in octets a second. It doubles with each DOUBLES_MS of waiting. */
const LEAST_PACE = 512
const DOUBLES_MS = 500
/** The most that it rises to: a client with a line of 64 kbit/s is slow, but alive. */
const MOST_LEAST_PACE = 8192
/** If a source is over its share, a text that is slower than this, in octets a second, is given back first … */
const GOOD_PACE = 65_536
/**
 * … and any other may go on until its client has taken this long for the transaction, in milliseconds, or the mail server has
 * taken this long to answer RCPT or DATA. The server may be waiting for the sender's DNS, which is in that source's hands, too.
 */
const GRACE_MS = 5000

/** Connections that one source may hold while others hold or want some. */
export const shareOf = (connections: number, sources: number): number =>
  Math.max(1, Math.floor(connections / Math.max(1, sources)))

/** The pace that counts as life once a client has waited for `waitedMs`, in octets a second. */
export const leastPace = (waitedMs: number): number =>
  Math.min(MOST_LEAST_PACE, LEAST_PACE * 2 ** (Math.max(0, waitedMs) / DOUBLES_MS))

export interface Contention {
  readonly holders: Iterable<Holder>
  /** How many connections a source holds. */
  readonly held: (source: string) => number
  readonly share: number
  /** How many clients wait, and how many of them belong to sources that hold less than their share. */
  readonly waiting: number
  readonly waitingBelowShare: number
  /** How long the first of them has waited, in milliseconds. */
  readonly waitedMs: number
  readonly now: number
}

interface Candidate {
  readonly holder: Holder
  readonly pace: number
}

/** Who must give way now, no more than there are clients waiting. The first to give way comes first. */
export function toGiveWay(contention: Contention): readonly Holder[] {
  const { holders, held, share, waiting, waitingBelowShare, waitedMs, now } = contention
  const parked: Holder[] = []
  const lifeless: Candidate[] = []
  const over: Candidate[] = []
  const least = leastPace(waitedMs)
  for (const holder of holders) {
    const { turn } = holder
    if (turn.state === 'parked') parked.push(holder)
    if (turn.state !== 'client' && turn.state !== 'envelope') continue
    const candidate = { holder, pace: turn.pace(now) }
    const isLifeless = seemsLifeless(turn, candidate.pace, least, now)
    if (isLifeless) lifeless.push(candidate)
    if (held(holder.source) > share && (isLifeless || mayBeAskedBack(turn, candidate.pace, now))) over.push(candidate)
  }
  const chosen = new Set(parked.sort((a, b) => a.turn.since - b.turn.since).slice(0, waiting))
  const taken = new Map<string, number>()
  for (const { source } of chosen) taken.set(source, (taken.get(source) ?? 0) + 1)
  for (const { holder } of over.sort(slowestFirst)) {
    if (chosen.size >= waitingBelowShare) break
    const gone = taken.get(holder.source) ?? 0
    if (held(holder.source) - gone <= share) continue
    taken.set(holder.source, gone + 1)
    chosen.add(holder)
  }
  // Not for waiting clients of sources that have their share: a connection taken back would not become theirs.
  for (const { holder } of lifeless.sort(slowestFirst)) {
    if (chosen.size >= waitingBelowShare) break
    chosen.add(holder)
  }
  return [...chosen]
}

const slowestFirst = (a: Candidate, b: Candidate): number =>
  a.pace - b.pace || a.holder.turn.since - b.holder.turn.since

/** Whether the client is late with its commands, or its text comes too slowly to be waited for. */
function seemsLifeless(turn: Turn, pace: number, least: number, now: number): boolean {
  if (turn.state !== 'client') return false
  const textMs = turn.textMs(now)
  if (textMs === undefined) return turn.lateMs(now) > LATE_MS || turn.clientMs(now) > ENVELOPE_MS
  // The first part of a text may take as long as a command.
  return textMs >= (pace === 0 ? LATE_MS : JUDGED_AFTER_MS) && pace < least
}

/** Whether a source that is over its share may lose this connection. */
function mayBeAskedBack(turn: Turn, pace: number, now: number): boolean {
  if (turn.state === 'envelope') return now - turn.since >= GRACE_MS
  if (turn.clientMs(now) >= GRACE_MS) return true
  const textMs = turn.textMs(now)
  return textMs === undefined ? now - turn.since >= OVER_LATE_MS : textMs >= OVER_LATE_MS && pace < GOOD_PACE
}
