// Every scenario, shortened so that all of them take about 35 minutes: the mechanism shows, and figures are of fewer messages.

import type { Scenario } from './scenarios.ts'

const S1: Partial<Scenario> = { seconds: 45, afterMin: 31, flood: { times: 50, rampS: 15, kind: 'usual' } }
const FLOOD = { seconds: 22, afterMin: 31 }

/** By name, what differs from the full scenario. Spans that are given in parts are given whole. */
export const SHORT: Readonly<Record<string, Partial<Scenario>>> = {
  S1: { ...S1, beside: ['blind', 'calm'] },
  ...Object.fromEntries([50, 80, 95].map((percent) => [`S1-nets-${percent}`, { ...S1, beside: [] }])),
  S2: { ...FLOOD, flood: { times: 10, rampS: 5, kind: 'harvest' }, beside: [] },
  S3: { ...FLOOD, flood: { times: 50, rampS: 5, kind: 'backscatter' }, beside: [] },
  S4: { ...FLOOD, flood: { times: 50, rampS: 5, kind: 'heavy' }, beside: [] },
  S5: { ...FLOOD, flood: { times: 50, rampS: 5, kind: 'one network' }, beside: [] },
  'S5-48': { ...FLOOD, flood: { times: 50, rampS: 5, kind: 'one /48' }, beside: [] },
  S6: {
    seconds: 46,
    handshakes: [
      { addresses: 1, atS: 12, forS: 15 },
      { addresses: 1000, atS: 30, forS: 15 },
    ],
  },
  S7: { seconds: 80, slow: { atS: 10, clients: 5000, in: 'commands' } },
  'S7-data': { seconds: 50, slow: { atS: 10, clients: 2000, in: 'DATA' } },
  S8: { seconds: 40, afterMin: 15, stall: { atS: 10, forS: 20 } },
  S9: { seconds: 40, afterMin: 40, down: { atS: 12, min: 20 } },
  S10: {
    seconds: 52,
    afterMin: 35,
    slowMailbox: [
      { atS: 12, share: 0.03, dotMs: 10_000 },
      { atS: 30, share: 0.15, dotMs: 10_000 },
    ],
  },
  S11: {
    seconds: 62,
    afterMin: 1,
    redis: [
      { fault: 'frozen', atS: 12, forS: 12 },
      { fault: 'killed', atS: 29, forS: 12 },
      { fault: '200 ms slow', atS: 46, forS: 12 },
    ],
  },
  S12: { seconds: 36, afterMin: 10, kills: [8, 16, 24, 32] },
  S13: { seconds: 30, burst: { atS: 8, forS: 10, times: 20 } },
  S14: { seconds: 35, afterMin: 3 },
  S15: { seconds: 38, afterMin: 3, turnsBad: { atS: 8, perSecond: 100, who: 'a known /24' } },
  S16: { seconds: 40, afterMin: 0.1, firstDay: { listRecipients: 2000, perMessage: 50, overS: 35 } },
  S17: { seconds: 48, afterMin: 15, directory: { atS: 20, forS: 15 } },
  'S18-asked': { seconds: 45, afterMin: 1 },
  'S18-posted': { seconds: 45, afterMin: 1 },
  'S19-nothing': FLOOD,
  'S19-day': FLOOD,
  ...Object.fromEntries(['S20-0', 'S20-50', 'S20-80'].map((name) => [name, { seconds: 40 }])),
}
