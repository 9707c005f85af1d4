/**
 * What an address, a network, a sender or an id is to a node of several workers. Each worker has sessions and counts of its own, and a
 * share of each limit; bans, lists and history they have together, as far as they tell each other.
 */
import type { AddressExplained, Explanation, LimitReport, NotExplained } from '../../admin/explain.ts'
import { sessionsTogether } from '../../admin/sessions.ts'
import type { Hand } from './hand.ts'

export class CrewExplain {
  readonly #hands: () => readonly Hand[]

  /** @param hands all workers that there are */
  constructor(hands: () => readonly Hand[]) {
    this.#hands = hands
  }

  /** Asks all workers that serve. Rejects if none answers. */
  async ask(asked: string): Promise<Explanation | NotExplained> {
    const serving = this.#hands().filter(({ serves }) => serves)
    const answers = (await Promise.all(serving.map((hand) => hand.explain(asked)))).flatMap((each) => each ?? [])
    const explained = answers.flatMap((each) => ('mistake' in each ? [] : [each]))
    const [first] = answers
    if (first === undefined) throw new Error('no worker answers at the moment')
    return explained.length === 0 ? first : together(explained as [Explanation, ...Explanation[]])
  }
}

/** Worst first: what a client may hear at one of them is what somebody asks about. */
const worstOf = (answers: readonly Explanation[]): Explanation =>
  (answers.find((each) => (each.kind === 'id' || each.kind === 'sender') && each.address !== undefined) ??
    answers.find((each) => each.kind === 'address' && each.now.connect.reason !== undefined) ??
    answers.find((each) => each.kind === 'address' && each.now.rcpt.reason !== undefined) ??
    answers[0]) as Explanation

function together(answers: readonly [Explanation, ...Explanation[]]): Explanation {
  const worst = worstOf(answers)
  const sessions = sessionsTogether(answers)
  if (worst.kind !== 'address') return { ...worst, ...sessions }
  const all = answers.filter((each): each is AddressExplained => each.kind === 'address')
  const passed = all.some((each) => each.greetingTest.passed)
  const limits = worst.limits.map((row) => fullest(row, all))
  return { ...worst, limits, greetingTest: { ...worst.greetingTest, passed }, ...sessions }
}

/** The row of the worker that has used most of its share. */
const fullest = (row: LimitReport, all: readonly AddressExplained[]): LimitReport =>
  all
    .flatMap(({ limits }) => limits.filter(({ limit }) => limit === row.limit))
    .reduce((most, each) => (each.used / each.max > most.used / most.max ? each : most), row)
