/** What a crew knows of one of its workers, whichever process that is at the moment. */
import type { Reading } from '../../config/reload.ts'
import type { Hand } from './hand.ts'

export class Place {
  readonly worker: number
  hand: Hand | undefined
  /** The settings it was given last. */
  reading: Reading | undefined
  restarts = 0
  /** Of the process that is there now, by performance.now(). */
  startedAt = 0
  deathsInARow = 0

  constructor(worker: number) {
    this.worker = worker
  }
}
