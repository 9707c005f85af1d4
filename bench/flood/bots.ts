// The flood of the lab: bots with the habits of src/cli/senders/bot.ts, and a known sender that turns bad.

import { botAddress, type Habits, habitsOf, nextBot, USUAL } from '../../src/cli/senders/bot.ts'
import {
  harvestRecipients,
  type Letter,
  spamRecipients,
  spamSize,
  UNKNOWN_SHARE,
} from '../../src/cli/senders/letter.ts'
import { mta } from '../../src/cli/senders/mta.ts'
import { atLeastOnce, below, between } from '../../src/cli/senders/random.ts'
import type { Done, Visit } from '../../src/cli/senders/visit.ts'
import { accept, type Delivery } from './ledger.ts'
import { DOMAIN, HOSTNAME, TURNED } from './names.ts'
import { HEAVY_ADDRESSES, inOne48, inOneNetwork, populationOf, SNOWSHOE, turning } from './population.ts'
import { type BotKind, mailboxesOf, type Turning } from './scenarios.ts'
import type { World } from './world.ts'

const PATIENCE_MS = 60_000
/** A name as mail servers have. */
const nameOf = (ip: string): string => `mail.${ip.replaceAll(/[.:]+/g, '-')}.bots.example`
/** Messages of one connection, on average. */
const MESSAGES = 1.1
const STEADY: Habits = {
  ...{ pregreets: false, ignoresReplies: false, hangs: false, quits: true },
  ...{ comesBack: 'properly', helo: 'a name', tls: true },
}

interface Spam {
  readonly from: string
  readonly habits: Habits
  readonly letters: readonly Letter[]
  readonly deliveries: readonly (readonly (Delivery | undefined)[])[]
  readonly firstMs: number
  /** It is the spam that is counted apart. */
  readonly isTurned: boolean
}

/** The addresses that such spam comes from. A stranger's is of no bot. */
export function turnedOf(who: Turning = 'a known sender', world: Pick<World, 'seed' | 'scale'>): readonly string[] {
  if (who === 'a known /24') return SNOWSHOE
  return who === 'a stranger' ? ['127.251.0.1'] : turning(populationOf(world)).addresses.slice(0, 1)
}

export class Bots {
  readonly #world: World
  readonly #turned: readonly string[]
  #due = 0
  #turnedDue = 0
  #number = 0

  constructor(world: World) {
    this.#world = world
    this.#turned = turnedOf(world.scenario.turnsBad?.who, world)
  }

