// Every scenario, shortened so that all of them fit into half an hour: the mechanism shows, and figures are of fewer messages.

import type { Scenario } from './scenarios.ts'

const FLOOD = { seconds: 30, afterMin: 31 }

/** By name, what differs from the full scenario. Spans that are given in parts are given whole. */
export const SHORT: Readonly<Record<string, Partial<Scenario>>> = {
  S1: { seconds: 50, afterMin: 31, flood: { times: 50, rampS: 15, kind: 'usual' }, beside: ['blind', 'calm'] },
  S2: { ...FLOOD, flood: { times: 10, rampS: 5, kind: 'harvest' }, beside: [] },
  S3: { ...FLOOD, flood: { times: 50, rampS: 5, kind: 'backscatter' }, beside: [] },
  S4: { ...FLOOD, flood: { times: 50, rampS: 5, kind: 'heavy' }, beside: [] },
  S5: { ...FLOOD, flood: { times: 50, rampS: 5, kind: 'one network' }, beside: [] },
  S6: {
    seconds: 55,
    handshakes: [
      { addresses: 1, atS: 15, forS: 18 },
      { addresses: 1000, atS: 36, forS: 18 },
    ],
  },
  S7: { seconds: 80, slow: { atS: 12, clients: 5000, in: 'commands' } },
  'S7-data': { seconds: 60, slow: { atS: 12, clients: 2000, in: 'DATA' } },
  S8: { seconds: 45, afterMin: 20, stall: { atS: 10, forS: 20 } },
  S9: { seconds: 45, afterMin: 45, down: { atS: 15, min: 20 } },
  S10: {
    seconds: 75,
    afterMin: 40,
    slowMailbox: [
      { atS: 15, share: 0.03, dotMs: 10_000 },
      { atS: 45, share: 0.15, dotMs: 10_000 },
    ],
  },
  S11: {
    seconds: 75,
    afterMin: 3,
    redis: [
      { fault: 'frozen', atS: 15, forS: 14 },
      { fault: 'killed', atS: 35, forS: 14 },
      { fault: '200 ms slow', atS: 55, forS: 14 },
    ],
  },
  S12: { seconds: 45, afterMin: 15, kills: [8, 18, 28, 38] },
  S13: { seconds: 35, burst: { atS: 10, forS: 10, times: 20 } },
  S14: { seconds: 40, afterMin: 5 },
  S15: { seconds: 45, afterMin: 5, turnsBad: { atS: 8, perSecond: 100, who: 'a known /24' } },
  S16: { seconds: 40, afterMin: 0.1, firstDay: { listRecipients: 2000, perMessage: 50, overS: 35 } },
  S17: { seconds: 60, afterMin: 20, directory: { atS: 25, forS: 20 } },
  'S18-asked': { seconds: 55, afterMin: 1 },
  'S18-posted': { seconds: 55, afterMin: 1 },
  'S19-nothing': FLOOD,
  'S19-day': FLOOD,
}
