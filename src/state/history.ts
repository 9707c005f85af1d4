/**
 * Who has sent honest mail before, and who has not: what this node remembers of clients (by source) and of their
 * neighbourhoods. front/outcome.ts is the only teacher, overload/standing.ts says what follows.
 *
 * A neighbourhood is wider evidence, so it counts addresses and not messages: each address adds to the good of its
 * neighbourhood at most once a day, and so to the bad. One busy machine is not a neighbourhood.
 *
 * Both tables have a fixed size (past-table.ts), so that neither memory nor the time of a lookup grows with the number
 * of addresses. A client that is known is never pushed out by strangers.
 */
import { REMEMBERED, type Remembered } from '../core/client.ts'
import { readBits } from '../core/ip.ts'
import {
  aged,
  dayOfHour,
  HOUR_MS,
  hourOf,
  isForgotten,
  type Lesson,
  NET_MEMORY,
  NO_PAST,
  OWN_MEMORY,
  type Past,
  taught,
} from './past.ts'
import { PastTable } from './past-table.ts'

/** Room for a million known clients, with as much again for strangers, in 59 MB; divided among the workers of a node. */
export const CLIENTS = 1 << 21
const NETS = 1 << 18
const SWEEP_MS = 1000
/** Every address is weighed again within so many sweeps. */
const SWEEPS = 60

export interface HistoryOptions {
  /** What a client's own history makes of it, as of now. */
  readonly standingAlone: (own: Past) => Remembered
  /** HISTORY_TTL, in milliseconds. */
  readonly ttlMs: () => number
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Eight secret random bytes. */
  readonly seed: Uint8Array
  /** How many clients have room. */
  readonly capacity?: number
}

export class History {
  readonly #options: HistoryOptions
  readonly #clients: PastTable
  readonly #nets: PastTable
  readonly #bits = new Int32Array(2)
  #timer: NodeJS.Timeout | undefined

  constructor(options: HistoryOptions) {
    this.#options = options
    const { seed, standingAlone, capacity = CLIENTS } = options
    const worthOf = (past: Past): number =>
      this.#isForgotten(past) ? 0 : 1 + REMEMBERED.indexOf(standingAlone(aged(past, this.#hour)))
    this.#clients = new PastTable({ capacity, seed, worthOf })
    // A neighbourhood with good mail behind it is worth more than one without, but none keeps its place for ever.
    const worthOfNet = (past: Past): number => (this.#isForgotten(past) ? 0 : past.good > 0 ? 2 : 1)
    this.#nets = new PastTable({
      capacity: Math.max(1, Math.ceil(capacity / (CLIENTS / NETS))),
      seed,
      worthOf: worthOfNet,
    })
  }

  /** What is remembered of the source of this address, as it weighs now. Allocates nothing for a stranger. @param ip canonical */
  own(ip: string): Past {
    return readBits(ip, this.#bits) ? this.#weighed(this.#clients) : NO_PAST
  }

  /** What is remembered of its neighbourhood. */
  net(ip: string): Past {
    return this.#readNet(ip) ? this.#weighed(this.#nets) : NO_PAST
  }

  /** Learns what came of a message of this client. @param ip canonical */
  learn(ip: string, lesson: Lesson): void {
    if (lesson.good <= 0 && lesson.bad <= 0) return
    const hour = this.#hour
    const before = this.own(ip)
    if (!readBits(ip, this.#bits)) return
    // Whoever is not remembered would count in its neighbourhood again and again.
    if (!this.#put(this.#clients, taught(before, lesson, hour, OWN_MEMORY))) return
    const today = dayOfHour(hour)
    const good = lesson.good > 0 && dayOfHour(before.lastGood) !== today ? 1 : 0
    // A part of a message is no bad address: a list with some dead subscribers has them every day.
    const bad = lesson.bad >= 1 && dayOfHour(before.lastBad) !== today ? 1 : 0
    if (good === 0 && bad === 0) return
    const around = this.net(ip)
    this.#readNet(ip)
    this.#put(this.#nets, taught(around, { good, bad }, hour, NET_MEMORY))
  }

  /** How many clients are remembered, by what their own history makes of them; up to a minute old. */
  count(standing: Remembered): number {
    return this.#clients.count(1 + REMEMBERED.indexOf(standing))
  }

  /** Begins to forget. */
  start(): void {
    this.#timer ??= setInterval(() => this.sweep(1 / SWEEPS), SWEEP_MS).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Weighs a part of what is remembered again. */
  sweep(part: number): void {
    if (REMEMBERED.some((standing) => this.count(standing) > 0)) {
      this.#clients.sweep(Math.ceil(this.#clients.sets * part))
      this.#nets.sweep(Math.ceil(this.#nets.sets * part))
    }
  }

  get #hour(): number {
    return hourOf(this.#options.now())
  }

  #isForgotten(past: Past): boolean {
    return isForgotten(past, this.#hour, this.#options.ttlMs() / HOUR_MS)
  }

  #readNet(ip: string): boolean {
    const bits = this.#bits
    if (!readBits(ip, bits)) return false
    // The /24 of an IPv4 address, the /48 of another.
    bits[1] = bits[1]! & (bits[0] === 0 ? 0xffff_ff00 : 0xffff_0000)
    return true
  }

  #weighed(table: PastTable): Past {
    const past = table.get(this.#bits[0]!, this.#bits[1]!)
    return past === undefined || this.#isForgotten(past) ? NO_PAST : aged(past, this.#hour)
  }

  #put(table: PastTable, past: Past): boolean {
    return table.put(this.#bits[0]!, this.#bits[1]!, past)
  }
}
