// The honest senders of the lab: they write, try, come back as their mail servers do, and record what they heard.

import {
  connects,
  FIRST_CONTACTS,
  type HonestPopulation,
  messagesAConnection,
  type Sender,
} from '../../src/cli/senders/honest.ts'
import { honestRecipients, honestSize, type Letter, UNKNOWN_SHARE } from '../../src/cli/senders/letter.ts'
import { mta } from '../../src/cli/senders/mta.ts'
import { below, between } from '../../src/cli/senders/random.ts'
import type { Answer, Done } from '../../src/cli/senders/visit.ts'
import { hasName } from './early.ts'
import { accept, type Class, type Delivery } from './ledger.ts'
import { DOMAIN, MARK, SLOW_MAILBOX } from './names.ts'
import { type NetsPast, netsPastOf } from './nets-past.ts'
import { populationOf, turning } from './population.ts'
import { mailboxesOf } from './scenarios.ts'
import type { World } from './world.ts'

/** As Postfix waits for a reply to a command. */
const PATIENCE_MS = 300_000
/** A retry is up to this much later than due (assumed): mail servers look at their queues now and then. */
const LATE = 0.1
/** How long a sender rests in the middle of DATA where nodes are killed there (S12), in ms. */
const REST_MS = 500

/**
 * How long a slow sender thinks before each command, in ms, and which senders are slow where tests are on (S20). A large one is not: its twenty
 * messages would take longer than a run, and what is left of them at the end would count as never accepted.
 */
const THINKS_MS = 1500
const isThoughtful = ({ name, isLarge }: Sender): boolean => !isLarge && Number(name.slice(1)) % 20 === 7

/** Nineteen in twenty senders ask for STARTTLS. */
const usesTls = ({ name }: Sender): boolean => Number(name.slice(1)) % 20 !== 13

/** One letter under way, and those of its deliveries that are not settled. */
interface Pending {
  readonly letter: Letter
  readonly name: string
  /** By recipient; undefined for one that does not exist. */
  readonly deliveries: ReadonlyMap<string, Delivery | undefined>
}

/** Letters that one sender brings together, from the first try on. */
interface Course {
  readonly sender: Sender
  /** Which of its addresses the first try comes from; the next comes from the next. */
  readonly address: number
  readonly firstMs: number
}

export class Honest {
  readonly #world: World
  readonly #population: HonestPopulation
  readonly #turning: string | undefined
  /** By name. */
  readonly #known: Set<string>
  readonly #provider: Sender
  readonly #netsPast: NetsPast | undefined
  /** Names of first contacts that stand in a network with a past. */
  readonly #hosted = new Set<string>()
  #strangers = 0
  #due = 0
  #burst = 0
  #listed = 0

  constructor(world: World) {
    this.#world = world
    const population = populationOf(world)
    this.#population = population
    this.#netsPast = netsPastOf(world.scenario, world)
    this.#turning = world.scenario.turnsBad === undefined ? undefined : turning(population).name
    const ranks = Array.from({ length: world.scenario.hasPast ? population.count : 0 }, (_, rank) => rank)
    this.#known = new Set(ranks.map((rank) => population.established(rank).name))
    const addresses = Array.from({ length: 200 }, (_, i) => `2001:db8:64:1::${(i + 1).toString(16)}`)
    this.#provider = { name: 'provider', mta: mta('gmail'), addresses, isLarge: true }
  }

