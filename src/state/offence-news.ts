/**
 * What processes tell each other of offenders: their points (points.ts), and the names that show which addresses several senders share
 * (shared-addresses.ts), which get none. Names come first, so that whom they spare is spared where both come at once.
 */
import type { GivenPoints, Points } from './points.ts'
import type { ServedName, SharedAddresses } from './shared-addresses.ts'
import type { Noted } from './shared-strings.ts'

export type OffenceTold = GivenPoints | ServedName

export class OffenceNews implements Noted<OffenceTold> {
  readonly #points: Points
  readonly #addresses: SharedAddresses

  constructor(points: Points, addresses: SharedAddresses) {
    this.#points = points
    this.#addresses = addresses
  }

  share(): void {
    this.#addresses.share()
    this.#points.share()
  }

  takeUntold(): readonly OffenceTold[] {
    return [...this.#addresses.takeUntold(), ...this.#points.takeUntold()]
  }

  hear(told: OffenceTold): void {
    if ('name' in told) this.#addresses.hear(told)
    else this.#points.hear(told)
  }

  get fingerprint(): string {
    return this.#points.fingerprint
  }
}
