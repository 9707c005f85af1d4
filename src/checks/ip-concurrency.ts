/** Connections one source may have open at once. They are held, not counted over time: closing one makes room. */
import { type Check, within } from '../core/policy.ts'

export const ipConcurrency = (max: number | undefined): Check<'connect'> => ({
  name: 'ip-concurrency',
  stage: 'connect',
  sparesTrusted: true,
  judge: ({ open }) => within('ip_concurrency', max === undefined ? undefined : { used: open.source, max }),
})
