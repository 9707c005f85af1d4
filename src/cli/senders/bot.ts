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
}

export const USUAL: HabitShares = { pregreets: 0.15, ignoresReplies: 0.1, hangs: 0.03, quits: 0.4 }

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

/**
 * An address of 127.128.0.0/9 for each bot, 17 to a /24. @param scale that of nextBot: as fewer bots come, they are in fewer
 * networks, and as many of them in one
 */
export function botAddress(bot: number, scale = 1): string {
  const nets = Math.max(1, Math.round(NETS * Math.min(1, scale)))
  const net = bot % nets
  return `127.${128 + (net >>> 8)}.${net & 255}.${1 + (Math.floor(bot / nets) % 254)}`
}
