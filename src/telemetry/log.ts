/**
 * The log: JSON lines on stdout, one a session, through pino. In a flood, writing a line for every session that brings no
 * mail would cost more than the session, so these are sampled, and each line's `sample` says how many sessions it stands
 * for: added up over a kind of session they are exact.
 */
import { pino, stdTimeFunctions } from 'pino'

export type Fields = Readonly<Record<string, unknown>>

export interface Log {
  debug(fields: Fields, msg: string): void
  info(fields: Fields, msg: string): void
  warn(fields: Fields, msg: string): void
  error(fields: Fields, msg: string): void
  /** Writes out what is buffered. */
  flush(): void
}

export interface LogOptions {
  readonly level: string
  /** A file descriptor (1: stdout), or a path. */
  readonly destination: number | string
}

/** Bytes of lines that may wait for a reader who does not read; what comes on top of them is dropped. */
const MOST_WAITING = 4 << 20

/** What is not printable ASCII, nor the end of the line. Nearly every line has none. */
const OTHER = /[^\n\x20-\x7e]+/g
/**
 * Of that, what a terminal or a browser obeys instead of showing it, or does not show: controls (C0 and C1), format
 * characters (bidirectional marks, joiners, tags), line and paragraph separators, spaces other than U+0020, lone surrogates,
 * private and unassigned code points, and whatever else Unicode has ignored by default.
 */
const UNSEEN = /[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/gu

/**
 * Text from clients, balancers, mail servers, DNS and Redis is in the line, in whichever field; here it is made safe for all
 * of them at once. What must not be seen raw is written as JSON writes it (`\u202e`), so that a program that parses the line
 * has the very text that was sent.
 * @param line JSON, so that what is escaped in it can only be in a string
 */
export const visible = (line: string): string =>
  line.replace(OTHER, (text) => text.replace(UNSEEN, (character) => character.split('').map(escaped).join('')))

/** One UTF-16 code unit, RFC 8259 section 7. */
const escaped = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`

const orNothing = (act: () => void) => (): void => {
  try {
    act()
  } catch {
    // the destination is not open yet, or gone: there is nowhere left to say so
  }
}

export function createLog({ level, destination }: LogOptions): Log {
  const stream = pino.destination({ dest: destination, sync: false, minLength: 4096, maxLength: MOST_WAITING })
  // A full disk or a reader that is gone is no reason to stop relaying mail. What cannot be written is dropped, and nothing
  // may wait for it: pino's own hook at the end of the program would try again for ever.
  let broken = false
  stream.on('error', () => {
    broken = true
  })
  stream.on('write', () => {
    broken = false
  })
  const flushSync = orNothing(stream.flushSync.bind(stream))
  stream.flushSync = () => {
    if (!broken) flushSync()
  }
  const write = pino(
    {
      level,
      base: null,
      timestamp: () => `,"ts":${stdTimeFunctions.isoTime().slice(8)}`,
      formatters: { level: (label) => ({ level: label }) },
      hooks: { streamWrite: visible },
    },
    stream,
  )
  // A line that waits in the buffer for longer than this is of no use to somebody who watches.
  const timer = setInterval(
    orNothing(() => stream.flush()),
    500,
  )
  timer.unref()
  return {
    debug: (fields, msg) => write.debug(fields, msg),
    info: (fields, msg) => write.info(fields, msg),
    warn: (fields, msg) => write.warn(fields, msg),
    error: (fields, msg) => write.error(fields, msg),
    flush: () => stream.flushSync(),
  }
}

/** Lines a second that `auto` writes of each kind before it samples. */
const AUTO_LINES_PER_SECOND = 20

/** Decides which sessions have a line, and how many each line stands for. Costs the same whatever is in the flood. */
export class Sampler<K> {
  readonly #every: 'auto' | number
  readonly #kinds: ReadonlyMap<K, { second: number; written: number; skipped: number }>

  /**
   * @param every 'auto', or one line for every so many sessions of a kind (1: all)
   * @param kinds a closed set: nothing that a client can choose
   */
  constructor(every: 'auto' | number, kinds: readonly K[]) {
    this.#every = every
    this.#kinds = new Map(kinds.map((kind) => [kind, { second: 0, written: 0, skipped: 0 }]))
  }

  /** @returns the weight for this session's line, or 0: no line now, the next one of its kind will carry it */
  weight(kind: K, now: number): number {
    const seen = this.#kinds.get(kind)
    if (seen === undefined) throw new Error(`no kind of session: ${JSON.stringify(kind)}`)
    seen.skipped++
    if (this.#every === 'auto') {
      const second = Math.floor(now / 1000)
      if (second !== seen.second) {
        seen.second = second
        seen.written = 0
      }
      if (seen.written >= AUTO_LINES_PER_SECOND) return 0
      seen.written++
    } else if (seen.skipped < this.#every) return 0
    const weight = seen.skipped
    seen.skipped = 0
    return weight
  }

  /** What no line stands for yet, by kind; asked for at shutdown. */
  *rest(): Iterable<[K, number]> {
    for (const [kind, seen] of this.#kinds) {
      if (seen.skipped > 0) yield [kind, seen.skipped]
      seen.skipped = 0
    }
  }
}
