// The scenarios of the flood lab: what comes, and what happens to the cluster. Rates are per wall second and stay true;
// spans in model time are divided by K.

import { EARLY_TESTS } from './early.ts'
import type { Contender } from './settings.ts'

/** Messages a second on an average day. */
export const HONEST_PER_SECOND = 13.9
/** How long the cluster takes for a message to the slow mailbox of S10. */
const SLOW_DOT_MS = 10_000

export type BotKind = 'usual' | 'harvest' | 'backscatter' | 'heavy' | 'one network' | 'one /48'

export interface Flood {
  /** Visits, as a multiple of the honest messages. */
  readonly times: number
  readonly rampS: number
  /** When it begins; at once by default. */
  readonly fromS?: number
  readonly kind: BotKind
  /** The share of bots that come back as mail servers do; the published one if absent. */
  readonly properly?: number
}

/** Wall seconds from the beginning of the load. */
export interface Span {
  readonly atS: number
  readonly forS: number
}

export type RedisFault = 'frozen' | 'killed' | '200 ms slow'
export type Turning = 'a known sender' | 'a stranger' | 'a known /24'

export interface Scenario {
  readonly name: string
  readonly title: string
  /** What retry times, and the windows and TTLs of Spillway, are divided by. */
  readonly k: number
  /** How long new honest mail comes, in wall seconds. */
  readonly seconds: number
  /** How long the flood goes on after that, and retries are waited for. In model minutes. */
  readonly afterMin: number
  /** Whether there are established senders with honest mail behind them, and Spillway has learnt of them; otherwise all are new. */
  readonly hasPast: boolean
  readonly flood?: Flood
  /**
   * The share of the flood's networks that have sent spam in the fortnight before (nets-past.ts), of which Spillway learns as it learns of the
   * established senders. None if absent.
   */
  readonly netsPast?: number
  /** What Spillway has learnt of them: a fortnight by default. Where it is given, addresses are told by PROXY headers. */
  readonly logs?: 'a fortnight' | 'a day' | 'none'
  /** Spam from one known sender, from one that was never seen, or from a whole /24 of known ones (snowshoe): so many visits a second, whatever the scale is. */
  readonly turnsBad?: { readonly atS: number; readonly perSecond: number; readonly who?: Turning }
  /**
   * The cluster neither answers nor takes anything for so many wall seconds: timeouts, levels and conversations are in wall time,
   * so that a stall that K has divided would be none to them.
   */
  readonly stall?: { readonly atS: number; readonly forS: number }
  /** The cluster is away: its port is closed for so many model minutes. */
  readonly down?: { readonly atS: number; readonly min: number }
  /** One known sender brings so many times the usual rate of all. */
  readonly burst?: { readonly atS: number; readonly forS: number; readonly times: number }
  /** A third of the mail comes from one IPv6 /64, and a list sends to so many recipients. Addresses are told by PROXY headers. */
  readonly firstDay?: { readonly listRecipients: number; readonly perMessage: number; readonly overS: number }
  /** So many addresses do nothing but TLS handshakes, as fast as they can. */
  readonly handshakes?: readonly (Span & { readonly addresses: number })[]
  /** So many clients that say nothing, or an octet a second, in a full-sized run. */
  readonly slow?: { readonly atS: number; readonly clients: number; readonly in: 'commands' | 'DATA' }
  /** From then on a mailbox gets this share of the mail, and the cluster takes `dotMs` for each message to it. */
  readonly slowMailbox?: readonly { readonly atS: number; readonly share: number; readonly dotMs: number }[]
  /** What happens to Redis. */
  readonly redis?: readonly (Span & { readonly fault: RedisFault })[]
  /** A node is killed at each of these seconds, and starts again. Honest senders rest in the middle of DATA. */
  readonly kills?: readonly number[]
  /** The cluster's directory is away: it answers 550 5.1.1 for everybody. */
  readonly directory?: Span
  /** The dot is quick, and a queue grows behind it, which is as full as it may be with what the cluster takes in `holdsS`. */
  readonly queue?: { readonly holdsS: number; readonly told: 'asked' | 'posted' }
  /** The tests of bench/flood/early.ts are on, and this share of the bots is on a DNS list. Addresses are told by PROXY headers. */
  readonly listed?: number
  /** Mailboxes of the cluster; 5000 by default. */
  readonly mailboxes?: number
  /** Further settings of Spillway, by name without prefix. */
  readonly settings?: Readonly<Record<string, string>>
  /** At least so many nodes. */
  readonly nodes?: number
  /** Beside Spillway; those of CONTENDERS for a flood, and otherwise none. */
  readonly beside?: readonly Contender[]
}

const USUAL = { k: 60, seconds: 120, afterMin: 31, hasPast: true } as const
const flood = (kind: BotKind, times = 50) => ({ times, rampS: 60, kind })

/**
 * Networks with a past, as the logs show them: of those that a fortnight shows, a day shows five in eight, because the others have sent nothing
 * that day.
 */
const A_FORTNIGHT = 0.8
const A_DAY = 0.5

/** The same with this share of networks with a past, and another name: S1-nets-80. */
export function withNetsPast(scenario: Scenario, share: number): Scenario {
  const percent = Number((100 * share).toFixed(1))
  const name = `${scenario.name.replace(/-nets-[\d.]+$/, '')}-nets-${percent}`
  const title = `${scenario.title.replace(/; [\d.]+ % of .*$/, '')}; ${percent} % of its networks have a past`
  return { ...scenario, name, title, netsPast: share }
}

const S1: Scenario = {
  ...USUAL,
  name: 'S1',
  title: 'ramp to 50 times in 60 s, held',
  seconds: 180,
  flood: flood('usual'),
}

