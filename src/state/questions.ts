/**
 * Questions that one process asks all others that share a Redis, and their answers: what is an address to you? Whoever asks waits, for
 * WAIT_MS at most. No client does: each process looks for open questions in the background, four times a second, and answers at once.
 *
 * Questions are members of a sorted set with the moment at which nobody waits any more, by the clock of Redis. The answers to one are a
 * hash with a field for each process. A third key, a sorted set, has who has looked when, so that one that hangs, and is no longer among
 * the nodes (nodes.ts), is named all the same. All three are in one slot, are small, and expire.
 *
 * Whoever may write to Redis may ask, and may answer in the name of a node. So a process answers a few questions a second, whoever asks,
 * and an answer is nothing but text for whoever has asked, who checks it.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { within } from '../core/deadline.ts'
import { visible } from '../core/visible.ts'
import { isCount, Nonsense } from './limiter.ts'
import { ALIVE, ANSWER, ANSWERS, ASK, DONE, LOOK } from './question-scripts.ts'
import { Rounds } from './rounds.ts'
import type { SharingOptions } from './sharing.ts'
import { SharingFailures } from './sharing-failures.ts'

const LOOK_MS = 250
/** How long whoever asks waits for all answers. */
export const WAIT_MS = 1000
/** How often it looks for them. */
const GATHER_MS = 50
/** Longer than anybody waits. */
const KEPT_MS = 3000
/** A process that has not looked for so long is not told of any more. */
export const REMEMBERED_MS = 600_000
/** Nobody asks for more than this. */
const MOST_OPEN = 8
/** Processes that are asked, and of which it is remembered that they have looked. */
export const MOST_ASKED = 128
/** Of more than these it is not known how many more there are. */
const MOST_ALIVE = 1024
/** Octets. */
const LONGEST_QUESTION = 128
export const LONGEST_ANSWER = 8192
const LONGEST_NAME = 300
/** What one process asks, and answers, in a second. */
export const ASKED_PER_S = 4
const ANSWERED_PER_S = 8
/** Questions whose answer was given. They are open for no longer than it takes to answer so many. */
const MOST_ANSWERED = 64

export interface Replies {
  /** asked: they were. away: Redis does not answer, or with nonsense. busy: there are too many questions already. */
  readonly state: 'asked' | 'away' | 'busy'
  /** By the name of the process, `mx2.example.org:1f2e3d4c5b6a`; undefined: it is too long to be one. */
  readonly answers: readonly { readonly name: string; readonly text: string | undefined }[]
  /** Processes that are alive, as far as is known, and have not answered in time. */
  readonly silent: readonly string[]
  /** Processes that have left without a word, and how long ago they were last heard of, in milliseconds. */
  readonly gone: readonly { readonly name: string; readonly agoMs: number }[]
  /** How many more there are, who were not asked. */
  readonly more: number
}

export interface QuestionsOptions extends SharingOptions {
  /** The name of this process, which no other has. It contains no spaces. */
  readonly node: string
}

const none = (state: Replies['state']): Replies => ({ state, answers: [], silent: [], gone: [], more: 0 })

/** So many in a second. */
class Pace {
  readonly #perSecond: number
  readonly #elapsed: () => number
  #left: number
  #at = 0

  constructor(perSecond: number, elapsed: () => number) {
    this.#perSecond = perSecond
    this.#left = perSecond
    this.#elapsed = elapsed
  }

  take(): boolean {
    const at = this.#elapsed()
    this.#left = Math.min(this.#perSecond, this.#left + ((at - this.#at) / 1000) * this.#perSecond)
    this.#at = at
    if (this.#left < 1) return false
    this.#left--
    return true
  }
}

export class Questions {
  readonly #options: QuestionsOptions
  readonly #rounds: Rounds
  readonly #asking: Pace
  readonly #answering: Pace
  readonly #keys: readonly [questions: string, looked: string]
  /** Ids. */
  readonly #answered = new Set<string>()
  #answer: (asked: string) => string | undefined = () => undefined

