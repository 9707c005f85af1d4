/**
 * Who gets an upstream connection, and who gives one back, while there are not enough for all. Pure: what the pool holds is
 * given as plain values, and the rules are told with numbers alone. With room for everybody none of this is felt.
 *
 * A connection costs a client nothing but an envelope. So one address with many connections could hold them all, and so could
 * many addresses that send an octet now and then. The rules, from the first to the last:
 *
 * 1. A connection that is only kept for its client's next message goes at once to whoever waits.
 * 2. What comes free goes to the source that holds the fewest, and among equals to who came first.
 * 3. A source that holds more than its share (all connections, divided by the sources that hold or want one) gives back what is
 *    over it where somebody with less waits: first where its clients are silent or slow, the slowest first, and a text that comes
 *    at a good pace, or a mail server that is long about RCPT or DATA, only when it has had its time.
 * 4. A source within its share gives a connection back where its client is late, or its text comes more slowly than what counts
 *    as life; and that rises with the time that others have waited.
 *
 * Never taken back is what waits for us, for a mail server to take MAIL, or for its reply to the dot: past its dot a message
 * belongs to the server that has it.
 */
import type { Turn } from './turn.ts'

/** Who holds a connection, or waits for one. */
export interface Holder {
  /** What shares are counted under: Client.source. */
  readonly source: string
  /** Whether its client types as slowly as no machine does. */
  readonly slow: boolean
  readonly turn: Turn
  /** Gives the connection back at once; a transaction under way ends in 451. Asked only on `parked`, `client` and `envelope`. */
  giveWay(): void
}

/** A client within its share is late when its commands have taken this much too long. A lost packet is sent again before that. */
const LATE_MS = 2000
/** However quick each command is, an envelope does not go on for ever while others wait, in milliseconds of its client's time. */
const ENVELOPE_MS = 20_000
/** LATE_MS where the source is over its share. */
const OVER_LATE_MS = 250
/** A text is judged by its pace after so long. */
const JUDGED_AFTER_MS = 1000
/** Octets a second that count as life when somebody begins to wait; twice as many for each DOUBLES_MS that he has waited. */
const LEAST_PACE = 512
const DOUBLES_MS = 500
/** As far as that rises: a line of 64 kbit/s is slow and alive. */
const MOST_LEAST_PACE = 8192
/** A source over its share: a text that is slower than this, in octets a second, is given back first … */
const GOOD_PACE = 65_536
/**
 * … and what is not may go on until its client has taken this long of the transaction, in milliseconds, or the mail server this
 * long for its reply to RCPT or DATA: the DNS of its sender, which it may be waiting for, is in that source's hands, too.
 */
const GRACE_MS = 5000

/** Connections that one source may hold while others hold or want some. */
export const shareOf = (connections: number, sources: number): number =>
  Math.max(1, Math.floor(connections / Math.max(1, sources)))

/** Octets a second that count as life where somebody has waited for so long. */
export const leastPace = (waitedMs: number): number =>
  Math.min(MOST_LEAST_PACE, LEAST_PACE * 2 ** (Math.max(0, waitedMs) / DOUBLES_MS))

export interface Contention {
  readonly holders: Iterable<Holder>
  /** Connections that a source holds. */
  readonly held: (source: string) => number
  readonly share: number
  /** How many wait, and how many of them are of sources that hold less than their share. */
  readonly waiting: number
  readonly waitingBelowShare: number
  /** Since when the first of them has waited, in milliseconds. */
  readonly waitedMs: number
  readonly now: number
}

interface Candidate {
  readonly holder: Holder
  readonly pace: number
}

/** Who is to give way now: no more than are waited for, the first to give way first. */
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
  // Not for those who wait and have their share: what they asked for would not become theirs.
  for (const { holder } of lifeless.sort(slowestFirst)) {
    if (chosen.size >= waitingBelowShare) break
    chosen.add(holder)
  }
  return [...chosen]
}

const slowestFirst = (a: Candidate, b: Candidate): number =>
  a.pace - b.pace || a.holder.turn.since - b.holder.turn.since

/** A client that is late with its commands, or whose text comes too slowly to be waited for. */
function seemsLifeless(turn: Turn, pace: number, least: number, now: number): boolean {
  if (turn.state !== 'client') return false
  const textMs = turn.textMs(now)
  if (textMs === undefined) return turn.lateMs(now) > LATE_MS || turn.clientMs(now) > ENVELOPE_MS
  // Its first part is one step more, as a command is.
  return textMs >= (pace === 0 ? LATE_MS : JUDGED_AFTER_MS) && pace < least
}

/** Of a source that is over its share. */
function mayBeAskedBack(turn: Turn, pace: number, now: number): boolean {
  if (turn.state === 'envelope') return now - turn.since >= GRACE_MS
  if (turn.clientMs(now) >= GRACE_MS) return true
  const textMs = turn.textMs(now)
  return textMs === undefined ? now - turn.since >= OVER_LATE_MS : textMs >= OVER_LATE_MS && pace < GOOD_PACE
}
