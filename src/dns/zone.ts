/** One DNS list: what it answers, and whether it is well (lists.ts has the reasons). */
import { type ListEntry, shownZone } from '../core/dnsbl.ts'
import type { Log } from '../telemetry/log.ts'
import type { DnsblResult, Metrics } from '../telemetry/metrics.ts'
import type { Dns } from './dns.ts'

/** What a list has said of an address: none, if it is not listed. */
export interface Said {
  readonly answers: readonly (readonly number[])[]
  readonly ttlMs: number
}

export interface ListZoneOptions {
  readonly name: string
  readonly dns: Pick<Dns, 'ask'>
  readonly metrics: Pick<Metrics, 'dnsblQueries' | 'dnsblZoneUp'>
  readonly log: Log
  readonly elapsed: () => number
}

const SILENT = 'it does not answer'
const LISTED = '2.0.0.127'
const UNLISTED = '1.0.0.127'
/** A list that is well is put to the test so often. */
const EVERY_MS = 3_600_000
/** One that is not, after this, and each time after twice as long; and one that is well no sooner than after this, whatever it says. */
const AGAIN_MS = 60_000
/** So many questions in a row without an answer, and it is set aside. */
const MOST_FAILED = 20
/** So many clients in a row that are listed, and it is put to the test soon: in a flood they are all bots, but it may list everybody by now. */
const MANY_LISTED = 20
/** So many answers are kept. A list gives a few, but its owner could send thousands, and each is kept for 50,000 clients. */
const MOST_ANSWERS = 16
/** If the zone does not say how long "not listed" is good for (RFC 2308 section 5). */
const ABSENT_MS = 300_000

const isError = ([a, b, c]: readonly number[]): boolean => a !== 127 || (b === 255 && c === 255)

export class ListZone {
  readonly #options: ListZoneOptions
  readonly name: string
  /** As anybody may see it. */
  readonly shown: string
  entries: readonly ListEntry[] = []
  #isUp = false
  #isGone = false
  #isTesting = false
  #testAt: number
  #againMs = AGAIN_MS
  #failed = 0
  /** Clients in a row that were listed. */
  #listed = 0
  /** When it was last put to the test. */
  #testedAt = 0
  #absentMs = ABSENT_MS
  /** Why it was set aside last, as it was told. */
  #why: string | undefined

  constructor(options: ListZoneOptions) {
    this.#options = options
    this.name = options.name
    this.shown = shownZone(options.name)
    this.#testAt = options.elapsed()
  }

  /** Whether it is asked, and what it says counts. Before its first test it is not. */
  get isUp(): boolean {
    return this.#isUp
  }

  /** It is among the settings no longer: what it still says is not counted. */
  retire(): void {
    this.#isGone = true
    this.#isUp = false
  }

  /** Puts it to the test, if it is time. */
  tick(): void {
    if (this.#isTesting || this.#options.elapsed() < this.#testAt) return
    this.#isTesting = true
    const isEarly = this.#isUp && this.#listed >= MANY_LISTED
    this.#testedAt = this.#options.elapsed()
    this.#testAt = this.#testedAt + EVERY_MS
    this.#listed = 0
    void this.#test()
      .then((why) => {
        if (why === undefined) this.#pass()
        // It has answered many clients. In a flood an answer may be lost.
        else if (!isEarly || why !== SILENT) this.#setAside(why)
      })
      .finally(() => {
        this.#isTesting = false
      })
  }

  /** @param question an address as it stands in names @returns undefined if it gave no answer that counts. Never rejects. */
  async ask(question: string): Promise<Said | undefined> {
    const said = await this.#query(question)
    if (said === 'error' || said === 'timeout') {
      this.#count(said)
      if (++this.#failed >= MOST_FAILED) this.#setAside(SILENT)
      return undefined
    }
    this.#failed = 0
    const wrong = said.answers.find(isError)
    if (wrong !== undefined) {
      this.#count('error')
      this.#setAside(`it answers ${wrong.join('.')}, which is an error`)
      return undefined
    }
    const isListed = said.answers.length > 0
    this.#count(isListed ? 'listed' : 'clear')
    this.#listed = isListed ? this.#listed + 1 : 0
    if (this.#isUp && this.#listed >= MANY_LISTED) this.#testAt = Math.min(this.#testAt, this.#testedAt + AGAIN_MS)
    return said
  }

  /** @returns what is wrong with it */
  async #test(): Promise<string | undefined> {
    const [listed, unlisted] = await Promise.all([this.#query(LISTED), this.#query(UNLISTED), this.#readSoa()])
    if (typeof listed === 'string' || typeof unlisted === 'string') return SILENT
    const wrong = [...listed.answers, ...unlisted.answers].find(isError)
    if (wrong !== undefined) return `it answers ${wrong.join('.')}, which is an error`
    if (unlisted.answers.length > 0) return 'it lists 127.0.0.1, so it would list everybody'
    const isAgainst = this.entries.some(({ weight }) => weight > 0)
    return isAgainst && listed.answers.length === 0 ? 'it does not list 127.0.0.2, so it lists nobody' : undefined
  }

  async #query(question: string): Promise<Said | 'error' | 'timeout'> {
    const name = `${question}.${this.name}`
    const answer = await this.#options.dns.ask('list', (resolver) => resolver.resolve4(name, { ttl: true }))
    if (answer.kind === 'absent') return { answers: [], ttlMs: this.#absentMs }
    if (answer.kind === 'unanswered') return answer.isLate ? 'timeout' : 'error'
    const records = answer.records.slice(0, MOST_ANSWERS)
    const ttlMs = 1000 * Math.min(...records.map(({ ttl }) => ttl))
    return { answers: records.map(({ address }) => address.split('.').map(Number)), ttlMs }
  }

  /** How long "not listed" is good for, which the answer itself does not show here. */
  async #readSoa(): Promise<void> {
    const answer = await this.#options.dns.ask('list', async (resolver) => [await resolver.resolveSoa(this.name)])
    const minttl = answer.kind === 'records' ? answer.records[0]?.minttl : undefined
    this.#absentMs = minttl === undefined ? ABSENT_MS : minttl * 1000
  }

  #count(result: DnsblResult): void {
    if (!this.#isGone) this.#options.metrics.dnsblQueries.inc(this.shown, result)
  }

  #pass(): void {
    if (this.#isGone) return
    const { log, elapsed } = this.#options
    this.#testAt = elapsed() + EVERY_MS
    this.#againMs = AGAIN_MS
    this.#failed = 0
    if (this.#why !== undefined) log.info({ zone: this.shown }, 'the DNS list is well again')
    this.#why = undefined
    this.#become(true)
  }

  #setAside(why: string): void {
    const { log, elapsed } = this.#options
    // Of many answers that come at once the first one has set it aside.
    if (this.#isGone || (!this.#isUp && !this.#isTesting)) return
    this.#testAt = elapsed() + this.#againMs
    this.#againMs = Math.min(EVERY_MS, 2 * this.#againMs)
    this.#failed = 0
    if (this.#why !== why)
      log.warn({ zone: this.shown, why }, 'the DNS list is set aside: what it says counts for nothing')
    this.#why = why
    this.#become(false)
  }

  #become(isUp: boolean): void {
    this.#isUp = isUp
    this.#options.metrics.dnsblZoneUp.of(this.shown).value = isUp ? 1 : 0
  }
}
