/**
 * Limits the connections that one source has open at once. They are not counted over time: closing one makes room for
 * another.
 */
import type { Client } from '../core/client.ts'
import { type Check, verdictOn } from '../core/policy.ts'

/** @param maximum called for each client; returns undefined if there is no limit */
export const ipConcurrency = (maximum: (client: Client) => number | undefined): Check<'connect'> => ({
  name: 'ip-concurrency',
  stage: 'connect',
  sparesTrusted: true,
  judge: ({ client, open }) => {
    const max = maximum(client)
    return verdictOn('ip_concurrency', max === undefined ? undefined : { used: open.source, max })
  },
})
