/** The first worker of a node keeps the kernel's table, for all of them. */
import type { Hearing } from '../../core/kernel.ts'
import type { Hand } from './hand.ts'

export class CrewKernel {
  readonly #keeper: () => Hand | undefined
  #waits = false

  /** @param keeper the first worker, while there is one */
  constructor(keeper: () => Hand | undefined) {
    this.#keeper = keeper
  }

  /** Whether a worker that begins leaves the table alone. */
  get waits(): boolean {
    return this.#waits
  }

  /** The table may be another Spillway's, until `begin`. To be called before any worker is started. */
  wait(): void {
    this.#waits = true
  }

  /** The table is this node's from now on. */
  begin(): void {
    this.#waits = false
    const keeper = this.#keeper()
    keeper?.listening.then(
      () => keeper.keepTable(),
      () => undefined,
    )
  }

  /** What clients of any worker have heard. */
  readonly heard = (hearings: readonly Hearing[]): void => this.#keeper()?.heard(hearings)
}
