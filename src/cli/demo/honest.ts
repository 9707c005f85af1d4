/**
 * Honest senders: twenty small mail servers with names, each of which sends a message now and then. They retry what is
 * deferred with 4xx as Postfix, Exim and qmail do (`senders/mta.ts`), but after seconds where these wait minutes. They count
 * what became of their mail and compare it with what arrived: that is how the demo knows that honest mail gets through.
 */
import { type MtaName, mta } from '../senders/mta.ts'
import { between, pick } from '../senders/random.ts'
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
/** What small sites run, in turn. */
const MTA_NAMES: readonly MtaName[] = ['postfix', 'exim', 'postfix', 'qmail']
/** By this much the demo's time runs faster than that of real mail servers: Postfix's first retry comes after 2 s. */
const HASTE = 150
/** Retries come up to this much later than they are due, as those of mail servers that look at their queues now and then. */
const LATE = 0.1
/** The size of one sender's queue; while it is full, the sender writes nothing new. */
const MAX_QUEUE = 10
const MAX_TIMES = 2000
const BODY_SIZE = 200

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

const MTA_OF = new Map([...HONEST.keys()].map((ip, i) => [ip, mta(MTA_NAMES[i % MTA_NAMES.length] as MtaName)]))

/** @returns how long to wait after so many failed tries; undefined once the mail server would give up */
function retryInMs(ip: string, tries: number): number | undefined {
  const at = MTA_OF.get(ip)?.retryAtMs(tries)
  if (at === undefined) return undefined
  const before = tries === 1 ? 0 : (MTA_OF.get(ip)?.retryAtMs(tries - 1) as number)
  return ((at - before) / HASTE) * between(Math.random, 1, 1 + LATE)
}

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
    for (const ip of HONEST.keys()) this.#after(between(Math.random, 0, PAUSE_MS[0]), () => this.#writeFrom(ip))
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
    this.#after(between(Math.random, ...PAUSE_MS), () => this.#writeFrom(ip))
    const queued = this.#queued.get(ip) ?? 0
    if (queued >= MAX_QUEUE) return
    this.#queued.set(ip, queued + 1)
    this.#count.sent++
    const id = String(this.#count.sent)
    this.#underWay.set(id, false)
    void this.#try(ip, id, pick(Math.random, MAILBOXES), 1)
  }

  async #try(ip: string, id: string, mailbox: string, tries: number): Promise<void> {
    const helo = HONEST.get(ip) as string
    const started = this.#now()
    const from = `office@${helo.slice(helo.indexOf('.') + 1)}`
    const to = `${mailbox}@${DOMAIN}`
    const date = new Date().toUTCString().replace('GMT', '+0000')
    const headers = [`From: <${from}>`, `To: <${to}>`, `Date: ${date}`, `Message-ID: <${id}@honest.example>`]
    const header = `${[...headers, `Subject: note ${id}`].join('\r\n')}\r\n`
    const letters = [{ from, to: [to], header, bodySize: BODY_SIZE }]
    const [answer] = await this.#lines.visit({ from: ip, helo, letters, quits: true })
    const code = answer?.codes[0] ?? 0
    if (this.#stopped) return
    if (code === 250) this.#accepted(ip, id, tries, this.#now() - started)
    else {
      const waitMs = code < 500 ? retryInMs(ip, tries) : undefined
      if (waitMs === undefined) {
        this.#count.lost++
        this.#done(ip, id)
        return
      }
      if (tries === 1) this.#count.putOff++
      this.#after(waitMs, () => void this.#try(ip, id, mailbox, tries + 1))
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
