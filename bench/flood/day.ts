// A day of the cluster's logs, as Postfix writes them: what an operator has who puts Spillway in front of a cluster in the middle of
// a flood. Established senders are in it, and the ordinary spam of that day (nets-past.ts). The flood is not: its addresses are others, but for
// a few.

import type { HonestPopulation } from '../../src/cli/senders/honest.ts'
import { UNKNOWN_SHARE } from '../../src/cli/senders/letter.ts'
import { below, between, seeded } from '../../src/cli/senders/random.ts'
import { DOMAIN, toldAs } from './names.ts'
import type { Spammer } from './nets-past.ts'

const DAY_MS = 86_400_000
/** More lines of one address say nothing more. */
const MOST = 40
const MOST_SPAM = 10
const HOST = `${DOMAIN.split('.')[0]}`

interface Line {
  readonly at: number
  readonly text: string
}

/** What the cluster writes of its clients. */
class Log {
  readonly lines: Line[] = []
  #id = 0

  unknownRecipient(at: number, { client, from, pid }: Mail): void {
    const why = `550 5.1.1 <gone@${DOMAIN}>: Recipient address rejected: User unknown in virtual mailbox table`
    this.#add(at, `smtpd[${pid}]: NOQUEUE: reject: RCPT from ${client}: ${why}; from=<${from}>`)
  }

  /** A message that a milter has refused at its dot, or that was taken. */
  message(at: number, { client, from, pid }: Mail, isTaken = true): void {
    const queue = (0x100000 + this.#id++).toString(16).toUpperCase()
    this.#add(at, `smtpd[${pid}]: ${queue}: client=${client}`)
    this.#add(
      at + 1,
      isTaken
        ? `qmgr[900]: ${queue}: from=<${from}>, size=20000, nrcpt=1 (queue active)`
        : `cleanup[901]: ${queue}: milter-reject: END-OF-MESSAGE from ${client}: 5.7.1 this is spam; from=<${from}>`,
    )
  }

  #add(at: number, text: string): void {
    this.lines.push({ at, text })
  }
}

interface Mail {
  /** Its name and address. */
  readonly client: string
  readonly from: string
  readonly pid: number
}

interface How {
  /** Messages of all established senders. */
  readonly perSecond: number
  readonly seed: number
  /** In ms since the epoch; the day ends then. */
  readonly now: number
}

/** @param spammers of the fortnight: what came on the last day is written */
export function dayOf(population: HonestPopulation, how: How, spammers: Iterable<Spammer> = []): string {
  const log = new Log()
  writeHonest(log, population, how)
  writeSpam(log, spammers, how)
  log.lines.sort((a, b) => a.at - b.at)
  return `${log.lines.map(({ at, text }) => `${new Date(at).toISOString()} ${HOST} postfix/${text}`).join('\n')}\n`
}

function writeHonest(log: Log, population: HonestPopulation, { perSecond, seed, now }: How): void {
  const random = seeded(seed ^ 0x3c6ef372)
  for (let rank = 0; rank < population.count; rank++) {
    const { addresses, name } = population.established(rank)
    const expected = population.shareOf(rank) * perSecond * (DAY_MS / 1000)
    const messages = Math.floor(expected) + (random() < expected % 1 ? 1 : 0)
    for (let i = 0; i < Math.min(messages, MOST * addresses.length); i++) {
      const at = Math.floor(now - between(random, 0, DAY_MS))
      const client = `mx.${name}.example[${toldAs(addresses[i % addresses.length] as string)}]`
      const mail = { client, from: `office@${name}.example`, pid: 1000 + below(random, 9000) }
      if (random() < UNKNOWN_SHARE.honest) log.unknownRecipient(at, mail)
      else log.message(at, mail)
    }
  }
}

function writeSpam(log: Log, spammers: Iterable<Spammer>, { seed, now }: How): void {
  const random = seeded(seed ^ 0x510e527f)
  for (const { ip, agoMs, drawn } of spammers) {
    if (agoMs >= DAY_MS) continue
    drawn.slice(0, MOST_SPAM).forEach(({ unknown, text }, i) => {
      const at = Math.floor(now - (i === 0 ? agoMs : between(random, agoMs, DAY_MS)))
      const mail = { client: `unknown[${toldAs(ip)}]`, from: 'win@prize.example', pid: 1000 + below(random, 9000) }
      for (let n = 0; n < unknown; n++) log.unknownRecipient(at, mail)
      if (text !== undefined) log.message(at, mail, text === 'taken')
    })
  }
}
