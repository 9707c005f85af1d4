/** What an address is to the workers of one node together. */
import { expect, test } from '@jest/globals'
import type { AddressExplained } from '../../src/admin/explain.ts'
import { CrewExplain } from '../../src/cli/workers/crew-explain.ts'
import type { Hand } from '../../src/cli/workers/hand.ts'

const NOTHING = { good: 0, recentGood: 0, recentBad: 0 }

/** A worker to which the address has so many points, and that lets in such a share of its messages. */
function hand(points: number, share: number): Hand {
  const answer: AddressExplained = {
    ...{
      kind: 'address',
      verdict: `${share}`,
      change: [],
      address: '192.0.2.1',
      source: '192.0.2.1',
      net: '192.0.2.0/24',
    },
    standing: { is: 'new', by: 'nothing', because: 'nothing is known', own: NOTHING, net: NOTHING },
    lists: { allow: false, deny: false, relays: false, balancer: false },
    points: { now: points, banAt: 10 },
    now: { overloadLevel: 2, connect: { observed: [] }, rcpt: { observed: [], share } },
    ...{ limits: [], dns: {}, greetingTest: { passed: points > 0, delayMs: 0 } },
    ...{ refused: [], served: [], observed: [], lookedIn: { redis: 'none', note: '' } },
  }
  const others = { redis: 'none', nodes: [], silent: [], more: 0 }
  return { serves: true, isSilent: false, explain: async () => answer, others: async () => others } as unknown as Hand
}

test('the verdict is that of the worker that lets in least, and points are the most that one of them has', async () => {
  const crew = new CrewExplain(
    () => [hand(7, 0.5), hand(3, 0.1), hand(0, 1)],
    () => 'mx.test.example',
  )
  expect(await crew.ask('192.0.2.1')).toMatchObject({
    ...{ verdict: '0.1', points: { now: 7, banAt: 10 } },
    ...{ now: { rcpt: { share: 0.1 } }, greetingTest: { passed: true } },
  })
})
