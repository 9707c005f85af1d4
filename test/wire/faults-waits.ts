/**
 * Stalls end by themselves after minutes. Here a test says when a wait is over, and no clock: each app waits for a length of
 * its own, by which its timers are known from all others.
 */
import { Socket } from 'node:net'
import type { Settings } from '../../src/config/settings.ts'
import { AwaitedReplies } from '../../src/relay/smtp/awaited.ts'
import type { Cell, Step } from './faults-table.ts'

/** Over the minute that a client has in a message whatever is set, and under the 110 s that DATA may take. */
const SHORTEST_MS = 61_000
const LONGEST_MS = 69_999
/** A wait that has a deadline is shorter by what has passed since that was set. */
const STEP_MS = 20
/** And one for a server that may be left for another, by what the DNS has taken before, beside all the other tests. */
const NAMED_MS = 800
let next = SHORTEST_MS
const isOurs = (ms: unknown): ms is number => typeof ms === 'number' && ms >= SHORTEST_MS && ms <= LONGEST_MS

/** How long an upstream may take nothing of a message, in the program and here: no setting tells that one's from others. */
const BLOCK_MS = 180_000
export const SHORT_BLOCK_MS = 2000

/** What is waited for: by its timer, by its socket, or by the reply that is awaited. */
const waiting = new Map<unknown, { readonly ms: number; readonly over: () => void }>()

const watched = new WeakSet<Socket>()

/** Takes the timers in hand. Returns what gives them back. */
export function holdWaits(): () => void {
  const { setTimeout: start, clearTimeout: stop } = globalThis
  const { setTimeout: idle } = Socket.prototype
  const { wait } = AwaitedReplies.prototype
  let isShared = false
  globalThis.setTimeout = ((act: (...given: unknown[]) => void, ms?: number, ...rest: unknown[]) => {
    const timer = start(act, ms === BLOCK_MS ? SHORT_BLOCK_MS : ms, ...rest)
    // One that is over does not hold up the end of the tests for the minute that it would have had.
    const over = (): void => {
      stop(timer)
      act(...rest)
    }
    if (isOurs(ms) && !isShared) waiting.set(timer, { ms, over })
    return timer
  }) as typeof setTimeout
  globalThis.clearTimeout = (timer) => {
    waiting.delete(timer)
    stop(timer)
  }
  Socket.prototype.setTimeout = function (this: Socket, ms, act) {
    if (isOurs(ms)) {
      if (!watched.has(this)) this.once('close', () => waiting.delete(this))
      watched.add(this)
      waiting.set(this, { ms, over: () => this.emit('timeout') })
    }
    return idle.call(this, ms, act)
  }
  // Replies of one mail server share a timer, which says nothing of any of them.
  AwaitedReplies.prototype.wait = function (this: AwaitedReplies, ms) {
    isShared = true
    const reply = wait.call(this, ms)
    isShared = false
    if (!isOurs(ms)) return reply
    waiting.set(reply, { ms, over: () => this.late(ms) })
    const forget = (): boolean => waiting.delete(reply)
    reply.then(forget, forget)
    return reply
  }
  return () => {
    AwaitedReplies.prototype.wait = wait
    globalThis.setTimeout = start
    globalThis.clearTimeout = stop
    Socket.prototype.setTimeout = idle
  }
}

/** Where another server is asked instead, when it has room. */
const BEFORE_MAIL: readonly Step[] = ['greeting', 'EHLO', 'XCLIENT', 'second EHLO', 'MAIL']

/** One app's wait for whatever stalls. */
export class Wait {
  readonly #cell: Cell
  readonly #ms: number
  readonly #stepMs: number

  constructor(cell: Cell) {
    this.#cell = cell
    const isLeft = cell.step === 'connect' || BEFORE_MAIL.includes(cell.step)
    const isNamed = cell.failover && cell.fault === 'stall' && isLeft
    this.#stepMs = isNamed ? NAMED_MS : STEP_MS
    next += this.#stepMs
    this.#ms = next
    if (next > LONGEST_MS) throw new Error('there are more waits than have a length of their own')
  }

  /** What is to end the stall of this cell, and nothing else, has this length. */
  get settings(): Partial<Settings> {
    const { side, step, fault, failover } = this.#cell
    if (fault !== 'stall') return {}
    if (side === 'client') return { idleTimeout: this.#ms }
    if (step === 'connect' || (failover && BEFORE_MAIL.includes(step))) return { upstreamConnectTimeout: this.#ms }
    if (step === 'before the dot' || step === 'between dot and reply') return { upstreamDataTimeout: this.#ms }
    return { upstreamReplyTimeout: this.#ms }
  }

  get isOn(): boolean {
    return [...waiting.values()].some(({ ms }) => this.#isMine(ms))
  }

  /** It has lasted long enough. */
  end(): void {
    for (const [key, { ms, over }] of [...waiting]) {
      if (!this.#isMine(ms)) continue
      waiting.delete(key)
      over()
    }
  }

  #isMine(ms: number): boolean {
    return ms <= this.#ms && ms > this.#ms - this.#stepMs
  }
}
