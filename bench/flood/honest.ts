// The honest senders of the lab: they write, try, come back as their mail servers do, and record what they heard.

import {
  FIRST_CONTACTS,
  HONEST_SENDERS,
  HonestPopulation,
  messagesAConnection,
  type Sender,
} from '../../src/cli/senders/honest.ts'
import { honestRecipients, honestSize, type Letter, UNKNOWN_SHARE } from '../../src/cli/senders/letter.ts'
import { mta } from '../../src/cli/senders/mta.ts'
import { below, between } from '../../src/cli/senders/random.ts'
import type { Answer } from '../../src/cli/senders/visit.ts'
import type { Class, Delivery } from './ledger.ts'
import { DOMAIN, MARK } from './names.ts'
import type { World } from './world.ts'

const PATIENCE_MS = 60_000
/** A retry is up to this much later than due (assumed): mail servers look at their queues now and then. */
const LATE = 0.1
/** Another try within this is the same try. */
const SAME_TRY_MS = 60_000
const HISTORY_AT_ONCE = 20
/** Mailboxes of the cluster. */
const MAILBOXES = 5000

/** One letter under way, and those of its deliveries that are not settled. */
interface Pending {
  readonly letter: Letter
  readonly name: string
  /** By recipient; undefined for one that does not exist. */
  readonly deliveries: ReadonlyMap<string, Delivery | undefined>
}

export class Honest {
  readonly #world: World
  readonly #population: HonestPopulation
  readonly #known = new Set<string>()
  readonly #provider: Sender
  #due = 0
  #burst = 0
  #listed = 0

  constructor(world: World) {
    this.#world = world
    const count = world.scenario.known > 0 ? world.scenario.known : HONEST_SENDERS
    this.#population = new HonestPopulation(world.seed, Math.max(20, Math.round(count * world.scale)))
    const addresses = Array.from({ length: 200 }, (_, i) => `2001:db8:64:1::${(i + 1).toString(16)}`)
    this.#provider = { name: 'provider', mta: mta('gmail'), addresses, isLarge: true }
  }

  /** Every established sender has one message accepted. */
  async history(isSent: boolean): Promise<void> {
    if (this.#world.scenario.known === 0) return
    let next = 0
    const one = async (): Promise<void> => {
      while (next < this.#population.count) {
        const sender = this.#population.established(next++)
        if (isSent) await new Promise<void>((resolve) => this.#try([this.#write(sender, 1)], sender, 1, 0, resolve))
        else this.#known.add(sender.name)
      }
    }
    await Promise.all(Array.from({ length: HISTORY_AT_ONCE }, one))
    // They are history, and count for nothing else.
    this.#world.deliveries.length = 0
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

  #anybody(): Sender {
    const { random, scenario } = this.#world
    if (scenario.firstDay !== undefined && random() < 1 / 3) return this.#provider
    return random() < FIRST_CONTACTS ? this.#population.stranger() : this.#population.next(random)
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
        const to = `u${below(random, MAILBOXES)}@${DOMAIN}`
        if (made.has(to)) continue
        const delivery: Delivery = { id: `${name} ${to}`, class: who, sentMs: now, tries: 0 }
        deliveries.push(delivery)
        made.set(to, delivery)
      }
    }
    const header = `From: <office@${sender.name}.example>\r\nX-Flood: ${name}\r\nSubject: note\r\n`
    const letter = { from: `office@${sender.name}.example`, to: [...made.keys()], header, bodySize: honestSize(random) }
    return { letter, name, deliveries: made }
  }

  #first(letters: readonly Pending[], sender: Sender): void {
    this.#try(letters, sender, 1, this.#world.now(), () => undefined)
  }

  /** One try: at a node, and where that puts it off at each of the others at once. */
  #try(letters: readonly Pending[], sender: Sender, tries: number, firstMs: number, done: () => void): void {
    for (const { deliveries } of letters) for (const each of deliveries.values()) if (each !== undefined) each.tries++
    const { ports } = this.#world
    const start = this.#world.anyPort()
    const from = sender.addresses[
      (tries - 1 + (sender === this.#provider ? below(this.#world.random, 200) : 0)) % sender.addresses.length
    ] as string
    const at = (left: readonly Pending[], node: number): void => {
      if (left.length === 0) {
        done()
        return
      }
      if (node === ports.length) {
        this.#later(left, sender, tries, firstMs)
        done()
        return
      }
      const began = this.#world.now()
      const port = ports[(start + node) % ports.length] as number
      const visit = {
        from,
        helo: `mx.${sender.name}.example`,
        letters: left.map(({ letter }) => letter),
        quits: this.#world.random() >= 0.02,
        patienceMs: PATIENCE_MS,
      }
      this.#world.visit(port, visit, (answers) => at(this.#settle(left, answers, { sender, began, firstMs }), node + 1))
    }
    at(letters, 0)
  }

  /** @returns what has to be tried again */
  #settle(
    letters: readonly Pending[],
    answers: readonly Answer[],
    { sender, began, firstMs }: { sender: Sender; began: number; firstMs: number },
  ): Pending[] {
    const now = this.#world.now()
    return letters.flatMap((pending, i) => {
      const { codes, text } = answers[i] as Answer
      const left = new Map<string, Delivery | undefined>()
      pending.letter.to.forEach((to, r) => {
        const code = codes[r] as number
        const delivery = pending.deliveries.get(to)
        if (code >= 200 && code < 400) {
          if (delivery === undefined) return
          delivery.acceptedMs = now
          delivery.tookMs = now - began
          delivery.atFirstTry = began - firstMs <= SAME_TRY_MS / this.#world.scenario.k
          this.#known.add(sender.name)
        } else if (code < 500) left.set(to, delivery)
        else if (delivery !== undefined && !text.includes(MARK)) delivery.refusedByUs = true
      })
      if (left.size === 0) return []
      return [{ ...pending, letter: { ...pending.letter, to: [...left.keys()] }, deliveries: left }]
    })
  }

  #later(letters: readonly Pending[], sender: Sender, tries: number, firstMs: number): void {
    const at = sender.mta.retryAtMs(tries)
    if (at === undefined) return
    const passed = (this.#world.now() - firstMs) * this.#world.scenario.k
    const wait = Math.max(0, at * between(this.#world.random, 1, 1 + LATE) - passed)
    this.#world.after(wait, () => this.#try(letters, sender, tries + 1, firstMs, () => undefined))
  }
}
