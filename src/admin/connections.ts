/**
 * Which connections to the admin port stay open: few, each for a short time, and none at the cost of others. When all
 * places are taken, a new connection is not turned away. Instead the source that holds most of them loses one. A
 * connection that has its answer goes before one that has not sent its request, and that goes before one that is slow
 * to read. A caller that asks and reads as programs do is served within milliseconds, and so hardly ever has to go,
 * however many incomplete requests others open.
 */

/** How long a client may take to send its request. */
const ASK_MS = 5_000
/** How long it may take from there until it has read the answer. */
const ANSWER_MS = 10_000

/** sent: the kernel has all of the answer. asking: the request is incomplete. reading: the caller is slow to read. */
const GOES_FIRST = ['sent', 'asking', 'reading'] as const
/** served: the answer is being prepared, which never takes long. */
type Phase = (typeof GOES_FIRST)[number] | 'served'

/** One open connection. Times are in milliseconds of a clock that never goes back. */
export class Connection {
  /** The key under which its address is counted. */
  readonly source: string
  /** Closes it at once. */
  readonly drop: () => void
  #phase: Phase = 'asking'
  #until: number

  constructor(source: string, drop: () => void, now: number) {
    this.source = source
    this.drop = drop
    this.#until = now + ASK_MS
  }

  get phase(): Phase {
    return this.#phase
  }

  isOver(now: number): boolean {
    return now >= this.#until
  }

  /** To be called when the request is complete. */
  served(now: number): void {
    this.#phase = 'served'
    this.#until = now + ANSWER_MS
  }

  /** To be called when the answer is written; sending it may take long. */
  answered(): void {
    this.#phase = 'reading'
  }

  sent(): void {
    this.#phase = 'sent'
  }
}

export class Connections {
  readonly #most: number
  /** The oldest first. */
  readonly #open = new Set<Connection>()

  /** @param most connections at once */
  constructor(most: number) {
    this.#most = most
  }

  /**
   * @returns the connection that was dropped to make room, perhaps the new one itself; undefined where there was room
   */
  admit(connection: Connection): Connection | undefined {
    this.#open.add(connection)
    if (this.#open.size <= this.#most) return undefined
    const loser = this.#loser(connection)
    this.#open.delete(loser)
    loser.drop()
    return loser
  }

  delete(connection: Connection): void {
    this.#open.delete(connection)
  }

  /** Drops the connections whose time is over. To be called more often than once a second. */
  sweep(now: number): void {
    for (const connection of this.#open) if (connection.isOver(now)) connection.drop()
  }

  dropAll(): void {
    for (const connection of this.#open) connection.drop()
  }

  #loser(newcomer: Connection): Connection {
    const held = new Map<string, number>()
    for (const { source } of this.#open) held.set(source, (held.get(source) ?? 0) + 1)
    const most = Math.max(...held.values())
    const others = [...this.#open].filter(
      (connection) => connection !== newcomer && held.get(connection.source) === most,
    )
    for (const phase of GOES_FIRST) {
      const found = others.find((connection) => connection.phase === phase)
      if (found !== undefined) return found
    }
    return held.get(newcomer.source) === most ? newcomer : (others[0] as Connection)
  }
}