export const SCENARIOS: readonly Scenario[] = [
  S1,
  ...[0.5, 0.8, 0.95].map((share) => withNetsPast(S1, share)),
  { ...USUAL, name: 'S2', title: 'directory harvest', flood: flood('harvest', 10) },
  { ...USUAL, name: 'S3', title: 'backscatter: null senders', flood: flood('backscatter') },
  { ...USUAL, name: 'S4', title: 'a few heavy addresses', flood: flood('heavy') },
  { ...USUAL, name: 'S5', title: 'one /24, every address new to it', flood: flood('one network') },
  // Addresses are told by PROXY headers.
  { ...USUAL, name: 'S5-48', title: 'one /48, every address new', flood: flood('one /48') },
  {
    ...USUAL,
    name: 'S6',
    title: 'nothing but TLS handshakes: one address, then 1,000',
    seconds: 100,
    afterMin: 3,
    handshakes: [
      { addresses: 1, atS: 30, forS: 30 },
      { addresses: 1000, atS: 65, forS: 30 },
    ],
  },
  {
    ...USUAL,
    name: 'S7',
    title: 'silent and one-octet-a-second clients',
    seconds: 150,
    afterMin: 3,
    slow: { atS: 30, clients: 5000, in: 'commands' },
  },
  {
    ...USUAL,
    name: 'S7-data',
    title: 'clients that type an octet a second in the middle of DATA',
    seconds: 150,
    afterMin: 3,
    slow: { atS: 30, clients: 2000, in: 'DATA' },
  },
  { ...USUAL, name: 'S8', title: 'the cluster stalls for a minute', stall: { atS: 20, forS: 60 } },
  {
    ...USUAL,
    name: 'S9',
    title: 'the cluster is down for an hour, then back',
    afterMin: 120,
    down: { atS: 20, min: 60 },
  },
  {
    ...USUAL,
    name: 'S10',
    title: 'one mailbox is slow at the dot: 3 % of the mail, then 15 %',
    seconds: 130,
    afterMin: 45,
    slowMailbox: [
      { atS: 30, share: 0.03, dotMs: SLOW_DOT_MS },
      { atS: 80, share: 0.15, dotMs: SLOW_DOT_MS },
    ],
  },
  {
    ...USUAL,
    name: 'S11',
    title: 'Redis frozen, killed, 200 ms slow, while a stranger sends three times what it may',
    nodes: 2,
    seconds: 125,
    afterMin: 10,
    settings: { LIMIT_IP_MESSAGES: '50/10s' },
    turnsBad: { atS: 5, perSecond: 15, who: 'a stranger' },
    redis: [
      { fault: 'frozen', atS: 30, forS: 20 },
      { fault: 'killed', atS: 60, forS: 20 },
      { fault: '200 ms slow', atS: 90, forS: 20 },
    ],
  },
  {
    ...USUAL,
    name: 'S12',
    title: 'a node is killed in the middle of DATA, again and again',
    nodes: 2,
    seconds: 90,
    kills: [20, 35, 50, 65, 80],
  },
  { ...USUAL, name: 'S13', title: 'an honest burst of 20 times', seconds: 60, burst: { atS: 20, forS: 20, times: 20 } },
  { ...USUAL, name: 'S14', title: 'a known sender turns bad', seconds: 100, turnsBad: { atS: 10, perSecond: 100 } },
  {
    ...USUAL,
    name: 'S15',
    title: 'snowshoe: a /24 of senders that behaved for a fortnight',
    seconds: 120,
    turnsBad: { atS: 20, perSecond: 100, who: 'a known /24' },
    beside: ['one sender'],
  },
  {
    name: 'S16',
    title: 'an honest first day: empty history, default settings',
    k: 1,
    seconds: 610,
    afterMin: 0.5,
    hasPast: false,
    firstDay: { listRecipients: 20_000, perMessage: 50, overS: 600 },
  },
  {
    ...USUAL,
    name: 'S17',
    title: "the cluster's directory fails: 550 5.1.1 for everybody",
    // Those that a cluster has accepted mail for within 30 days are nearly all; a run has only seconds for it.
    mailboxes: 100,
    seconds: 120,
    directory: { atS: 60, forS: 30 },
  },
  ...(['asked', 'posted'] as const).map(
    (told): Scenario => ({
      ...USUAL,
      name: `S18-${told}`,
      title: `the dot stays quick while the queue behind it grows (pressure ${told})`,
      flood: { times: 20, rampS: 10, kind: 'usual' },
      queue: { holdsS: 20, told },
      beside: [],
    }),
  ),
  ...(['none', 'a day'] as const).map(
    (logs): Scenario => ({
      ...USUAL,
      name: `S19-${logs === 'none' ? 'nothing' : 'day'}`,
      title: `cold start in the middle of the flood, with ${logs === 'none' ? 'nothing' : "a day of the cluster's logs"}`,
      logs,
      // As it is there from the start. The lab's own senders need some seconds until their code is compiled.
      flood: { times: 50, rampS: 8, kind: 'usual' },
      ...(logs === 'a day' && { netsPast: A_FORTNIGHT }),
      beside: [],
    }),
  ),
  ...[0, 50, 80].map(
    (percent): Scenario => ({
      ...USUAL,
      name: `S20-${percent}`,
      title: `the tests of how clients talk are on, and ${percent} % of the bots are on a DNS list`,
      flood: { times: 50, rampS: 10, kind: 'usual' },
      listed: percent / 100,
      netsPast: A_DAY,
      settings: EARLY_TESTS,
      beside: [],
    }),
  ),
]

/** Mailboxes of the cluster, beside the slow one. */
export const mailboxesOf = ({ mailboxes = 5000 }: Pick<Scenario, 'mailboxes'>): number => mailboxes
