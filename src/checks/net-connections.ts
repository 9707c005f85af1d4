/** How often one neighbourhood (/24, /48) may connect: a flood that has a new address for every try has few of those. */
import { type Check, within } from '../core/policy.ts'

export const netConnections: Check<'connect'> = {
  name: 'net-connections',
  stage: 'connect',
  sparesTrusted: true,
  judge: ({ usage }) => within('net_connections', usage.net_connections),
}
