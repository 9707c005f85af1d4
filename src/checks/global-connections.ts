/** How often everybody together may connect. What a narrower limit refused is not charged to it. */
import { type Check, within } from '../core/policy.ts'

export const globalConnections: Check<'connect'> = {
  name: 'global-connections',
  stage: 'connect',
  sparesTrusted: true,
  judge: ({ usage }) => within('global_connections', usage.global_connections),
}
