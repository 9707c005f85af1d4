/**
 * The habits of bots. A habit belongs to a bot, so it is drawn from the bot's number: the same bot behaves in the same way
 * whenever it comes. The shares are of published measurements or assumed; docs/flood.md says which.
 */
import { type Random, seeded, weighted } from './random.ts'

/** What a bot does after a 4yz: nothing, one more try within a minute, or what a mail server does. */
export type Return = 'never' | 'within 60 s' | 'properly'

export interface Habits {
  /** Speaks before it is greeted. */
  readonly pregreets: boolean
  /** Sends a whole message without waiting for replies: EHLO and MAIL in one piece, and then the rest. */
  readonly ignoresReplies: boolean
  /** Says nothing after EHLO, and stays. */
  readonly hangs: boolean
  readonly quits: boolean
  readonly comesBack: Return
  readonly helo: HeloHabit
  /** Asks for STARTTLS. */
  readonly tls: boolean
}

/** What a bot calls itself: a name as mail servers have, that of the server it speaks to, one without a dot, or a bare address. */
export type HeloHabit = 'a name' | 'the server' | 'unqualified' | 'an address'
/** Assumed. */
const HELOS = [
  { helo: 'a name', weight: 70 },
  { helo: 'the server', weight: 5 },
  { helo: 'unqualified', weight: 15 },
  { helo: 'an address', weight: 10 },
] as const

/** Shares of bots. */
export interface HabitShares {
  readonly pregreets: number
  readonly ignoresReplies: number
  readonly hangs: number
  readonly quits: number
  readonly tls: number
}

export const USUAL: HabitShares = { pregreets: 0.15, ignoresReplies: 0.1, hangs: 0.03, quits: 0.4, tls: 0.2 }

/** The share of bots that come back as a mail server does. Of the others, 36 in 67 never do. */
export const PROPERLY = 0.33

const returnsOf = (properly: number) =>
  [
    { comesBack: 'never', weight: (1 - properly) * 36 },
    { comesBack: 'within 60 s', weight: (1 - properly) * 31 },
    { comesBack: 'properly', weight: properly * 67 },
  ] as const

export function habitsOf(seed: number, bot: number, shares: HabitShares = USUAL, properly = PROPERLY): Habits {
  const random = seeded(Math.imul(bot + 1, 0x9e3779b1) ^ seed)
  return {
    pregreets: random() < shares.pregreets,
    ignoresReplies: random() < shares.ignoresReplies,
    hangs: random() < shares.hangs,
    quits: random() < shares.quits,
    comesBack: weighted(random, returnsOf(properly)).comesBack,
    helo: weighted(random, HELOS).helo,
    tls: random() < shares.tls,
  }
}

/**
 * A day's bots, by the number of visits that each makes. Seven in ten are seen once and 85 % fewer than ten times, so nearly
 * all visits are those of the rest, each of which comes hundreds of times a day: every few minutes, and never often enough to
 * stand out.
 */
const BOTS_A_DAY = [
  { first: 0, count: 350_000, weight: 350_000 },
  { first: 350_000, count: 75_000, weight: 375_000 },
  { first: 425_000, count: 75_000, weight: 60_000_000 - 725_000 },
] as const

/** The number of the bot whose visit is next. Of fewer visits a day, fewer bots: `scale` 0.1 has a tenth of both. */
export function nextBot(random: Random, scale = 1): number {
  const { first, count } = weighted(random, BOTS_A_DAY)
  return first + Math.floor(random() * Math.max(1, count * scale))
}

/** The numbers of all bots of a day. */
export function* botsOf(scale = 1): Generator<number> {
  for (const { first, count } of BOTS_A_DAY) {
    for (let i = 0; i < Math.max(1, Math.ceil(count * scale)); i++) yield first + i
  }
}

/** Networks (/24) of bots. */
const NETS = 30_000
const HOSTS = 254

/** How many networks the bots of a flood are in. @param scale that of nextBot: as fewer bots come, they are in fewer networks, and as many of them in one */
export const netsOfBots = (scale = 1): number => Math.max(1, Math.round(NETS * Math.min(1, scale)))

/** @param net the number of a network of bots, from 0 on @param host from 1 to 254 */
export const addressIn = (net: number, host: number): string => `127.${128 + (net >>> 8)}.${net & 255}.${host}`

const hostOf = (bot: number, nets: number): number => 1 + (Math.floor(bot / nets) % HOSTS)

/** An address of 127.128.0.0/9 for each bot, 17 to a /24. @param scale that of nextBot */
export function botAddress(bot: number, scale = 1): string {
  const nets = netsOfBots(scale)
  return addressIn(bot % nets, hostOf(bot, nets))
}

/** The hosts of one network that a day's bots have. @param net its number @param scale that of nextBot */
export function hostsOfBots(net: number, scale = 1): ReadonlySet<number> {
  const nets = netsOfBots(scale)
  const hosts = new Set<number>()
  for (const { first, count } of BOTS_A_DAY) {
    const end = first + Math.max(1, Math.ceil(count * scale))
    for (let bot = first + ((net - (first % nets) + nets) % nets); bot < end; bot += nets) hosts.add(hostOf(bot, nets))
  }
  return hosts
}

/** How many visits a bot makes in a day: the mean of its kind. */
export function visitsADay(random: Random): number {
  const kind = weighted(
    random,
    BOTS_A_DAY.map(({ count, weight: visits }) => ({ weight: count, visits: visits / count })),
  )
  return Math.round(kind.visits)
}

/** How many bots a network has in a day, on average. */
export const BOTS_A_NET = BOTS_A_DAY.reduce((sum, { count }) => sum + count, 0) / NETS
