// The scenarios of the flood lab: what comes, and what happens to the cluster. Rates are per wall second and stay true;
// spans in model time are divided by K.

/** Messages a second on an average day. */
export const HONEST_PER_SECOND = 13.9

export type BotKind = 'usual' | 'harvest' | 'backscatter' | 'heavy' | 'one network'

export interface Flood {
  /** Visits, as a multiple of the honest messages. */
  readonly times: number
  readonly rampS: number
  readonly kind: BotKind
  /** The share of bots that come back as mail servers do; the published one if absent. */
  readonly properly?: number
}

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
  /** A known sender that begins to send spam: so many visits a second, whatever the scale is. */
  readonly turnsBad?: { readonly atS: number; readonly perSecond: number }
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
}

const USUAL = { k: 60, seconds: 120, afterMin: 31, hasPast: true } as const
const flood = (kind: BotKind, times = 50) => ({ times, rampS: 60, kind })

export const SCENARIOS: readonly Scenario[] = [
  { ...USUAL, name: 'S1', title: 'ramp to 50 times in 60 s, held', seconds: 180, flood: flood('usual') },
  { ...USUAL, name: 'S2', title: 'directory harvest', flood: flood('harvest', 10) },
  { ...USUAL, name: 'S3', title: 'backscatter: null senders', flood: flood('backscatter') },
  { ...USUAL, name: 'S4', title: 'a few heavy addresses', flood: flood('heavy') },
  { ...USUAL, name: 'S5', title: 'one /24, every address new to it', flood: flood('one network') },
  { ...USUAL, name: 'S8', title: 'the cluster stalls for a minute', stall: { atS: 20, forS: 60 } },
  {
    ...USUAL,
    name: 'S9',
    title: 'the cluster is down for an hour, then back',
    afterMin: 120,
    down: { atS: 20, min: 60 },
  },
  { ...USUAL, name: 'S13', title: 'an honest burst of 20 times', seconds: 60, burst: { atS: 20, forS: 20, times: 20 } },
  { ...USUAL, name: 'S14', title: 'a known sender turns bad', seconds: 100, turnsBad: { atS: 10, perSecond: 100 } },
  {
    name: 'S16',
    title: 'an honest first day: empty history, default settings',
    k: 1,
    seconds: 610,
    afterMin: 0.5,
    hasPast: false,
    firstDay: { listRecipients: 20_000, perMessage: 50, overS: 600 },
  },
]
