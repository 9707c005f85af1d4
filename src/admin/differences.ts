/** What is not the same on all nodes, in words: for the page, `spillway status` and `spillway doctor`. */
import type { Evidence } from './evidence.ts'
import type { Status } from './status.ts'

/** Of each limit: `SPILLWAY_LIMIT_IP_CONNECTIONS is 600/1m here, 300/1m at mx2.example.net`. */
export const limitsThatDiffer = ({ redis }: Pick<Status, 'redis'>): string[] =>
  (redis?.differences?.limits ?? []).map(
    ({ setting, here, others }) =>
      `${setting} is ${here} here, ${others.map(({ nodes, value }) => `${value} at ${nodes}`).join(', ')}`,
  )

/** Of nodes that have other settings, limits or not. What they are, is not told to others: some are secret. */
export const settingsThatDiffer = ({ redis }: Pick<Status, 'redis'>): string[] =>
  (redis?.differences?.settings ?? []).map(({ nodes, hash }) => `${nodes} (settings ${hash})`)

export const differs: Evidence = (status) => {
  const [first, ...others] = limitsThatDiffer(status)
  if (first === undefined) return undefined
  const more = others.length === 0 ? '' : `, and ${others.length} more`
  return {
    severity: 'warn',
    text: `Limits are not the same on all nodes: ${first}${more}; each node holds clients to its own`,
    do: 'give all nodes the same limits: spillway reload, on those that have the old ones',
  }
}
