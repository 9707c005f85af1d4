/**
 * The simulated flood: a few kinds of bad senders from thousands of loopback addresses. Each kind makes one of
 * Spillway's limits or lists act. The flood is bounded in rate and in sockets, so that a small machine can run it: it
 * illustrates a flood and is not a load test (`npm run bench:shed` is one). Its habits are those of the flood lab's bots
 * (`senders/bot.ts`).
 */
import { type Habits, habitsOf } from '../senders/bot.ts'
import { harvestRecipients, UNKNOWN_SHARE } from '../senders/letter.ts'
import type { Visit } from '../senders/visit.ts'
import type { Lines } from './dialogue.ts'
import { DOMAIN, MAILBOXES } from './mail-server.ts'

/** The network on the deny list (SPILLWAY_DENY). */
export const DENIED_NETWORK = '127.99.0.0/16'

/** Open sockets at which the flood pauses. */
const MAX_OPEN = 200
/** Connections per second of all kinds together, even if the rates below add up to more. */
const MAX_RATE = 300
const TICK_MS = 50
/** In a wave strangers bring more messages than the mail server can take (mail-server.ts). */
const WAVE_EVERY_MS = 90_000
const WAVE_FIRST_MS = 4000
const WAVE_LASTS_MS = 40_000
const WAVE_FACTOR = 8

const roll = (sides: number): number => Math.floor(Math.random() * sides)
const anyMailbox = (): string => `${MAILBOXES[roll(MAILBOXES.length)]}@${DOMAIN}`
const anyName = (): string => `${['info', 'sales', 'john', 'maria', 'admin', 'test'][roll(6)]}${roll(10_000)}@${DOMAIN}`
const spammer = (): string => `win${roll(100_000)}@prize.example`

const SPAM = 'Subject: You have won\r\nFrom: <prize@prize.example>\r\n'
/** A line or two. */
const SPAM_BODY = 100

/** What one connection does, but for where it comes from. */
type Act = Omit<Visit, 'from' | 'patienceMs'>

interface Kind {
  /** Connections per second. */
  readonly rate: number
  /** More of them come in a wave. */
  readonly waves?: true
  address(): string
  behave(habits: Habits): Act
}

const letter = (to: readonly string[]): Visit['letters'][number] => ({
  from: spammer(),
  to,
  header: SPAM,
  bodySize: SPAM_BODY,
})

const spam = ({ pregreets, ignoresReplies, quits }: Habits, to: string): Act => ({
  helo: 'localhost',
  letters: [letter([to])],
  pregreets,
  ignoresReplies,
  quits,
})

const harvest = (): Act => {
  const names = Array.from({ length: harvestRecipients(Math.random) }, anyName)
  return { helo: 'friend.example', letters: [letter(names)], leavesAfter: 'rcpt', quits: true }
}

const idle = (): Act => ({ helo: 'localhost', letters: [], hangsAfter: 'greeting', quits: false })

/** A client whose address is seen once: it sends spam, guesses addresses, tries to relay, or just goes away. */
function stranger(habits: Habits): Act {
  if (habits.hangs) return { ...idle(), hangsAfter: 'helo' }
  const luck = roll(100)
  if (luck < 80) {
    if (luck < 15) return spam(habits, `victim${roll(1000)}@elsewhere.example`)
    return spam(habits, Math.random() < UNKNOWN_SHARE.spam ? anyName() : anyMailbox())
  }
  const leavesAfter = luck < 90 ? 'greeting' : luck < 95 ? 'helo' : 'data'
  return { helo: 'dsl.example', letters: [letter([anyMailbox()])], leavesAfter, quits: false }
}

let strangers = 0
/** The addresses of 127.128.0.0/9 in scattered order; none comes again before two million others. */
const strangersAddress = (): string => {
  strangers = (strangers + 1) % (1 << 21)
  const place = (strangers * 1_103_515_245) % (1 << 21)
  return `127.${128 + (place >>> 14)}.${(place >>> 6) & 255}.${(place & 63) + 1}`
}

const KINDS: readonly Kind[] = [
  // A few heavy addresses.
  { rate: 20, address: () => `127.66.${roll(5) + 1}.66`, behave: (habits) => spam(habits, anyMailbox()) },
  // A neighbourhood where every address is new.
  { rate: 30, address: () => `127.77.7.${roll(254) + 1}`, behave: (habits) => spam(habits, anyMailbox()) },
  // Addresses on the deny list.
  { rate: 15, address: () => `127.99.${roll(256)}.${roll(254) + 1}`, behave: (habits) => spam(habits, anyMailbox()) },
  // Directory harvest.
  { rate: 1, address: () => `127.88.${roll(4) + 1}.8`, behave: harvest },
  // Many connections that stay idle.
  { rate: 1, address: () => '127.55.5.5', behave: idle },
  { rate: 25, waves: true, address: strangersAddress, behave: stranger },
]

export class Flood {
  readonly #lines: Lines
  readonly #now: () => number
  readonly #due = KINDS.map(() => 0)
  #timer: NodeJS.Timeout | undefined

  /** @param now milliseconds, monotonic */
  constructor(lines: Lines, now: () => number) {
    this.#lines = lines
    this.#now = now
  }

  start(): void {
    const started = this.#now()
    let last = started
    this.#timer = setInterval(() => {
      const at = this.#now()
      // A machine that was asleep does not catch up on the connections it missed.
      const seconds = Math.min(at - last, 4 * TICK_MS) / 1000
      last = at
      const inWave = (at - started + WAVE_EVERY_MS - WAVE_FIRST_MS) % WAVE_EVERY_MS < WAVE_LASTS_MS
      this.#tick(seconds, inWave && at - started >= WAVE_FIRST_MS)
    }, TICK_MS)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #tick(seconds: number, inWave: boolean): void {
    let room = Math.ceil(MAX_RATE * seconds)
    KINDS.forEach((kind, k) => {
      let due = (this.#due[k] as number) + kind.rate * (inWave && kind.waves ? WAVE_FACTOR : 1) * seconds
      for (; due >= 1; due--) {
        if (room-- <= 0 || this.#lines.open >= MAX_OPEN) continue
        const habits = habitsOf(k, roll(1 << 24))
        void this.#lines.visit({ from: kind.address(), ...kind.behave(habits) })
      }
      this.#due[k] = due
    })
  }
}
