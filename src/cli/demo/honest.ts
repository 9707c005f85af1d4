/**
 * Honest senders: twenty small mail servers with names, each of which sends a message now and then. They retry what is
 * deferred with 4xx, as mail servers do, but after seconds where real ones wait minutes. They count what became of
 * their mail and compare it with what arrived: that is how the demo knows that honest mail gets through.
 */
import type { Lines } from './dialogue.ts'
import { DOMAIN, MAILBOXES } from './mail-server.ts'

const PLACES = ['bakery', 'library', 'school', 'clinic', 'garage', 'choir', 'nursery', 'museum', 'ferry', 'orchard']
const KINDS = ['mx', 'mail']

/** Names by address; each address is in a /24 of its own. */
export const HONEST: ReadonlyMap<string, string> = new Map(
  KINDS.flatMap((kind, k) => PLACES.map((place, p) => [`127.1.${10 * k + p + 1}.25`, `${kind}.${place}.example`])),
)

/** Milliseconds between two messages of one sender: minimum, maximum. */
const PAUSE_MS = [4000, 8000] as const
/** Milliseconds before each retry: minimum, maximum. The last pair is for all further retries. */
const RETRY_MS: readonly (readonly [number, number])[] = [
  [1000, 3000],
  [2000, 5000],
  [5000, 10_000],
]
const MAX_TRIES = 30
/** The size of one sender's queue; while it is full, the sender writes nothing new. */
const MAX_QUEUE = 10
const MAX_TIMES = 2000

export interface HonestMail {
  readonly sent: number
  readonly accepted: number
  /** Accepted, and found in the mail server before the sender received 250. */
  readonly arrived: number
  /** Arrived more than once. */
  readonly twice: number
  /** Messages that were deferred with 4xx at least once. */
  readonly putOff: number
  /** Messages of `putOff` that were accepted later. */
  readonly cameBack: number
  /** Not accepted yet: being sent, or waiting for a retry. */
  readonly waiting: number
  /** Refused with 5xx, or given up. */
  readonly lost: number
  /** Milliseconds from connecting to 250, for tries that ended in 250. */
  readonly p50Ms: number
  readonly p99Ms: number
}

const between = ([from, to]: readonly [number, number]): number => from + Math.random() * (to - from)
const any = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T
const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0

export class HonestSenders {
  readonly #lines: Lines
  readonly #now: () => number
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #queued = new Map<string, number>()
  /** Ids of messages under way, and whether they have arrived. */
  readonly #underWay = new Map<string, boolean>()
  readonly #times: number[] = []
  readonly #count = { sent: 0, accepted: 0, arrived: 0, twice: 0, putOff: 0, cameBack: 0, lost: 0 }
  #stopped = false

  /** @param now milliseconds, monotonic */
  constructor(lines: Lines, now: () => number) {
    this.#lines = lines
    this.#now = now
  }

  start(): void {
    for (const ip of HONEST.keys()) this.#after(Math.random() * PAUSE_MS[0], () => this.#writeFrom(ip))
  }

  stop(): void {
    this.#stopped = true
    for (const timer of this.#timers) clearTimeout(timer)
  }

  /** To be called with each message that the mail server accepted. */
  arrived(content: Buffer): void {
    const id = /^Message-ID: <([0-9]+)@honest\.example>/m.exec(content.toString('latin1', 0, 1000))?.[1]
    if (id === undefined) return
    if (this.#underWay.get(id) === false) this.#underWay.set(id, true)
    else this.#count.twice++
  }

  get mail(): HonestMail {
    const sorted = this.#times.toSorted((a, b) => a - b)
    const p50Ms = quantile(sorted, 0.5)
    return { ...this.#count, waiting: this.#underWay.size, p50Ms, p99Ms: quantile(sorted, 0.99) }
  }

  #after(ms: number, act: () => void): void {
    if (this.#stopped) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      act()
    }, ms)
    this.#timers.add(timer)
  }

  #writeFrom(ip: string): void {
    this.#after(between(PAUSE_MS), () => this.#writeFrom(ip))
    const queued = this.#queued.get(ip) ?? 0
    if (queued >= MAX_QUEUE) return
    this.#queued.set(ip, queued + 1)
    this.#count.sent++
    const id = String(this.#count.sent)
    this.#underWay.set(id, false)
    void this.#try(ip, id, any(MAILBOXES), 1)
  }

  async #try(ip: string, id: string, mailbox: string, tries: number): Promise<void> {
    const name = HONEST.get(ip) as string
    const started = this.#now()
    const call = this.#lines.call(ip)
    let code = await call.reply()
    if (code === 220) code = await call.say(`EHLO ${name}`)
    if (code === 250) {
      const from = `office@${name.slice(name.indexOf('.') + 1)}`
      const to = `${mailbox}@${DOMAIN}`
      const date = new Date().toUTCString().replace('GMT', '+0000')
      const headers = [`From: <${from}>`, `To: <${to}>`, `Date: ${date}`, `Message-ID: <${id}@honest.example>`]
      const content = `${[...headers, `Subject: note ${id}`, '', 'Dear friends,', 'all is well here.'].join('\r\n')}\r\n`
      code = await call.send({ from, to, content })
    }
    call.quit()
    if (this.#stopped) return
    if (code === 250) this.#accepted(ip, id, tries, this.#now() - started)
    else if (code >= 500 || tries >= MAX_TRIES) {
      this.#count.lost++
      this.#done(ip, id)
    } else {
      if (tries === 1) this.#count.putOff++
      const wait = between(RETRY_MS[Math.min(tries, RETRY_MS.length) - 1] as readonly [number, number])
      this.#after(wait, () => void this.#try(ip, id, mailbox, tries + 1))
    }
  }

  #accepted(ip: string, id: string, tries: number, ms: number): void {
    this.#count.accepted++
    if (tries > 1) this.#count.cameBack++
    if (this.#underWay.get(id) === true) this.#count.arrived++
    this.#times.push(ms)
    if (this.#times.length > MAX_TIMES) this.#times.shift()
    this.#done(ip, id)
  }

  #done(ip: string, id: string): void {
    this.#underWay.delete(id)
    this.#queued.set(ip, (this.#queued.get(ip) ?? 1) - 1)
  }
}
