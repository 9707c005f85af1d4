/** Which lines of the log are written at once, and what is told of who was refused. */
import { expect, test } from '@jest/globals'
import type { Client } from '../../src/core/client.ts'
import { refusalAt } from '../../src/core/policy.ts'
import { type OutcomeOptions, Outcomes } from '../../src/front/outcome.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'

const CLIENT = { id: '3MFK2D0R9A0', ip: '192.0.2.1', family: 4, standing: 'new' } as unknown as Client

test.each(['accepted', 'deferred', 'unknown'] as const)('a session with a message that is %s', (result) => {
  const did: string[] = []
  const log = { info: () => did.push('line'), flush: () => did.push('flush') } as unknown as Log
  const metrics = createMetrics({ version: 'x', upstreams: [] })
  const clock = { elapsed: () => 0 }
  const outcomes = new Outcomes({
    metrics,
    log,
    logSample: () => 1,
    localParts: () => false,
    hmacKey: () => undefined,
    clock,
    history: { learn: () => undefined },
    domains: { learn: () => undefined },
    relayed: { add: () => undefined },
    traffic: { ended: () => undefined, recipient: () => undefined, knownRefused: () => undefined },
    tally: { ended: () => undefined },
    committed: () => undefined,
    served: () => undefined,
  })
  const record = outcomes.begin(CLIENT)
  const told = { result, reply: '2.0.0 Ok', size: 1, ms: 1, left: false } as unknown as Parameters<
    Outcomes['message']
  >[2]
  outcomes.message(record, CLIENT, told, 'nothing')
  outcomes.tell(record, CLIENT)
  // What a killed process had not written yet is lost, and of such a message nothing else tells.
  expect(did).toEqual(result === 'unknown' ? ['line', 'flush'] : ['line'])
})

test('a session that hears several times that it is denied has heard it once; one of a balancer has not', () => {
  const heard: string[] = []
  const nothing = () => undefined
  const outcomes = new Outcomes({
    metrics: createMetrics({ version: 'x', upstreams: [] }),
    clock: { elapsed: () => 0 },
    turnedAway: ({ id }: Client) => heard.push(id),
  } as unknown as OutcomeOptions)
  for (const isDirect of [true, false]) {
    const client = { ...CLIENT, id: `direct: ${isDirect}`, isDirect, lookAgain: nothing }
    const record = outcomes.begin(client)
    for (let i = 0; i < 3; i++) outcomes.refused(record, client, 'rcpt', refusalAt('rcpt', 'denied'))
  }
  expect(heard).toEqual(['direct: true'])
})
