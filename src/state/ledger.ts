/**
 * One limit that nodes share. Nobody waits for Redis: a node decides by what it knows, tells Redis what it has let in, and hears
 * what all nodes together have let in.
 *
 *     own    what this node has let in within the window (table.ts)
 *     untold what of that Redis has not acknowledged
 *     known  what Redis last said of all nodes; it fades as the window slides on
 *     nodes  how many are alive
 *
 * The rule. A client is let in if `own` has room within the limit, and
 *
 *     known + 1 ≤ max   and   untold < room,   room = max(1, ⌊(max − known) / nodes⌋)
 *
 * Of a limit for everybody, `known` includes what the others are expected to have let in since, at the pace between the last two
 * answers; a client that is refused for that is a reason to ask again.
 *
 * So what nodes let in without a word from Redis is no more than what was left when Redis last spoke, divided among them. If
 * Redis is away, `known` fades to nothing within two windows, and each node is left with its share, `max / nodes`.
 *
 * What need not be told. As long as `own` is at most a tenth of the node's share (NEED_NOT), Redis hears nothing of the key: all
 * nodes together are then within a tenth of the limit of the truth. So an address that comes once or twice costs Redis nothing.
 *
 * When Redis is told. At once where an eighth of the room is untold, or nothing is known of the key yet; otherwise within 10 ms,
 * or within 50 ms as long as next to nothing of the room is untold and not half of the limit is used up (teller.ts).
 *
 * `max` may differ between the charges of one key: each node has its own level
 * of overload. Each charge is compared with its own, and "a tenth" is one of the largest.
 *
 * The bound. Where nodes hear each other: the limit, and one more for each other node, and what comes at the others within a round
 * trip of Redis when the limit is nearly used up, and a tenth of the limit where the rest came to nodes that need not tell. Where
 * nodes are cut off without knowing it: less than twice the limit.
 */
import { LRUCache } from 'lru-cache'
import type { Use } from '../core/usage.ts'
import { Account } from './account.ts'
import type { Counter } from './counter.ts'
import type { SharedCounter } from './limiter.ts'
import type { WindowTable } from './table.ts'
import type { Teller } from './teller.ts'

export interface LedgerOptions {
  readonly table: WindowTable
  readonly counter: SharedCounter
  readonly windowMs: number
  /** All clients share its one key, which Redis is always told of. */
  readonly isGlobal: boolean
  /** Instead of NEED_NOT: whether Redis is to be told of this key. */
  readonly isTold?: (key: string) => boolean
  readonly teller: Pick<Teller, 'tell' | 'refresh' | 'keepFresh' | 'forget'>
  /** Nodes that are alive, this one included. */
  readonly nodes: () => number
  /** Whether Redis answers at present. */
  readonly isUp: () => boolean
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
}

/** The part of a node's share that Redis need not hear of. */
const NEED_NOT = 0.1
/** The part of the room that is told at once when it is used. */
const AT_ONCE = 1 / 8
/** The part of the room that may wait longer while it is far from being used up. */
const LATER = 1 / 64
/** A limit for everybody is near its end when less than so many clients are left for each node. */
const NEAR_END = 5
/** Keys that Redis is told of, for each limit. Of as many that were forgotten it is remembered that Redis knows them. */
const CAPACITY = 1 << 16

export class Ledger implements Counter {
  readonly #options: LedgerOptions
  readonly #accounts: LRUCache<string, Account>
  /** Keys whose account made room for others, and when, by `elapsed`. */
  #forgotten: LRUCache<string, number> | undefined

