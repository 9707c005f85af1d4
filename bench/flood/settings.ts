// The contenders' settings, and what K does to Spillway's limits.
//
// K divides the time between tries, and nothing else of what senders do: rates, and what one visit brings, stay true. So a
// limit must go on to mean the same rate and the same burst, and only the time after which it forgives is divided. Its number
// and its window are divided together, by K or by as much of it as leaves a number of at least LEAST: a tenth of that, which
// is what strangers keep under pressure, is still what one visit brings. A window is whole seconds, as limits in Redis are. A
// limit that is small already, as 20 unknown recipients in ten minutes, stays as it is shipped: it forgives later than it
// should by the lab's clock, which is to the disadvantage of Spillway only.

export type Contender = 'spillway' | 'blind' | 'nothing' | 'calm'
/** Beside Spillway: one limit for all, nothing at all, and Spillway without the flood. */
export const CONTENDERS: readonly Contender[] = ['spillway', 'blind', 'nothing', 'calm']

interface Window {
  readonly max: number
  readonly windowS: number
}

/** The shipped defaults; a test compares them with src/config/settings.ts. */
export const SHIPPED: Readonly<Record<string, Window>> = {
  LIMIT_IP_CONNECTIONS: { max: 600, windowS: 60 },
  LIMIT_NET_CONNECTIONS: { max: 6000, windowS: 60 },
  LIMIT_IP_MESSAGES: { max: 1200, windowS: 60 },
  LIMIT_IP_RECIPIENTS: { max: 6000, windowS: 60 },
  LIMIT_IP_UNKNOWN_RECIPIENTS: { max: 20, windowS: 600 },
}
/** Messages a second from one address that is neither known nor under pressure. */
export const STRANGERS_MESSAGES = 1200 / 60

const LEAST = 200

/** @returns the limit with its number and its window divided by the same whole number, at most `k` */
function dividedBy(k: number, { max, windowS }: Window): Window {
  for (let by = Math.floor(k); by > 1; by--) {
    if (max % by === 0 && windowS % by === 0 && max / by >= LEAST) return { max: max / by, windowS: windowS / by }
  }
  return { max, windowS }
}

/** Settings that differ from the shipped ones. With K = 1 there are none. */
export function divided(k: number): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(SHIPPED).flatMap(([name, shipped]) => {
      const { max, windowS } = dividedBy(k, shipped)
      return windowS === shipped.windowS ? [] : [[name, `${max}/${windowS}s`]]
    }),
  )
}

/** Blind shedding: everything off but one limit for all, at what the cluster can take. */
export function blind(capacity: number): Readonly<Record<string, string>> {
  return {
    ...Object.fromEntries(Object.keys(SHIPPED).map((name) => [name, 'off'])),
    LIMIT_IP_CONCURRENCY: 'off',
    OVERLOAD: 'off',
    UNKNOWN_GUARD: 'off',
    LIMIT_GLOBAL_MESSAGES: `${Math.max(1, Math.round(capacity))}/1s`,
  }
}

/** What an operator sets for a cluster with so many places: as shipped, half of them, divided among the nodes. */
export const connections = (places: number, nodes: number): string =>
  `${Math.max(2, Math.floor(places / 2 / Math.max(1, nodes)))}`
