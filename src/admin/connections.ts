/**
 * Which connections to the admin port stay open: few, each for a short time, and none at the cost of others. When all
 * places are taken, a new connection is not turned away. Instead the source that holds most of them loses one. A
 * connection that has its response is dropped before one that has not sent its request, and that one before one that is
 * slow to read. A caller that sends and reads as fast as programs do is served within milliseconds, and so is hardly
 * ever dropped, however many incomplete requests others open.
 */

/** How long a caller may take to send its request. */
const ASK_MS = 5_000
/** How long it may then take to read the response. */
const ANSWER_MS = 10_000

/** sent: the kernel has the whole response. asking: the request is incomplete. reading: the caller is slow to read. */
const GOES_FIRST = ['sent', 'asking', 'reading'] as const
/** served: the response is being prepared, which never takes long. */
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

  /** Call this when the request is complete. */
  served(now: number): void {
    this.#phase = 'served'
    this.#until = now + ANSWER_MS
  }

  /** Call this when the response is written. Sending it may take long. */
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

  /** @param most the most connections at once */
  constructor(most: number) {
    this.#most = most
  }

  /**
   * @returns the connection that was dropped to make room, perhaps the new one itself; undefined if there was room
   */
  admit(connection: Connection): Connection | undefined {
    this.#open.add(connection)
    if (this.#open.size <= this.#most) return undefined
    const dropped = this.#toDrop(connection)
    this.#open.delete(dropped)
    dropped.drop()
    return dropped
  }

  delete(connection: Connection): void {
    this.#open.delete(connection)
  }

  /** Drops the connections whose time is over. Call this more often than once a second. */
  sweep(now: number): void {
    for (const connection of this.#open) if (connection.isOver(now)) connection.drop()
  }

  dropAll(): void {
    for (const connection of this.#open) connection.drop()
  }

  #toDrop(newcomer: Connection): Connection {
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