  /**
   * The flood is so many visits a second, whatever they are: one that a bot makes again takes the place of a new one, as a
   * botnet sends as fast as it can.
   * @param seconds since the last call @param honest messages a second, of which the flood is a multiple
   */
  tick(seconds: number, honest: number): void {
    const { flood, turnsBad } = this.#world.scenario
    const now = this.#world.now() / 1000
    if (flood !== undefined) {
      const perSecond = honest * flood.times * Math.min(1, Math.max(0, now - (flood.fromS ?? 0)) / flood.rampS)
      for (this.#due += perSecond * seconds; this.#due >= 1; this.#due--) {
        if (this.#world.hasRoom()) this.#come(flood.kind)
      }
    }
    if (turnsBad === undefined || now < turnsBad.atS) return
    for (this.#turnedDue += turnsBad.perSecond * seconds; this.#turnedDue >= 1; this.#turnedDue--) {
      const from = this.#turned[this.#number++ % this.#turned.length] as string
      if (this.#world.hasRoom()) this.#try(this.#write(from, STEADY, 'turned'), 1)
    }
  }

  #come(kind: BotKind): void {
    const { random, scale, seed, scenario } = this.#world
    const habits = (bot: number) => habitsOf(seed, bot, USUAL, scenario.flood?.properly)
    const number = this.#number++
    if (kind === 'heavy') {
      const bot = below(random, HEAVY_ADDRESSES)
      this.#try(this.#write(botAddress(bot), { ...habits(bot), hangs: false }, kind), 1)
    } else if (kind === 'one network' || kind === 'one /48') {
      const from = kind === 'one /48' ? inOne48(number) : inOneNetwork(number)
      this.#try(this.#write(from, habits(number), kind), 1)
    } else {
      const bot = nextBot(random, scale)
      this.#try(this.#write(botAddress(bot, scale), habits(bot), kind), 1)
    }
  }

  #write(from: string, habits: Habits, kind: BotKind | 'turned'): Spam {
    const { random, scenario } = this.#world
    const mailboxes = mailboxesOf(scenario)
    const now = this.#world.now()
    const unknown = kind === 'harvest' || kind === 'backscatter' ? UNKNOWN_SHARE.harvest : UNKNOWN_SHARE.spam
    const letters: Letter[] = []
    const deliveries: (Delivery | undefined)[][] = []
    for (let left = Math.min(20, atLeastOnce(random, MESSAGES)); left > 0; left--) {
      // What a stranger of S11 sends is good mail, so that nothing but its limit holds it.
      const isGood = kind === 'turned' && scenario.turnsBad?.who === 'a stranger'
      const name = this.#world.name(isGood ? 'h' : 's')
      const count = kind === 'harvest' ? harvestRecipients(random) : kind === 'backscatter' ? 1 : spamRecipients(random)
      const to = new Set<string>()
      while (to.size < count) {
        to.add(
          random() < unknown && !isGood
            ? `x${below(random, 1e6)}@${DOMAIN}`
            : `u${1 + below(random, mailboxes)}@${DOMAIN}`,
        )
      }
      const header = `From: <win@prize.example>\r\nX-Flood: ${name}\r\nSubject: win\r\n`
      const win = `win${below(random, 1e6)}@prize.example`
      const reversePath = kind === 'backscatter' ? '' : kind === 'turned' ? TURNED : win
      letters.push({ from: reversePath, to: [...to], header, bodySize: spamSize(random) })
      deliveries.push(
        [...to].map((each): Delivery | undefined =>
          each.startsWith('u') ? { id: `${name} ${each}`, class: 'spam', sentMs: now, tries: 0 } : undefined,
        ),
      )
    }
    for (const each of deliveries.flat()) if (each !== undefined) this.#world.deliveries.push(each)
    return { from, habits, letters, deliveries, firstMs: now, isTurned: kind === 'turned' }
  }

  #try(spam: Spam, tries: number): void {
    const { from, habits, letters, deliveries, firstMs } = spam
    const { k } = this.#world.scenario
    const beganMs = this.#world.now()
    for (const each of deliveries.flat()) if (each !== undefined) each.tries++
    const { pregreets, ignoresReplies, quits, hangs, helo, tls } = habits
    const names = { 'a name': nameOf(from), 'the server': HOSTNAME, unqualified: 'localhost' }
    const visit: Visit = {
      from,
      helo: helo === 'an address' ? this.#world.told(from) : names[helo],
      letters,
      pregreets,
      ignoresReplies,
      isHasty: ignoresReplies,
      quits,
      patienceMs: PATIENCE_MS,
      // Who ignores replies cannot wait for the one to STARTTLS.
      tls: tls && !ignoresReplies,
      ...(hangs ? { hangsAfter: 'helo' } : {}),
    }
    const port = this.#world.ports[this.#world.anyPort()] as number
    const kinds = ['bots', tries === 1 ? 'bots, first visit' : 'bots, again']
    const heard: Done = (answers) => {
      let isPutOff = false
      answers.forEach(({ codes, atMs, tookMs }, i) => {
        codes.forEach((code, r) => {
          const delivery = deliveries[i]?.[r]
          if (code >= 400 && code < 500) isPutOff = true
          if (delivery === undefined || code < 200 || code >= 400) return
          accept(delivery, { atMs: this.#world.since(atMs), tookMs, tries, beganMs, k })
        })
      })
      if (isPutOff) this.#again(spam, tries, firstMs)
    }
    this.#world.visit(port, visit, heard, spam.isTurned ? [] : kinds)
  }

  /** A bot sends the whole again. */
  #again(spam: Spam, tries: number, firstMs: number): void {
    const { comesBack } = spam.habits
    const retry = (): void => {
      if (spam.isTurned) this.#turnedDue--
      else this.#due--
      if (this.#world.hasRoom()) this.#try(spam, tries + 1)
    }
    if (comesBack === 'within 60 s' && tries === 1) {
      this.#world.after(between(this.#world.random, 1000, 60_000), retry)
    } else if (comesBack === 'properly') {
      const at = mta('postfix').retryAtMs(tries)
      if (at === undefined) return
      const wait = Math.max(0, at - (this.#world.now() - firstMs) * this.#world.scenario.k)
      this.#world.after(wait, retry)
    }
  }
}
