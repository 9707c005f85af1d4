/**
 * Closes a connection so that the client can read the last reply. If a socket is closed with unread bytes in it, it is
 * reset, and the reset destroys what the client has not read yet. So after the last reply we close only our side,
 * discard what still comes, and wait a short while for the client to close. The number of such sockets is bounded: in a
 * flood the oldest are reset.
 *
 * Reading begins some milliseconds later, for all sockets of that time together. Most clients have closed by then, and
 * one turn of the event loop deals with all of them. With a turn for each, a refusal costs a fifth more. At first only
 * the end is looked for, which costs less than discarding: a client that has sent something is in no hurry. Only those that
 * have not closed by the second time are kept track of one by one.
 */
import type { Socket } from 'node:net'

/** Enough for any flood. Fewer are allowed if the open-file limit is low. */
export const MAX_LINGERING = 2048
const SWEEP_MS = 1000
/** Until we look for the end, and as long again until what has come is discarded. */
const READ_MS = 25

export class Linger {
  readonly #max: () => number
  /** Those that are not being read yet, and those that are, but may hold what has come. */
  #unread: Socket[] = []
  #holding: Socket[] = []
  #reading: NodeJS.Timeout | undefined
  /**
   * Those whose octets are discarded, in two generations. Each sweep destroys the older one, so that a socket gets between one
   * and two seconds.
   */
  #young = new Set<Socket>()
  #old = new Set<Socket>()
  readonly #sweeping: NodeJS.Timeout
  /** One listener for all sockets. It finds its socket in `this`. */
  readonly #gone: (this: Socket) => void

  /** @param max the most sockets in one generation, those that are not read yet among the younger; each is an open file */
  constructor(max: () => number) {
    this.#max = max
    const forget = (socket: Socket): boolean => this.#young.delete(socket) || this.#old.delete(socket)
    this.#gone = function (this: Socket) {
      forget(this)
    }
    this.#sweeping = setInterval(() => this.#sweep(), SWEEP_MS)
    this.#sweeping.unref()
  }

  get size(): number {
    return [...this.#unread, ...this.#holding].filter(isOpen).length + this.#young.size + this.#old.size
  }

  /** Writes the last reply and closes. */
  farewell(socket: Socket, reply: string): void {
    if (this.#unread.length + this.#holding.length + this.#young.size >= this.#max()) this.#makeRoom()
    socket.end(reply, 'latin1')
    this.#unread.push(socket)
    this.#reading ??= setTimeout(() => this.#read(), READ_MS).unref()
  }

  stop(): void {
    clearInterval(this.#sweeping)
    clearTimeout(this.#reading)
    this.#reading = undefined
    this.#makeRoom()
    this.#sweep()
  }

  #read(): void {
    for (const socket of this.#holding) this.#discard(socket)
    const looked = this.#unread
    for (const socket of looked) socket.read(0)
    this.#holding = looked
    this.#unread = []
    this.#reading = looked.length === 0 ? undefined : setTimeout(() => this.#read(), READ_MS).unref()
    // This runs when the sockets have been read. To keep those that have closed would cost the collection of garbage.
    setImmediate(() => {
      if (this.#holding === looked) this.#holding = looked.filter(isOpen)
    })
  }

  #discard(socket: Socket): void {
    if (socket.destroyed) return
    this.#young.add(socket)
    socket.on('close', this.#gone)
    socket.resume()
  }

  /** Whatever a socket is waiting for, it is among the oldest now. */
  #makeRoom(): void {
    for (const socket of this.#holding.splice(0)) this.#discard(socket)
    for (const socket of this.#unread.splice(0)) this.#discard(socket)
    this.#sweep()
  }

  #sweep(): void {
    for (const socket of this.#old) socket.destroy()
    this.#old = this.#young
    this.#young = new Set()
  }
}

const isOpen = ({ destroyed }: Socket): boolean => !destroyed
