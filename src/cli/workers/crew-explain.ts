/**
 * What an address, a network, a sender or an id is to a node of several workers. Each worker has sessions and counts of its own, and a
 * share of each limit; bans, lists and history they have together, as far as they tell each other. Other nodes are asked by one of them.
 */
import type { AddressExplained, Explanation, NotExplained } from '../../admin/explain.ts'
import { sessionsTogether } from '../../admin/sessions.ts'
import { explainEverywhere, type NodesAnswer } from '../../build/explain-nodes.ts'
import { addressesTogether } from '../../build/explain-together.ts'
import type { Hand } from './hand.ts'

export class CrewExplain {
  /** Asks all workers that serve, and all other nodes. Rejects if no worker answers. */
  readonly ask: (asked: string) => Promise<Explanation | NotExplained>
  readonly #hands: () => readonly Hand[]

  /** @param hands all workers that there are @param host the name of the node */
  constructor(hands: () => readonly Hand[], host: () => string) {
    this.#hands = hands
    this.ask = explainEverywhere(
      (asked) => this.#ask(asked),
      (ip) => this.others(ip),
      host,
    )
  }

  async #ask(asked: string): Promise<Explanation | NotExplained> {
    const serving = this.#hands().filter(({ serves }) => serves)
    const answers = (await Promise.all(serving.map((hand) => hand.explain(asked)))).flatMap((each) => each ?? [])
    const explained = answers.flatMap((each) => ('mistake' in each ? [] : [each]))
    const [first] = answers
    if (first === undefined) throw new Error('no worker answers at the moment')
    return explained.length === 0 ? first : together(explained as [Explanation, ...Explanation[]])
  }

  /** Has one of them ask all other nodes: always the same one, as long as it is well. It knows what it has asked just now. */
  async others(ip: string): Promise<NodesAnswer> {
    for (const hand of this.#hands().filter(({ serves, isSilent }) => serves && !isSilent)) {
      const answer = await hand.others(ip)
      if (answer !== undefined) return answer
    }
    return { redis: 'away', nodes: [], silent: [], more: 0 }
  }
}

/** What one of them has found of an id or a sender; else the address, as all of them have it. */
function foundIn(answers: readonly [Explanation, ...Explanation[]]): Explanation {
  const found = answers.find((each) => (each.kind === 'id' || each.kind === 'sender') && each.address !== undefined)
  const [first, ...others] = answers.filter((each): each is AddressExplained => each.kind === 'address')
  return found ?? (first === undefined ? answers[0] : addressesTogether([first, ...others]))
}

const together = (answers: readonly [Explanation, ...Explanation[]]): Explanation => ({
  ...foundIn(answers),
  ...sessionsTogether(answers),
})