  constructor(options: QuestionsOptions) {
    this.#options = options
    this.#rounds = new Rounds({
      everyMs: LOOK_MS,
      isDue: () => this.#isUp,
      work: () => this.#look(),
      failures: new SharingFailures(options, 'questions of other nodes are not answered over Redis'),
    })
    this.#asking = new Pace(ASKED_PER_S, options.elapsed)
    this.#answering = new Pace(ANSWERED_PER_S, options.elapsed)
    const key = `${options.prefix}{explain}`
    this.#keys = [key, `${key}:looked`]
  }

  /** Sets who answers. It may have nothing to say, and is not to throw. */
  onAsked(answer: (asked: string) => string | undefined): void {
    this.#answer = answer
  }

  /** Starts in the background. */
  start(): void {
    void this.#rounds.start()
  }

  /** Others need not wait for it any more. */
  stop(): Promise<void> {
    const { client, node } = this.#options
    return this.#rounds.stop(async () => {
      if (this.#isUp) await this.#watched(client.zrem(this.#keys[1], node))
    })
  }

  /** Answers what is open. Never rejects. */
  step(): Promise<void> {
    return this.#rounds.step()
  }

  /** Asks all other processes. Never rejects. @param asked at most 100 octets, without spaces or control characters */
  async ask(asked: string): Promise<Replies> {
    if (!this.#isUp) return none('away')
    if (!this.#asking.take()) return none('busy')
    const { elapsed } = this.#options
    const id = randomBytes(8).toString('hex')
    const question = `${id} ${asked}`
    const until = elapsed() + WAIT_MS
    // It is not answered by whoever has asked.
    this.#noteAnswered(id)
    try {
      const seen = await within(this.#put(question), WAIT_MS)
      if (seen === undefined) return none('busy')
      const answers = await this.#gather(id, seen.alive, until)
      const heard = new Set(answers.map(({ name }) => name))
      const silent = seen.alive.filter((name) => !heard.has(name))
      void this.#run(DONE, [this.#answersOf(id), this.#keys[0]], [question]).catch(() => undefined)
      return { state: 'asked', answers, silent, gone: seen.gone, more: seen.more }
    } catch {
      // Its health is watched elsewhere, and the log has it.
      return none('away')
    }
  }

  get #isUp(): boolean {
    return this.#options.upSince() !== undefined
  }

  /** @returns who may answer; undefined where too many questions are open */
  async #put(
    question: string,
  ): Promise<{ readonly alive: string[]; readonly gone: Replies['gone']; readonly more: number } | undefined> {
    const { prefix, node } = this.#options
    const bounds = [WAIT_MS, MOST_OPEN, REMEMBERED_MS, MOST_ASKED + 1, LONGEST_NAME]
    const [seen, alive] = await Promise.all([
      this.#run(ASK, this.#keys, [question, ...bounds]),
      this.#run(ALIVE, [`${prefix}nodes`], [MOST_ALIVE, LONGEST_NAME]),
    ])
    if (seen === 0) return undefined
    if (!isTexts(seen, 2 * (MOST_ASKED + 1)) || !isTexts(alive, MOST_ALIVE)) throw new Nonsense('no names')
    const living = alive.filter((name) => name !== node)
    const gone: { name: string; agoMs: number }[] = []
    for (let i = 0; i + 1 < seen.length; i += 2) {
      const [name, agoMs] = [seen[i] as string, Number(seen[i + 1])]
      if (name !== node && !living.includes(name) && isCount(agoMs)) gone.push({ name, agoMs })
    }
    const more = Math.max(0, living.length - MOST_ASKED)
    return { alive: living.slice(0, MOST_ASKED), gone, more }
  }

  /** Looks for answers until all are there, or it is too late. */
  async #gather(id: string, names: readonly string[], until: number): Promise<Replies['answers']> {
    const answers: { name: string; text: string | undefined }[] = []
    let missing = names
    while (missing.length > 0) {
      const left = until - this.#options.elapsed()
      if (left <= 0) break
      await sleep(Math.min(GATHER_MS, left), undefined, { ref: false })
      const looking = this.#run(ANSWERS, [this.#answersOf(id)], [LONGEST_ANSWER, ...missing])
      const told = await within(looking, Math.max(GATHER_MS, until - this.#options.elapsed())).catch(() => undefined)
      // What is there is told, and who is missing.
      if (!isTexts(told, missing.length) || told.length !== missing.length) break
      const still: string[] = []
      for (const [i, name] of missing.entries()) {
        const text = told[i] as string
        if (text === '') still.push(name)
        else answers.push({ name, text: text === '-' ? undefined : text })
      }
      missing = still
    }
    return answers
  }

  async #look(): Promise<void> {
    const { node } = this.#options
    const open = await this.#run(LOOK, this.#keys, [
      ...[node, REMEMBERED_MS, 2 * MOST_ASKED],
      ...[MOST_OPEN, LONGEST_QUESTION],
    ])
    if (!isTexts(open, MOST_OPEN)) throw new Nonsense('no questions')
    for (const question of open) {
      const [, id, asked] = /^([0-9a-f]{16}) ([!-~]{1,100})$/.exec(question) ?? []
      if (id === undefined || asked === undefined || this.#answered.has(id)) continue
      // What is left is looked at the next time, if anybody waits for it by then.
      if (!this.#answering.take()) return
      this.#noteAnswered(id)
      const answer = this.#answer(asked)
      if (answer === undefined || Buffer.byteLength(answer) > LONGEST_ANSWER) continue
      await this.#run(ANSWER, [this.#answersOf(id)], [node, answer, KEPT_MS, MOST_ASKED])
    }
  }

  #noteAnswered(id: string): void {
    this.#answered.add(id)
    const [oldest] = this.#answered
    if (this.#answered.size > MOST_ANSWERED && oldest !== undefined) this.#answered.delete(oldest)
  }

  #answersOf(id: string): string {
    return `${this.#keys[0]}:${id}`
  }

  #run(script: string, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return this.#watched(this.#options.client.eval(script, keys.length, ...keys, ...args))
  }

  #watched<T>(answer: Promise<T>): Promise<T> {
    return this.#options.watched('explain', answer)
  }
}

/** The name of the node of a process, as the operator knows it: safe to show. */
export const hostOf = (name: string): string => visible(name.replace(/:[0-9a-f]{12}$/, '')).replace(/\n/g, ' ')

const isTexts = (answer: unknown, most: number): answer is string[] =>
  Array.isArray(answer) && answer.length <= most && answer.every((each) => typeof each === 'string')