  /** @param seconds since the last call */
  tick(seconds: number, perSecond: number): void {
    const { scenario, now } = { scenario: this.#world.scenario, now: this.#world.now() / 1000 }
    for (this.#due += perSecond * seconds; this.#due > 0; ) this.#due -= this.#send(this.#anybody())
    const { burst, firstDay } = scenario
    if (burst !== undefined && now >= burst.atS && now < burst.atS + burst.forS) {
      const sender = this.#population.established(0)
      for (this.#burst += perSecond * burst.times * seconds; this.#burst > 0; ) this.#burst -= this.#send(sender)
    }
    if (firstDay === undefined) return
    const { listRecipients, perMessage, overS } = firstDay
    for (this.#listed += (listRecipients / overS) * seconds; this.#listed >= perMessage; this.#listed -= perMessage) {
      const sender = this.#population.established(30)
      this.#first([this.#write(sender, perMessage)], sender)
    }
  }

  /** Whoever connects next. Shares are of messages. */
  #anybody(): Sender {
    const { random } = this.#world
    for (;;) {
      const sender = this.#drawn()
      if (sender.name !== this.#turning && connects(random, sender)) return sender
    }
  }

  #drawn(): Sender {
    const { random, scenario } = this.#world
    if (scenario.firstDay !== undefined && random() < 1 / 3) return this.#provider
    return random() < FIRST_CONTACTS ? this.#stranger() : this.#population.next(random)
  }

  #stranger(): Sender {
    const stranger = this.#population.stranger()
    const housed = this.#netsPast?.housed(stranger, this.#strangers++) ?? stranger
    if (housed !== stranger) this.#hosted.add(housed.name)
    return housed
  }

  /** @returns how many messages it sends */
  #send(sender: Sender): number {
    const count = messagesAConnection(this.#world.random, sender)
    const { random } = this.#world
    const letters = Array.from({ length: count }, () => this.#write(sender, honestRecipients(random)))
    this.#first(letters, sender)
    return count
  }

  #write(sender: Sender, recipients: number): Pending {
    const { random, deliveries } = this.#world
    const now = this.#world.now()
    const who: Class = this.#known.has(sender.name) ? 'known' : 'first contact'
    const name = this.#world.name('h')
    const made = new Map<string, Delivery | undefined>()
    while (made.size < recipients) {
      if (random() < UNKNOWN_SHARE.honest && recipients < 5) made.set(`gone${below(random, 1e6)}@${DOMAIN}`, undefined)
      else {
        const to = this.#mailbox()
        if (made.has(to)) continue
        const delivery: Delivery = { id: `${name} ${to}`, class: who, sentMs: now, tries: 0 }
        if (this.#hosted.has(sender.name)) delivery.isHosted = true
        deliveries.push(delivery)
        made.set(to, delivery)
      }
    }
    const header = `From: <office@${sender.name}.example>\r\nX-Flood: ${name}\r\nSubject: note\r\n`
    const letter = { from: `office@${sender.name}.example`, to: [...made.keys()], header, bodySize: honestSize(random) }
    return { letter, name, deliveries: made }
  }

  #mailbox(): string {
    const { random, scenario } = this.#world
    const now = this.#world.now()
    const slow = scenario.slowMailbox?.findLast(({ atS }) => now >= atS * 1000)
    if (slow !== undefined && random() < slow.share) return SLOW_MAILBOX
    return `u${1 + below(random, mailboxesOf(scenario))}@${DOMAIN}`
  }

  #first(letters: readonly Pending[], sender: Sender): void {
    const address = below(this.#world.random, sender.addresses.length)
    this.#try(letters, { sender, address, firstMs: this.#world.now() }, 1)
  }

  /** One try: at a node, and where that puts it off at each of the others at once. */
  #try(letters: readonly Pending[], course: Course, tries: number): void {
    for (const { deliveries } of letters)
      for (const each of deliveries.values()) if (each !== undefined) this.#tried(each)
    const { ports, scenario } = this.#world
    const start = this.#world.anyPort()
    const { sender, address } = course
    const from = sender.addresses[(address + tries - 1) % sender.addresses.length] as string
    const isSlow = scenario.listed !== undefined && isThoughtful(sender)
    const kinds = this.#kinds(sender, isSlow)
    const at = (left: readonly Pending[], node: number): void => {
      if (left.length === 0) return
      if (node === ports.length) {
        this.#later(left, course, tries)
        return
      }
      const beganMs = this.#world.now()
      const port = ports[(start + node) % ports.length] as number
      const visit = {
        from,
        helo: `mx.${sender.name}.example`,
        letters: left.map(({ letter }) => letter),
        quits: this.#world.random() >= 0.02,
        patienceMs: PATIENCE_MS,
        tls: usesTls(sender),
        ...(scenario.kills !== undefined && { restMs: REST_MS }),
        ...(isSlow && { thinksMs: THINKS_MS }),
      }
      const heard: Done = (answers) => at(this.#settle(left, answers, { name: sender.name, beganMs, tries }), node + 1)
      this.#world.visit(port, visit, heard, kinds)
    }
    at(letters, 0)
  }

  /** What a sender is counted as (early.ts). */
  #kinds({ name, mta, isLarge }: Sender, isSlow: boolean): readonly string[] {
    return [
      'honest',
      `honest: ${mta.name}`,
      ...(this.#known.has(name) ? [] : ['honest: first contact']),
      ...(mta.addresses > 1 ? ['honest: a provider with changing addresses'] : []),
      ...(isLarge ? ['honest: large'] : []),
      ...(isSlow ? ['honest: slow but correct'] : []),
      ...(hasName(name) ? [] : ['honest: a host with no PTR']),
    ]
  }

  #tried(delivery: Delivery): void {
    delivery.tries++
    delivery.lastTriedMs = this.#world.now()
  }

  /** @returns what has to be tried again */
  #settle(
    letters: readonly Pending[],
    answers: readonly Answer[],
    { name, beganMs, tries }: { name: string; beganMs: number; tries: number },
  ): Pending[] {
    const { k } = this.#world.scenario
    return letters.flatMap((pending, i) => {
      const { codes, texts, atMs, tookMs, dotAtMs } = answers[i] as Answer
      const left = new Map<string, Delivery | undefined>()
      pending.letter.to.forEach((to, r) => {
        const code = codes[r] as number
        const isOurs = !(texts[r] as string).includes(MARK)
        const delivery = pending.deliveries.get(to)
        if (code >= 200 && code < 400) {
          if (delivery === undefined) return
          const dotMs = atMs - (dotAtMs ?? atMs)
          accept(delivery, { atMs: this.#world.since(atMs), tookMs, dotMs, tries, beganMs, k })
          this.#known.add(name)
        } else if (code < 500) {
          left.set(to, delivery)
          if (delivery !== undefined && code === 0 && dotAtMs !== undefined) delivery.isCutPastDot = true
          if (delivery !== undefined && isOurs && code >= 400) delivery.putOffByUs = true
        } else if (delivery !== undefined) {
          if (isOurs) delivery.refusedByUs = true
          else delivery.refusedMs = this.#world.since(atMs)
        }
      })
      if (left.size === 0) return []
      return [{ ...pending, letter: { ...pending.letter, to: [...left.keys()] }, deliveries: left }]
    })
  }

  #later(letters: readonly Pending[], course: Course, tries: number): void {
    const at = course.sender.mta.retryAtMs(tries)
    if (at === undefined) return
    const passed = (this.#world.now() - course.firstMs) * this.#world.scenario.k
    const wait = Math.max(0, at * between(this.#world.random, 1, 1 + LATE) - passed)
    this.#world.after(wait, () => this.#try(letters, course, tries + 1))
  }
}
