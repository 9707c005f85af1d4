/** What a crew knows of one of its workers, whichever process that is at the moment. */
import type { Reading } from '../../config/reload.ts'
import type { Hand } from './hand.ts'

/** One that dies within this time of its start is started again after a longer pause each time. */
const LATELY_MS = 60_000
const PAUSES_MS = { first: 100, longest: 30_000 } as const

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

  /** How long to wait before the worker is started again, in milliseconds. @param code the exit code of the one that has just ended */
  pauseAfter(code: number | null): number {
    if (code === 0) return 0
    const before = performance.now() - this.startedAt < LATELY_MS ? this.deathsInARow : 0
    this.deathsInARow = before + 1
    return before === 0 ? 0 : Math.min(PAUSES_MS.longest, PAUSES_MS.first * 2 ** (before - 1))
  }
}
