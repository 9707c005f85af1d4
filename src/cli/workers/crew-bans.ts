/**
 * The bans of all workers of a node. Each worker holds all of them; what one makes, its parent tells the others, and tells a
 * worker that begins what the others know. What one tells of offenders it tells to all, so that they hear it in one order
 * (state/offence-news.ts). The parent itself remembers nothing.
 */
import type { Ban } from '../../core/bans.ts'
import type { OffenceTold } from '../../state/offence-news.ts'
import type { Hand } from './hand.ts'
import type { BansAnswer, BansAsked } from './protocol.ts'

export class CrewBans {
  readonly #hands: () => readonly Hand[]

  /** @param hands all workers that there are */
  constructor(hands: () => readonly Hand[]) {
    this.#hands = hands
  }

  /** Asks the first worker that answers. Rejects if none does. */
  async ask(asked: BansAsked): Promise<BansAnswer> {
    for (const hand of this.#hands()) {
      const answer = hand.serves ? await hand.bans(asked) : undefined
      if (answer !== undefined) return answer
    }
    throw new Error('no worker answers at the moment')
  }

  /** Tells the others what one of them has made. */
  spread(made: readonly Ban[], maker: Hand): void {
    for (const hand of this.#hands()) if (hand !== maker) hand.banned(made)
  }

  /** Tells all what one of them says of offenders. */
  spreadOffences(told: readonly OffenceTold[]): void {
    for (const hand of this.#hands()) hand.offended(told)
  }

  /** A worker that has just begun hears what the others know. */
  async teach(newcomer: Hand): Promise<void> {
    const other = this.#hands().find((hand) => hand !== newcomer && hand.serves)
    const known = await other?.bans({ what: 'all' })
    if (Array.isArray(known)) newcomer.banned(known)
  }
}
