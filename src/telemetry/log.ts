/**
 * The log: JSON lines on stdout, one a session, through pino. In a flood, writing a line for every refused connection
 * would cost more than refusing it, so refused sessions are sampled, and each line's `sample` says for how many it
 * stands: added up over a reason they are exact.
 */
import { pino, stdTimeFunctions } from 'pino'
import type { ReasonName } from '../core/reasons.ts'

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

/** Lines a second that `auto` writes for each reason before it samples. */
const AUTO_LINES_PER_SECOND = 20

/** Decides which refused sessions get a line, and how many each line stands for. */
export class Sampler {
  readonly #every: 'auto' | number
  readonly #reasons = new Map<ReasonName, { second: number; written: number; skipped: number }>()

  /** @param every 'auto', or one line for every so many refused sessions of a reason (1: all) */
  constructor(every: 'auto' | number) {
    this.#every = every
  }

  /** @returns the weight for this session's line, or 0: no line now, the next one will carry it */
  weight(reason: ReasonName, now: number): number {
    let seen = this.#reasons.get(reason)
    if (seen === undefined) {
      seen = { second: 0, written: 0, skipped: 0 }
      this.#reasons.set(reason, seen)
    }
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

  /** What no line stands for yet, per reason; asked for at shutdown. */
  *rest(): Iterable<[ReasonName, number]> {
    for (const [reason, seen] of this.#reasons) {
      if (seen.skipped > 0) yield [reason, seen.skipped]
      seen.skipped = 0
    }
  }
}
