/**
 * Senders as MTAs are: each message has a number, and is tried again after a 4yz or a broken connection until a server says
 * 250. They remember what they heard, and `judge` compares that with what the mail server has and what the log says.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connectClient } from '../support/client.ts'

export interface Attempt {
  /** Number and try, `17.2`: in the name it greets with and in the message. */
  readonly name: string
  /** The code of the last reply it heard; undefined where the connection broke instead. */
  readonly heard: number | undefined
  /** The dot was sent. */
  readonly pastDot: boolean
  /** There was no connection, or it broke before the greeting. */
  readonly refused: boolean
  /** When it ended, by Date.now(). */
  readonly at: number
}

export interface SenderOptions {
  readonly port: number
  /** How many messages are under way at once. */
  readonly atOnce: number
  readonly tls?: (number: number) => boolean
  /** How long a sender rests after a try, in milliseconds. */
  readonly restMs?: number
  /** How long it waits before it tries a message again. */
  readonly retryMs?: number
}

/** How long it waits for the reply to a dot; for others less. */
const DOT_MS = 120_000
const LINES = `${'text of a line that is as long as most lines of mail are\r\n'.repeat(30)}`

/**
 * Source addresses in turn: no sender is to meet the limits of one address, and there are not so many that the program's tables would
 * grow for hours.
 */
const sourceOf = (count: number): string => `127.20.${(count >> 6) & 15}.${1 + (count & 63)}`

export class Senders {
  /** By number of the message. */
  readonly messages = new Map<number, Attempt[]>()
  readonly #options: SenderOptions
  #tries = 0
  #stopping = false
  #loops: Promise<void>[] = []

  constructor(options: SenderOptions) {
    this.#options = options
  }

  start(): void {
    this.#loops = Array.from({ length: this.#options.atOnce }, (_, i) => this.#run(i))
  }

  /** Begins no further message; resolves when those begun are delivered, or have been tried 200 times more. */
  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#loops)
  }

  get delivered(): number {
    let count = 0
    for (const attempts of this.messages.values()) if (attempts.at(-1)?.heard === 250) count++
    return count
  }

  async #run(sender: number): Promise<void> {
    const { atOnce, restMs = 0, retryMs = 100 } = this.#options
    for (let number = sender; !this.#stopping; number += atOnce) {
      const attempts: Attempt[] = []
      this.messages.set(number, attempts)
      let last: Attempt
      let afterEnd = 0
      do {
        last = await this.#try(number, attempts.length + 1)
        attempts.push(last)
        if (last.heard !== 250) await sleep(retryMs)
        if (this.#stopping) afterEnd++
      } while (last.heard !== 250 && afterEnd < 200)
      await sleep(restMs)
    }
  }

  async #try(number: number, count: number): Promise<Attempt> {
    const name = `${number}.${count}`
    const told = { heard: undefined as number | undefined, pastDot: false, refused: true }
    let client: Client | undefined
    try {
      client = await connectClient(this.#options.port, { from: sourceOf(this.#tries++) })
      await this.#talk(client, number, name, told)
    } catch {
      // The connection broke, or took too long: what was heard last is no answer.
      told.heard = undefined
    }
    client?.destroy()
    return { name, at: Date.now(), ...told }
  }

  async #talk(
    client: Client,
    number: number,
    name: string,
    told: { heard?: number | undefined; pastDot: boolean; refused: boolean },
  ) {
    const fine = (reply: string): boolean => {
      told.heard = Number(reply.slice(0, 3))
      return told.heard < 400
    }
    if (!fine(await client.reply())) return
    told.refused = false
    const hello = `EHLO m${name}.example`
    if (!fine(await client.command(hello))) return
    if (this.#options.tls?.(number)) {
      await client.startTls()
      if (!fine(await client.command(hello))) return
    }
    for (const line of [`MAIL FROM:<a@m${name}.example>`, 'RCPT TO:<b@b.example>', 'DATA']) {
      if (!fine(await client.command(line, DOT_MS))) return
      // Some think in between, so that whatever happens meets sessions at every step.
      if (number % 7 === 0) await sleep(20)
    }
    client.write(`X-Attempt: ${name}\r\n\r\n`)
    for (let i = 0; i < 1 + (number % 5); i++) {
      client.write(LINES)
      if (number % 3 === 0) await sleep(10)
    }
    client.write('.\r\n')
    told.pastDot = true
    told.heard = undefined
    if (fine(await client.reply(DOT_MS))) client.write('QUIT\r\n')
  }
}

export interface Verdict {
  readonly messages: number
  readonly attempts: number
  /** Tries that heard a 4yz, or whose connection broke behind the greeting. */
  readonly putOff: number
  /** Heard 250, and the mail server does not have it. */
  readonly lost: string[]
  /** Taken twice in one attempt, or taken although the sender heard otherwise, and the log does not say unknown. */
  readonly doubled: string[]
  /** Never heard 250. */
  readonly undelivered: string[]
  /** Heard 5yz. */
  readonly bounced: string[]
  /** Taken without the sender having heard so, and known to be so. */
  readonly unknown: string[]
}

/** @param excused whether nobody can know what became of this attempt, and the log says so */
export function judge(
  messages: ReadonlyMap<number, readonly Attempt[]>,
  taken: ReadonlyMap<string, number>,
  excused: (attempt: Attempt) => boolean,
): Verdict {
  const verdict = { lost: [], doubled: [], undelivered: [], bounced: [], unknown: [] } as Record<string, string[]>
  let count = 0
  let putOff = 0
  for (const attempts of messages.values()) {
    for (const attempt of attempts) {
      count++
      const { name, heard, refused } = attempt
      if (!refused && heard !== 250) putOff++
      const times = taken.get(name) ?? 0
      if (heard === 250 && times === 0) verdict.lost?.push(name)
      if (heard !== undefined && heard >= 500) verdict.bounced?.push(name)
      if (times > 1) verdict.doubled?.push(name)
      else if (times === 1 && heard !== 250) verdict[excused(attempt) ? 'unknown' : 'doubled']?.push(name)
    }
    if (attempts.at(-1)?.heard !== 250) verdict.undelivered?.push(attempts.at(-1)?.name ?? '')
  }
  return { messages: messages.size, attempts: count, putOff, ...verdict } as Verdict
}

/** Names of attempts that a line of the log, parsed, says unknown of. */
export function unknownIn(line: Readonly<Record<string, unknown>>): string | undefined {
  const { msg, helo, messages } = line as { msg?: string; helo?: string; messages?: { result: string }[] }
  if (msg !== 'session' || !messages?.some(({ result }) => result === 'unknown')) return undefined
  return /^m(\d+\.\d+)\.example$/.exec(helo ?? '')?.[1]
}
