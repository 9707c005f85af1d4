/**
 * The simulated flood: a few kinds of bad senders from thousands of loopback addresses. Each kind makes one of
 * Spillway's limits or lists act. The flood is bounded in rate and in sockets, so that a small machine can run it: it
 * illustrates a flood and is not a load test (`npm run bench:shed` is one).
 */
import type { Call, Lines } from './dialogue.ts'
import { DOMAIN, MAILBOXES } from './mail-server.ts'

/** The network on the deny list (SPILLWAY_DENY). */
export const DENIED_NETWORK = '127.99.0.0/16'

/** Open sockets at which the flood pauses. */
const MAX_OPEN = 200
/** Connections per second of all kinds together, even if the rates below add up to more. */
const MAX_RATE = 300
const TICK_MS = 50
/** In a wave more strangers come at once than the limit for all messages lets through to the mail server. */
const WAVE_EVERY_MS = 20_000
const WAVE_FIRST_MS = 9000
const WAVE_LASTS_MS = 3000
const WAVE_FACTOR = 8

const roll = (sides: number): number => Math.floor(Math.random() * sides)
const anyMailbox = (): string => `${MAILBOXES[roll(MAILBOXES.length)]}@${DOMAIN}`
const anyName = (): string => `${['info', 'sales', 'john', 'maria', 'admin', 'test'][roll(6)]}${roll(10_000)}@${DOMAIN}`
const spammer = (): string => `win${roll(100_000)}@prize.example`

const SPAM = 'Subject: You have won\r\nFrom: <prize@prize.example>\r\n\r\nYou have won. Answer at once.\r\n'

interface Kind {
  /** Connections per second. */
  readonly rate: number
  /** More of them come in a wave. */
  readonly waves?: true
  address(): string
  behave(call: Call): Promise<void>
}

/** @returns whether the server lets the client go on */
async function hello(call: Call, name: string): Promise<boolean> {
  return (await call.reply()) === 220 && (await call.say(`EHLO ${name}`)) === 250
}

async function spam(call: Call, to: string): Promise<void> {
  if (await hello(call, 'localhost')) await call.send({ from: spammer(), to, content: SPAM })
  // Like most spammers, it leaves without QUIT.
  call.leave()
}

async function harvest(call: Call): Promise<void> {
  if (await hello(call, 'friend.example')) {
    if ((await call.say(`MAIL FROM:<${spammer()}>`)) === 250) {
      for (let guesses = 0; guesses < 12; guesses++) if ((await call.say(`RCPT TO:<${anyName()}>`)) === 0) break
    }
  }
  call.quit()
}

/** A client whose address is seen once: it sends spam, guesses addresses, tries to relay, or just goes away. */
async function stranger(call: Call): Promise<void> {
  const luck = roll(100)
  if (luck < 45) return spam(call, anyMailbox())
  if (luck < 65) return spam(call, anyName())
  if (luck < 80) return spam(call, `victim${roll(1000)}@elsewhere.example`)
  if (luck < 90) return call.leave()
  if ((await hello(call, 'dsl.example')) && luck >= 95) {
    for (const line of [`MAIL FROM:<${spammer()}>`, `RCPT TO:<${anyMailbox()}>`, 'DATA']) {
      const code = await call.say(line)
      if (code === 0 || code >= 400) return call.leave()
    }
    call.write('Subject: half a mess')
  }
  call.leave()
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
  { rate: 20, address: () => `127.66.${roll(5) + 1}.66`, behave: (call) => spam(call, anyMailbox()) },
  // A neighbourhood where every address is new.
  { rate: 30, address: () => `127.77.7.${roll(254) + 1}`, behave: (call) => spam(call, anyMailbox()) },
  // Addresses on the deny list.
  { rate: 15, address: () => `127.99.${roll(256)}.${roll(254) + 1}`, behave: (call) => spam(call, anyMailbox()) },
  // Directory harvest.
  { rate: 1, address: () => `127.88.${roll(4) + 1}.8`, behave: harvest },
  // Many connections that stay idle.
  { rate: 1, address: () => '127.55.5.5', behave: async (call) => void (await call.reply()) },
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
        void kind.behave(this.#lines.call(kind.address()))
      }
      this.#due[k] = due
    })
  }
}
