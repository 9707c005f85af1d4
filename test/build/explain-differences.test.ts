/** What is said of nodes that differ about an address. */
import { expect, test } from '@jest/globals'
import type { NodeExplained } from '../../src/admin/explain.ts'
import { differencesOf } from '../../src/build/explain-differences.ts'

const LISTS = { allow: false, deny: false, relays: false, balancer: false }
const node = (name: string, more: Partial<NodeExplained> = {}): NodeExplained => ({
  ...{ node: name, answered: true, here: false, verdict: '', lists: LISTS, points: { now: 0, banAt: 10 } },
  standing: { is: 'new', by: 'nothing', because: 'nothing is known', own: { good: 0, recentGood: 0, recentBad: 0 } },
  now: { overloadLevel: 0, connect: { observed: [] }, rcpt: { observed: [], share: 1 } },
  ...{ limits: [], dns: {}, greetingTest: { passed: false, delayMs: 0 }, ...more },
})
const limits = (used: number, max: number): NodeExplained['limits'] => [
  { limit: 'ip_connections', setting: 'SPILLWAY_LIMIT_IP_CONNECTIONS', per: 'source', used, max, windowSeconds: 60 },
]
const refused = (reason: 'banned' | 'ip_connections', reply: string): NodeExplained['now'] => ({
  ...{ overloadLevel: 1, connect: { reason, reply, observed: [] }, rcpt: { observed: [], share: 1 } },
})
const ban = {
  ...({ network: '192.0.2.1/32', by: 'automatic', reason: 'tongue', before: 0 } as const),
  ...{ since: '2026-11-28T10:00:00.000Z', until: '2026-11-28T11:00:00.000Z' },
}

test.each<[string, readonly Partial<NodeExplained>[], readonly string[]]>([
  ['nothing', [{}, {}, {}], []],
  ['counts that agree within a tenth', [{ limits: limits(100, 600) }, { limits: limits(159, 600) }], []],
  [
    'counts that do not',
    [{ limits: limits(100, 600) }, { limits: limits(161, 600) }],
    ['ip_connections: 100 of 600 used at mx0; 161 of 600 used at mx1.'],
  ],
  [
    'a limit that is lower where half of it is used',
    [{ limits: limits(30, 600) }, { limits: limits(30, 60) }],
    ['ip_connections: 30 of 600 used at mx0; 30 of 60 used at mx1.'],
  ],
  [
    'limits that matter nowhere yet',
    [{ limits: limits(29, 600) }, { limits: limits(29, 60) }],
    ['Not the same maximum at all nodes: ip_connections.'],
  ],
  [
    'a limit that only one has',
    [{ limits: limits(1, 600) }, {}],
    ['Not the same maximum at all nodes: ip_connections.'],
  ],
  ['points of one moment or the next', [{ points: { now: 4.6, banAt: 10 } }, { points: { now: 4.4, banAt: 10 } }], []],
  [
    'points',
    [{ points: { now: 0, banAt: 10 } }, { points: { now: 5, banAt: 10 } }],
    ['Points towards a ban: 0 of 10 at mx0; 5 of 10 at mx1.'],
  ],
  [
    'a ban, and a reply for good',
    [{}, { now: refused('banned', '554 5.7.1 no'), ban }, {}],
    [
      'mx1 would refuse it when it connects (banned), at level 1; mx0, mx2 would let it in, at level 0.',
      'At mx0, mx2 it is not banned; at mx1 192.0.2.1/32 is banned by automatic (tongue) until 2026-11-28 11:00:00Z.',
      'The level of overload is 0 at mx0, mx2; the level of overload is 1 at mx1.',
    ],
  ],
  [
    'a limit that is used up',
    [{}, { now: { ...refused('ip_connections', '421 4.7.28 no'), overloadLevel: 0 }, limits: limits(30, 30) }],
    [
      'mx1 would put it off when it connects (ip_connections), 30 of 30 used, at level 0; mx0 would let it in, at level 0.',
      'ip_connections: not charged at mx0; 30 of 30 used at mx1.',
    ],
  ],
  [
    'lists, and what is allowed',
    [{}, { lists: { ...LISTS, allow: true, relays: true } }, { allowed: { ...ban, by: 'operator', reason: 'ours' } }],
    [
      'At mx0, mx1 it is not allowed at run time; at mx2 192.0.2.1/32 is allowed (ours) until 2026-11-28 11:00:00Z.',
      'At mx0, mx2 it is on no list; at mx1 it is on SPILLWAY_ALLOW, SPILLWAY_RELAYS.',
    ],
  ],
  [
    'a standing of one among many',
    [
      { standing: { ...node('').standing, is: 'known', by: 'own_good_mail', because: 'it has sent good mail' } },
      ...Array.from({ length: 6 }, () => ({})),
    ],
    [
      'To mx0 it is known, because it has sent good mail; to mx1, mx2, mx3, mx4 and 2 more it is new, because nothing is known.',
    ],
  ],
])('%s', (_, nodes, said) => {
  expect(
    differencesOf(
      nodes.map((more, i) => node(`mx${i}`, more)),
      [],
    ),
  ).toEqual(said)
})
