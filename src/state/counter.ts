/** How one limit is counted: in this node's memory alone (here), or in step with the other nodes (ledger.ts). */
import type { Use } from '../core/usage.ts'
import type { WindowTable } from './table.ts'

/** Times `at` are in ms since the epoch. Nothing here waits for anything. */
export interface Counter {
  /** Charges the key 1 if there is room for it within `max`. The result includes this attempt: over its `max`, it was refused. */
  charge(key: string, at: number, max: number): Use
  /** Counts 1 for the key, with room or without. */
  count(key: string, at: number, max: number): void
  /** Gives back what was let in and then not used. */
  giveBack(key: string, at: number, amount: number): void
  /** What the key has used, against what it may use. */
  use(key: string, at: number, max: number): Use
  /** About how many keys have a count. */
  size(at: number): number
  /** It is not used any more. */
  end(): void
}

export class LocalCounter implements Counter {
  readonly #table: WindowTable
  readonly #windowMs: number

  constructor(table: WindowTable, windowMs: number) {
    this.#table = table
    this.#windowMs = windowMs
  }

  charge(key: string, at: number, max: number): Use {
    return { used: this.#table.charge(key, at, max), max, windowMs: this.#windowMs }
  }

  count(key: string, at: number): void {
    this.#table.charge(key, at, Number.MAX_SAFE_INTEGER)
  }

  giveBack(key: string, at: number, amount: number): void {
    this.#table.refund(key, at, amount)
  }

  use(key: string, at: number, max: number): Use {
    return { used: this.#table.peek(key, at), max, windowMs: this.#windowMs }
  }

  size(at: number): number {
    return this.#table.size(at)
  }

  end(): void {}
}
