/** What checks in observe mode would have refused, at all workers of a node together. */
import { type Tallied, tallyTogether } from '../../telemetry/observed/report.ts'
import type { Hand } from './hand.ts'

export class CrewTallies {
  readonly #hands: () => readonly Hand[]

  /** @param hands all workers that there are */
  constructor(hands: () => readonly Hand[]) {
    this.#hands = hands
  }

  /** Asks all workers, and adds up what those say that answer. Rejects if none does. */
  async ask(): Promise<Tallied> {
    const serving = this.#hands().filter(({ serves, isSilent }) => serves && !isSilent)
    const told = (await Promise.all(serving.map((hand) => hand.observed()))).filter((each) => each !== undefined)
    if (told.length === 0) throw new Error('no worker answers at the moment')
    return tallyTogether(told)
  }
}
