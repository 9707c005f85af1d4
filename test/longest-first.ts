/**
 * The order of test files. Jest knows how long each took only where it has run before; in a fresh clone it goes by their size, and a
 * small file that takes half a minute may come last, on one core. These are first, the longest first; the others are in Jest's order.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const { default: Sequencer } = createRequire(import.meta.url)(
  '@jest/test-sequencer',
) as typeof import('@jest/test-sequencer')
type Tests = Parameters<InstanceType<typeof Sequencer>['sort']>[0]

/** Those that take more than about 15 s. */
const LONGEST = [
  ...[
    'cli/workers',
    'cli/crew',
    'cli/restart',
    'state/known-sharing',
    'state/redis-limits',
    'kernel/offload',
    'wire/conformance/cluster',
  ],
  ...[
    'flood/runs',
    'deploy/alerts',
    'wire/clients-mta',
    'cli/day',
    'deploy/prometheus',
    'cli/demo',
    'wire/differential',
  ],
  ...[
    'cli/demo-parts',
    'deploy/stack',
    'cli/secrets',
    'cli/reload',
    'wire/clients',
    'state/redis-reload',
    'state/history-sharing',
  ],
  ...[
    'state/bans-sharing',
    'state/points',
    'admin/page',
    'state/redis-agreement',
    'admin/attack',
    'relay/pool/held-slots',
    'wire/faults',
  ],
  ...[
    'kernel/parts',
    'state/redis-topologies',
    'cli/notify',
    'build/overload',
    'state/known-domains',
    'state/redis-clock',
    'state/redis-nodes',
  ],
  ...['services/mail-servers', 'cli/doctor', 'state/redis-away', 'build/explain-nodes', 'cli/learn/learn'],
].map((name) => join(import.meta.dirname, `${name}.test.ts`))

for (const path of LONGEST) if (!existsSync(path)) throw new Error(`${path} is in test/longest-first.ts and not there`)

const ranks = new Map(LONGEST.map((path, rank) => [path, rank]))

export default class LongestFirst extends Sequencer {
  override async sort(tests: Tests): Promise<Awaited<ReturnType<InstanceType<typeof Sequencer>['sort']>>> {
    const rank = ({ path }: { readonly path: string }): number => ranks.get(path) ?? LONGEST.length
    return [...(await super.sort(tests))].sort((a, b) => rank(a) - rank(b))
  }
}
