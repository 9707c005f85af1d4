/** What a session is made of, for tests of its own rules: without a mail server, and with everything it tells written down. */
import { policy } from '../../../src/checks/index.ts'
import { createRunner } from '../../../src/checks/runner.ts'
import type { Client } from '../../../src/core/client.ts'
import { SYSTEM_CLOCK } from '../../../src/core/clock.ts'
import { Current } from '../../../src/core/current.ts'
import type { Facts } from '../../../src/core/policy.ts'
import type { Outcomes } from '../../../src/front/outcome.ts'
import { createVoice } from '../../../src/front/reply.ts'
import type { ConversationParts } from '../../../src/front/session/context.ts'
import type { Limits } from '../../../src/state/limits.ts'
import type { Log } from '../../../src/telemetry/log.ts'
import { createMetrics } from '../../../src/telemetry/metrics.ts'
import { NO_GUESSES, NO_OVERLOAD } from '../../support/overload.ts'

export const client: Client = {
  id: 'TEST',
  ip: '192.0.2.1',
  port: 40_000,
  family: 4,
  source: '192.0.2.1',
  net: '192.0.2.0/24',
  local: { ip: '192.0.2.25', port: 25 },
  standing: 'new',
}

export const factsOf = (who: Client): Facts['connect'] => ({
  client: who,
  open: { source: 1, net: 1, strangers: 1, total: 1 },
  usage: {},
})

/** The relay must not be reached: whatever is asked of it, or told of the session, is in `told`. */
export function partsWithoutRelay(limits: Limits): { parts: ConversationParts; told: string[] } {
  const told: string[] = []
  const outcomes = new Proxy({} as Outcomes, { get: (_, name) => () => void told.push(String(name)) })
  const checks = createRunner({
    policy: policy({
      isDenied: () => false,
      banOf: () => undefined,
      denyStage: 'connect',
      concurrency: () => undefined,
      overloaded: () => undefined,
      tongue: 'reject',
      commandNewline: 'reject',
      pregreet: 'reject',
      pipelining: 'reject',
      helo: 'off',
      hostname: 'mx.test.example',
      domains: [],
      recipientsPerMessage: 100,
      unknownLately: () => undefined,
      dnsbl: { scoreOf: () => ({ score: 0, zones: [] }), isPressed: () => false, threshold: 1, rejects: false },
    }),
    mode: () => 'enforce',
    metrics: createMetrics({ version: 'test', upstreams: [] }),
    log: {} as Log,
  })
  const upstreams = new Proxy({} as { [name: string]: unknown }, {
    get: (_, name) => (name === 'offer' ? new Set<string>() : () => void told.push(`upstreams.${String(name)}`)),
  })
  const parts = {
    checks,
    limits,
    bans: { edition: 0 },
    overload: NO_OVERLOAD,
    guesses: NO_GUESSES,
    knownRecipients: { has: () => false },
    unknownRecipients: { get: () => undefined, heard: () => undefined, forget: () => undefined },
    heloCrowds: { met: () => false },
    unknownGuard: false,
    relay: { upstreams, settings: new Current({}), clock: SYSTEM_CLOCK },
    outcomes,
    voice: createVoice('mx.test.example', undefined),
    maxSize: () => undefined,
    sizeMode: 'enforce',
  } as unknown as ConversationParts
  return { parts, told }
}