  constructor(options: LedgerOptions) {
    this.#options = options
    this.#accounts = new LRUCache({
      max: options.isGlobal ? 1 : CAPACITY,
      disposeAfter: (_, key, reason) => {
        if (reason !== 'evict') return
        this.#forgotten ??= new LRUCache({ max: CAPACITY })
        this.#forgotten.set(key, options.elapsed())
      },
    })
  }

  charge(key: string, at: number, max: number): Use {
    const { table, windowMs, elapsed, isGlobal, teller } = this.#options
    const account = this.#accounts.get(key)
    const now = elapsed()
    const known = account?.known(now) ?? 0
    if (known + 1 > max) return this.#refuse(key, at, known, max)
    const expected = isGlobal && account !== undefined ? account.expected(now) : known
    if (expected + 1 > max) {
      teller.keepFresh()
      return this.#refuse(key, at, expected, max)
    }
    const room = this.#room(max - expected)
    if (account !== undefined) {
      const untold = account.untold(at)
      if (untold >= room) return this.#refuse(key, at, untold, room)
    }
    // Without an account all that is its own is untold.
    const own = account === undefined ? room : max
    const used = table.charge(key, at, own)
    if (used > own) {
      // It may have been let in while its share was larger.
      if (account === undefined) this.#tell(this.#open(key, at, max, table.peek(key, at)), at, max)
      return { used, max: own, windowMs }
    }
    this.#letIn(key, at, max, used, account)
    return { used: Math.min(max, Math.max(used, Math.ceil(known + (account?.untold(at) ?? 0)))), max, windowMs }
  }

  count(key: string, at: number, max: number): void {
    const used = this.#options.table.charge(key, at, Number.MAX_SAFE_INTEGER)
    this.#letIn(key, at, max, used, this.#accounts.get(key))
  }

  giveBack(key: string, at: number, amount: number): void {
    const { table, teller } = this.#options
    table.refund(key, at, amount)
    const account = this.#accounts.get(key)
    if (account === undefined) return
    account.add(-amount, at)
    teller.tell(account, 'soon')
  }

  use(key: string, at: number, max: number): Use {
    const { table, windowMs, elapsed, isUp } = this.#options
    const account = this.#accounts.peek(key)
    const known = account?.known(elapsed()) ?? 0
    const untold = account?.untold(at) ?? table.peek(key, at)
    const all = { used: Math.ceil(known + untold), max, windowMs }
    if (isUp()) return all
    const room = this.#room(max - known)
    return untold > room || known < 1 ? { used: Math.ceil(untold), max: room, windowMs } : all
  }

  size(at: number): number {
    return this.#options.table.size(at)
  }

  /** What Redis has not heard yet it never hears: another counter may have taken over these keys, with windows of its own. */
  end(): void {
    this.#options.teller.forget(this.#options.counter)
  }

  /** Whether Redis is told of the key. */
  has(key: string): boolean {
    return this.#accounts.has(key)
  }

  #room(left: number): number {
    return left < 1 ? left : Math.max(1, Math.floor(left / this.#options.nodes()))
  }

  /** Refusals are counted by this node alone, so that it can be told how far over the limit a client is. */
  #refuse(key: string, at: number, used: number, max: number): Use {
    const { table, windowMs } = this.#options
    const refused = table.refuse(key, at)
    return { used: Math.max(Math.ceil(used), Math.floor(max)) + refused, max, windowMs }
  }

  #letIn(key: string, at: number, max: number, used: number, known: Account | undefined): void {
    known?.add(1, at)
    this.#tell(known ?? this.#open(key, at, max, used), at, max)
  }

  #tell(account: Account | undefined, at: number, max: number): void {
    if (account === undefined) return
    const { teller, elapsed, isGlobal, nodes } = this.#options
    const now = elapsed()
    const left = max - account.known(now)
    const room = this.#room(left)
    if (isGlobal && nodes() > 1 && left < NEAR_END * nodes()) teller.keepFresh()
    const part = account.untold(at) / room
    const when = part <= LATER && left > max / 2 ? 'later' : 'soon'
    teller.tell(account, account.isUnheard(now) || part > AT_ONCE ? 'now' : when)
  }

  /** Whether Redis has heard, within the last two windows, of what the key has used before. */
  #wasForgotten(key: string): boolean {
    const forgotten = this.#forgotten?.get(key)
    if (forgotten === undefined) return false
    this.#forgotten?.delete(key)
    return this.#options.elapsed() - forgotten < 2 * this.#options.windowMs
  }

  /** From here on Redis is told of the key; undefined where that is not needed yet. */
  #open(key: string, at: number, max: number, used: number): Account | undefined {
    const { isTold, isGlobal, counter, windowMs, teller, nodes } = this.#options
    const needed = isTold === undefined ? isGlobal || used > Math.floor((NEED_NOT * max) / nodes()) : isTold(key)
    if (!needed) return undefined
    const account = new Account({ key, counter, windowMs })
    account.add(this.#wasForgotten(key) ? 1 : used, at)
    this.#accounts.set(key, account)
    if (isGlobal) teller.refresh(account)
    return account
  }
}
