/** How often one source may connect. */
import { type Check, within } from '../core/policy.ts'

export const ipConnections: Check<'connect'> = {
  name: 'ip-connections',
  stage: 'connect',
  sparesTrusted: true,
  judge: ({ usage }) => within('ip_connections', usage.ip_connections),
}
