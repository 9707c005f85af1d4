/** The level that the operator has pinned for a while (`spillway level`). It ends by itself; then SPILLWAY_OVERLOAD decides again. */
import type { Clock } from '../core/clock.ts'
import type { LevelPin } from '../core/orders.ts'
import type { OverloadMode } from '../core/overload.ts'
import type { Log } from '../telemetry/log.ts'

export class Pin {
  readonly #clock: Clock
  readonly #log: Log
  #pin: LevelPin | undefined
  /** By the clock that never goes back. */
  #endsAt = 0

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  /** That in force. */
  get value(): LevelPin | undefined {
    if (this.#pin !== undefined && this.#clock.elapsed() >= this.#endsAt) this.#end(this.#pin)
    return this.#pin
  }

  /** What is in force in place of SPILLWAY_OVERLOAD; undefined: nothing is. It is read for each message, and once a second. */
  get mode(): OverloadMode | undefined {
    return this.#pin === undefined ? undefined : this.value?.mode
  }

  /** @param pin undefined: nothing is pinned any more */
  set(pin: LevelPin | undefined): void {
    this.#pin = pin
    if (pin !== undefined) this.#endsAt = this.#clock.elapsed() + pin.until - this.#clock.now()
  }

  #end({ mode }: LevelPin): void {
    this.#pin = undefined
    this.#log.info({ mode }, 'the overload level is no longer pinned: SPILLWAY_OVERLOAD decides again')
  }
}
