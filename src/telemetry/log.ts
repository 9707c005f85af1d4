/**
 * The log: lines on stdout, one per session, JSON or for people, written by pino. In a flood a line for every session that brings no
 * mail would cost more than the session, so such sessions are sampled. The `sample` field of a line says how many
 * sessions it stands for; summed over a kind of session these numbers are exact.
 */
import { pino, stdTimeFunctions } from 'pino'
import sonicBoom from 'sonic-boom'
import { visible } from '../core/visible.ts'
import { lineInWords } from './log-words.ts'

export { visible }

export type Fields = Readonly<Record<string, unknown>>

export interface Log {
  debug(fields: Fields, msg: string): void
  info(fields: Fields, msg: string): void
  warn(fields: Fields, msg: string): void
  error(fields: Fields, msg: string): void
  /** Writes the buffered lines. */
  flush(): void
}

/** The log of the program, whose level a reload may change. */
export interface LevelledLog extends Log {
  setLevel(level: string): void
}

export interface LogOptions {
  readonly level: string
  /** A file descriptor (1: stdout), or a path. */
  readonly destination: number | string
  /** json (the default): for programs; text: for people. */
  readonly format?: 'json' | 'text'
  /** Which of several processes writes, for those of workers in every line; absent where there is only one process. */
  readonly worker?: number | 'parent'
}

/** How many bytes may wait for a reader that does not read; further lines are dropped. */
const MOST_WAITING = 4 << 20

/** What one write(2) puts into a pipe whole. Lines of several workers would otherwise be mixed up (pipe(7)). */
const PIPE_BUF = 4096

const orNothing = (act: () => void) => (): void => {
  try {
    act()
  } catch {
    // The destination is not open yet, or is gone: there is nowhere to report it.
  }
}

export function createLog({ level, destination, worker, format = 'json' }: LogOptions): LevelledLog {
  const sizes = worker === undefined ? { minLength: 4096 } : { minLength: PIPE_BUF - 1024, maxWrite: PIPE_BUF }
  // pino comes with an older one, which tries for ever to write the last lines to a pipe that nobody reads any more.
  const to = typeof destination === 'number' ? { fd: destination } : { dest: destination }
  const stream = new sonicBoom.SonicBoom({ ...to, sync: false, maxLength: MOST_WAITING, ...sizes })
  // A full disk or a reader that is gone is no reason to stop relaying mail. Lines that cannot be written are dropped,
  // and nothing may wait for them: pino's own hook at the end of the program would retry for ever.
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
      base: typeof worker === 'number' ? { worker } : null,
      timestamp: () => `,"ts":${stdTimeFunctions.isoTime().slice(8)}`,
      formatters: { level: (label) => ({ level: label }) },
      hooks: { streamWrite: format === 'json' ? visible : lineInWords },
    },
    stream,
  )
  // Somebody who watches the log must not wait longer than this for a line in the buffer.
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
    setLevel(next) {
      write.level = next
    },
  }
}

/** Lines per second that `auto` writes of each kind before it samples. */
const AUTO_LINES_PER_SECOND = 20

/**
 * Decides which sessions get a line, and how many sessions each line stands for. Its cost does not depend on the flood.
 */
export class Sampler<K> {
  readonly #every: () => 'auto' | number
  readonly #kinds: ReadonlyMap<K, { second: number; written: number; skipped: number }>

  /**
   * @param every 'auto', or how many sessions of a kind share one line (1: all are logged); asked each time
   * @param kinds a closed set, in which nothing can be chosen by a client
   */
  constructor(every: () => 'auto' | number, kinds: readonly K[]) {
    this.#every = every
    this.#kinds = new Map(kinds.map((kind) => [kind, { second: 0, written: 0, skipped: 0 }]))
  }

  /**
   * @returns the weight of this session's line; or 0 for no line, in which case the next line of its kind includes it
   */
  weight(kind: K, now: number): number {
    const seen = this.#kinds.get(kind)
    if (seen === undefined) throw new Error(`no kind of session: ${JSON.stringify(kind)}`)
    seen.skipped++
    const every = this.#every()
    if (every === 'auto') {
      const second = Math.floor(now / 1000)
      if (second !== seen.second) {
        seen.second = second
        seen.written = 0
      }
      if (seen.written >= AUTO_LINES_PER_SECOND) return 0
      seen.written++
    } else if (seen.skipped < every) return 0
    const weight = seen.skipped
    seen.skipped = 0
    return weight
  }

  /** The number of sessions that no line stands for yet, by kind; read at shutdown. */
  *rest(): Iterable<[K, number]> {
    for (const [kind, seen] of this.#kinds) {
      if (seen.skipped > 0) yield [kind, seen.skipped]
      seen.skipped = 0
    }
  }
}
