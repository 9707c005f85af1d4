/**
 * Honest senders: twenty small mail servers with names, each of which sends a message now and then, and newcomers, each of which
 * sends one message and was never seen before. Spillway knows the twenty: it has learnt who they are (stage.ts). They retry what is
 * deferred with 4xx as Postfix, Exim and qmail do (`senders/mta.ts`), but after seconds where these wait minutes. They count
 * what became of their mail and compare it with what arrived: that is how the demo knows that honest mail gets through.
 */
import { type Mta, type MtaName, mta } from '../senders/mta.ts'
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
/** Milliseconds between two newcomers. */
const NEWCOMER_EVERY_MS = 3000
/** Each in a /24 of its own, too. The first of them comes again after an hour. */
const NEWCOMERS = 1200
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

/** The mail of some of the senders. */
export interface Part {
  /** Accepted at the first try. */
  readonly atOnce: number
  /** Deferred at the first try. */
  readonly putOff: number
}

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
  readonly known: Part
  readonly newcomers: Part
  /** Milliseconds from connecting to 250, for tries that ended in 250. */
  readonly p50Ms: number
  readonly p99Ms: number
}

interface Sender {
  readonly ip: string
  readonly helo: string
  readonly mta: Mta
  readonly isKnown: boolean
}

interface Message {
  readonly sender: Sender
  readonly id: string
  readonly mailbox: string
}

const mtaOf = (i: number): Mta => mta(MTA_NAMES[i % MTA_NAMES.length] as MtaName)
const KNOWN: readonly Sender[] = [...HONEST].map(([ip, helo], i) => ({ ip, helo, mta: mtaOf(i), isKnown: true }))

function newcomer(i: number): Sender {
  const net = i % NEWCOMERS
  const ip = `127.${2 + Math.floor(net / 250)}.${net % 250}.25`
  return { ip, helo: `mail.newcomer-${net + 1}.example`, mta: mtaOf(i), isKnown: false }
}

/** @returns how long to wait after so many failed tries; undefined once the mail server would give up */
function retryInMs({ mta }: Sender, tries: number): number | undefined {
  const at = mta.retryAtMs(tries)
  if (at === undefined) return undefined
  const before = tries === 1 ? 0 : (mta.retryAtMs(tries - 1) as number)
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
  readonly #known = { atOnce: 0, putOff: 0 }
  readonly #newcomers = { atOnce: 0, putOff: 0 }
  #newest = 0
  #stopped = false

  /** @param now milliseconds, monotonic */
  constructor(lines: Lines, now: () => number) {
    this.#lines = lines
    this.#now = now
  }

  start(): void {
    for (const sender of KNOWN) this.#after(between(Math.random, 0, PAUSE_MS[0]), () => this.#writeFrom(sender))
    this.#newcomer()
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
    const parts = { known: { ...this.#known }, newcomers: { ...this.#newcomers } }
    return { ...this.#count, ...parts, waiting: this.#underWay.size, p50Ms, p99Ms: quantile(sorted, 0.99) }
  }

  #after(ms: number, act: () => void): void {
    if (this.#stopped) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      act()
    }, ms)
    this.#timers.add(timer)
  }

  #newcomer(): void {
    this.#after(NEWCOMER_EVERY_MS, () => this.#newcomer())
    this.#write(newcomer(this.#newest++))
  }

  #writeFrom(sender: Sender): void {
    this.#after(between(Math.random, ...PAUSE_MS), () => this.#writeFrom(sender))
    this.#write(sender)
  }

  #partOf({ isKnown }: Sender): { -readonly [K in keyof Part]: Part[K] } {
    return isKnown ? this.#known : this.#newcomers
  }

  #write(sender: Sender): void {
    const { ip } = sender
    const queued = this.#queued.get(ip) ?? 0
    if (queued >= MAX_QUEUE) return
    this.#queued.set(ip, queued + 1)
    this.#count.sent++
    const id = String(this.#count.sent)
    this.#underWay.set(id, false)
    void this.#try({ sender, id, mailbox: pick(Math.random, MAILBOXES) }, 1)
  }

  async #try(message: Message, tries: number): Promise<void> {
    const { sender, id, mailbox } = message
    const { ip, helo } = sender
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
    if (code === 250) this.#accepted(message, tries, this.#now() - started)
    else {
      const waitMs = code < 500 ? retryInMs(sender, tries) : undefined
      if (waitMs === undefined) {
        this.#count.lost++
        this.#done(message)
        return
      }
      if (tries === 1) {
        this.#count.putOff++
        this.#partOf(sender).putOff++
      }
      this.#after(waitMs, () => void this.#try(message, tries + 1))
    }
  }

  #accepted(message: Message, tries: number, ms: number): void {
    const { sender, id } = message
    this.#count.accepted++
    if (tries === 1) this.#partOf(sender).atOnce++
    else this.#count.cameBack++
    if (this.#underWay.get(id) === true) this.#count.arrived++
    this.#times.push(ms)
    if (this.#times.length > MAX_TIMES) this.#times.shift()
    this.#done(message)
  }

  #done({ sender: { ip }, id }: Message): void {
    this.#underWay.delete(id)
    const left = (this.#queued.get(ip) ?? 1) - 1
    if (left === 0) this.#queued.delete(ip)
    else this.#queued.set(ip, left)
  }
}
