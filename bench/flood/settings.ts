// The contenders' settings, and what K does to them. A window is divided by K together with its number, so that the rate per
// second stays true. What no event ends but time (a TTL) is divided. Timeouts of a conversation stay: conversations last as
// long as in reality.

export type Contender = 'spillway' | 'blind' | 'nothing'
export const CONTENDERS: readonly Contender[] = ['spillway', 'blind', 'nothing']

/** The shipped defaults that K divides: number and window in seconds. A setting that comes later is one more row. */
const WINDOWS: Readonly<Record<string, { readonly max: number; readonly windowS: number }>> = {
  LIMIT_IP_CONNECTIONS: { max: 600, windowS: 60 },
  LIMIT_NET_CONNECTIONS: { max: 6000, windowS: 60 },
  LIMIT_IP_MESSAGES: { max: 1200, windowS: 60 },
  LIMIT_IP_RECIPIENTS: { max: 6000, windowS: 60 },
  LIMIT_IP_UNKNOWN_RECIPIENTS: { max: 20, windowS: 600 },
}

/** With K = 1 nothing is set: the shipped defaults hold. A number below 1 becomes 1, in a window as much longer. */
export function divided(k: number): Readonly<Record<string, string>> {
  if (k === 1) return {}
  return Object.fromEntries(
    Object.entries(WINDOWS).map(([name, { max, windowS }]) => {
      const least = Math.max(1, Math.floor(max / k))
      return [name, `${least}/${Math.max(100, Math.round((windowS * 1000 * least) / max))}ms`]
    }),
  )
}

/** Blind shedding: every limit off but one for all, at what the cluster can take. */
export function blind(capacity: number): Readonly<Record<string, string>> {
  const off = Object.fromEntries(Object.keys(WINDOWS).map((name) => [name, 'off']))
  return { ...off, LIMIT_IP_CONCURRENCY: 'off', LIMIT_GLOBAL_MESSAGES: `${Math.max(1, Math.round(capacity))}/1s` }
}
