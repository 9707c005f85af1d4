// Networks with a past. Spam comes from long-lived networks whose addresses are seen once (S. Venkataraman et al., "Exploiting Network
// Structure for Proactive Spam Mitigation", USENIX Security 2007): so a share of the flood's /24s has sent spam in the fortnight before it,
// mostly from other addresses. The cluster's log has that spam as it has all mail: what was refused, and what was taken for good. An
// operator's `spillway learn` is told of both. Nothing else is told, and no word says that a network is bad.
//
// Some honest servers stand in such networks: those of customers of the same hoster. A share of the first contacts comes from there, so that
// whoever judges by networks alone pays for it.
//
// All of it follows from the seed. A greater share of networks has those of a smaller one.

import { addressIn, BOTS_A_NET, hostsOfBots, netsOfBots, visitsADay } from '../../src/cli/senders/bot.ts'
import type { Sender } from '../../src/cli/senders/honest.ts'
import { spamRecipients, UNKNOWN_SHARE } from '../../src/cli/senders/letter.ts'
import { atLeastOnce, below, between, pick, type Random, seeded } from '../../src/cli/senders/random.ts'
import { RECOGNIZED } from './names.ts'
import { HEAVY_ADDRESSES, ONE_NETWORK } from './population.ts'
import type { BotKind, Scenario } from './scenarios.ts'

/** How far the past goes back (assumed). */
const DAYS = 14
const DAY_MS = 86_400_000
/** The ordinary spam of a day, as a part of the flood of 50 times: five times the honest mail, if all networks had a past (assumed). */
const OF_THE_FLOOD = 0.1
/** Addresses of a network with a past that have sent something in the fortnight, on average; each on one day. */
const ADDRESSES = DAYS * BOTS_A_NET * OF_THE_FLOOD
const HOSTS = 254
/** The share of these addresses that send in the run as well (assumed). */
const SAME = 0.1
/** The share of first contacts that stand in such networks (assumed). */
const HOSTED = 0.1
/** Of more messages of one address the shares are those of the model. */
const DRAWN = 40

/** What a cluster made of a message: how many of its recipients it did not know, and whether it took the rest. */
export interface PastSpam {
  readonly unknown: number
  /** Absent: no recipient was left. */
  readonly text?: 'taken' | 'refused'
}

/** An address that has sent spam. */
export interface Spammer {
  readonly ip: string
  /** How long before the run its last visit was, in ms. All of them came within a day. */
  readonly agoMs: number
  readonly messages: number
  /** Of the first of them, up to DRAWN. */
  readonly drawn: readonly PastSpam[]
}

export interface NetsPastOptions {
  readonly scale: number
  readonly seed: number
  /** The share of the flood's networks that has a past, from 0 to 1. */
  readonly share: number
  readonly kind?: BotKind | undefined
}

/** The numbers of the networks that a flood comes from. */
function netsOf(kind: BotKind, scale: number): readonly number[] {
  if (kind === 'one network') return [ONE_NETWORK]
  return Array.from({ length: kind === 'heavy' ? HEAVY_ADDRESSES : netsOfBots(scale) }, (_, net) => net)
}

function draw(random: Random): PastSpam {
  const recipients = spamRecipients(random)
  let unknown = 0
  for (let i = 0; i < recipients; i++) if (random() < UNKNOWN_SHARE.spam) unknown++
  if (unknown === recipients) return { unknown }
  return { unknown, text: random() < RECOGNIZED ? 'refused' : 'taken' }
}

/** As a log counts it: messages taken, and refusals of recipients and of messages. */
export function counted({ messages, drawn }: Pick<Spammer, 'messages' | 'drawn'>): {
  readonly accepted: number
  readonly rejected: number
} {
  let accepted = 0
  let rejected = 0
  for (const { unknown, text } of drawn) {
    rejected += unknown + (text === 'refused' ? 1 : 0)
    if (text === 'taken') accepted++
  }
  const times = messages / Math.max(1, drawn.length)
  return { accepted: Math.round(accepted * times), rejected: Math.round(rejected * times) }
}

/** Of a scenario; undefined where no network has a past. */
export const netsPastOf = (
  { netsPast, flood }: Pick<Scenario, 'netsPast' | 'flood'>,
  { scale, seed }: { readonly scale: number; readonly seed: number },
): NetsPast | undefined => (netsPast ? new NetsPast({ scale, seed, share: netsPast, kind: flood?.kind }) : undefined)

export class NetsPast {
  readonly share: number
  /** How many networks the flood comes from. */
  readonly all: number
  /** The numbers of those with a past. */
  readonly nets: readonly number[]
  readonly #seed: number
  readonly #scale: number
  readonly #kind: BotKind

  constructor({ scale, seed, share, kind = 'usual' }: NetsPastOptions) {
    this.share = share
    this.#seed = seed
    this.#kind = kind
    // A few heavy addresses are the same at every scale.
    this.#scale = kind === 'heavy' ? 1 : scale
    const all = netsOf(kind, scale)
    this.all = all.length
    this.nets = all.filter((net) => this.#randomOf(net)() < share)
  }

  /** Those that have sent spam, network by network. */
  *spammers(): Generator<Spammer> {
    for (const net of this.nets) yield* this.#spammersOf(net)
  }

  /**
   * The same first contact, or the same at a hoster's: in a network with a past, at addresses that no bot has had.
   * @param number of the first contact, from 0 on
   */
  housed(sender: Sender, number: number): Sender {
    const random = seeded(Math.imul(number + 1, 0x27d4eb2f) ^ this.#seed)
    if (this.nets.length === 0 || random() >= HOSTED) return sender
    const net = pick(random, this.nets)
    const taken = new Set(this.#hostsOf(net))
    for (const { ip } of this.#spammersOf(net)) taken.add(Number(ip.slice(ip.lastIndexOf('.') + 1)))
    const free = Array.from({ length: HOSTS }, (_, i) => HOSTS - i).filter((host) => !taken.has(host))
    if (free.length < sender.addresses.length) return sender
    return { ...sender, addresses: sender.addresses.map((_, i) => addressIn(net, free[i] as number)) }
  }

  #hostsOf(net: number): ReadonlySet<number> {
    if (this.#kind === 'one network') return new Set(Array.from({ length: HOSTS }, (_, i) => i + 1))
    return hostsOfBots(net, this.#scale)
  }

  *#spammersOf(net: number): Generator<Spammer> {
    const random = this.#randomOf(net)
    // Whether it has a past at all.
    random()
    const ofRun = this.#hostsOf(net)
    const same = [...ofRun]
    const others = Array.from({ length: HOSTS }, (_, i) => i + 1).filter((host) => !ofRun.has(host))
    for (let left = atLeastOnce(random, ADDRESSES); left > 0; left--) {
      const from = (random() < SAME && same.length > 0) || others.length === 0 ? same : others
      const [host] = from.splice(below(random, from.length), 1)
      if (host === undefined) return
      const messages = visitsADay(random)
      yield {
        ip: addressIn(net, host),
        agoMs: between(random, 0, DAYS * DAY_MS),
        messages,
        drawn: Array.from({ length: Math.min(messages, DRAWN) }, () => draw(random)),
      }
    }
  }

  #randomOf(net: number): Random {
    return seeded(Math.imul(net + 1, 0x9e3779b1) ^ this.#seed ^ 0x165667b1)
  }
}
