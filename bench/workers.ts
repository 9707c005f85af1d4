// What a second worker brings on two cores: refused connections, and relayed messages, per second. The clients need CPU
// time as well, so the rate that is seen on two cores says little. Instead it is counted what each process of the server
// used: on two cores, the node can take what its busiest process can take with a core of its own, and no more than all
// its processes can take with two.
//
//     npm run build && npm run bench:workers

import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '../test/services/processes.ts'
import { startSink } from '../test/services/sink.ts'
import type { Messages, Sources, Visits } from './load.ts'
import { alternate, judged, median, ownCpuMs, ratio, table } from './measure.ts'
import { atEnd, benchmark, type Load, need, rounds, type Spillway, startLoad, startSpillway } from './processes.ts'
import { drawn, RELAYED, read, STRANGERS, type Turn, WIDE_LIMITS } from './turn.ts'

const CORES = 2
const VISITS = { kind: 'visits', count: 10_000, concurrency: 64 } as const
const WARM_UP = 20_000
const SETTLE_MS = 200
const GOAL_REFUSED = 1.6
const GOAL_RELAYED = 1.5

const MANY: Sources = { first: '127.16.0.0', count: 16 * 256 }

type Capacity = Pick<Turn, 'tally'> & { readonly perSecond: number; readonly shares: readonly number[] }

interface Status {
  readonly workers?: readonly { readonly up: boolean; readonly pid?: number }[]
}

/** The parent and its workers, or the one process. */
async function pidsOf({ admin, pid }: Spillway, workers: number): Promise<readonly number[]> {
  if (workers === 1) return [pid]
  let found: readonly number[] = []
  const ask = async (): Promise<void> => {
    const status = (await (await fetch(`http://127.0.0.1:${admin}/api/v1/status`)).json()) as Status
    found = (status.workers ?? []).flatMap((worker) => (worker.up ? (worker.pid ?? []) : []))
  }
  await waitUntil(
    () => {
      void ask()
      return found.length === workers ? true : undefined
    },
    10_000,
    () => `only ${found.length} of ${workers} workers serve`,
  )
  return [pid, ...found]
}

async function capacity(
  load: Load,
  { port }: Spillway,
  pids: readonly number[],
  order: Omit<Visits, 'port'> | Omit<Messages, 'port'>,
): Promise<Capacity> {
  const before = pids.map(ownCpuMs)
  const tally = await load.order({ ...order, port })
  await sleep(SETTLE_MS)
  const used = pids.map((pid, i) => ownCpuMs(pid) - (before[i] as number))
  const all = used.reduce((sum, ms) => sum + ms, 0)
  const perSecond = order.count / (Math.max(...used, all / CORES) / 1000)
  return { tally, perSecond, shares: used.map((ms) => ms / all) }
}

await benchmark(async () => {
  need({ postfix: false })
  const sink = await startSink()
  atEnd(() => sink.stop())
  const load = startLoad()
  const base = { UPSTREAMS: `127.0.0.1:${sink.port}`, UPSTREAM_CLIENT_IP: 'none', RELAY_GUARD: 'off' }
  const refusing: Record<number, () => Promise<Capacity>> = {}
  const relaying: Record<number, () => Promise<Capacity>> = {}
  const strangers = drawn(STRANGERS, RELAYED.count)
  for (const workers of [1, 2]) {
    const node = await startSpillway({ ...base, ...WIDE_LIMITS, WORKERS: workers, DENY: '127.16.0.0/12' })
    const pids = await pidsOf(node, workers)
    await load.order({ ...VISITS, count: WARM_UP, port: node.port, sources: MANY })
    refusing[workers] = () => capacity(load, node, pids, { ...VISITS, sources: MANY })
    relaying[workers] = () => capacity(load, node, pids, { ...RELAYED, sources: strangers() })
  }
  const refused = await alternate(refusing, rounds())
  const relayed = await alternate(relaying, rounds())
  const row = (name: string, results: typeof refused, code: string, goal: number) => {
    const [one, two] = [results[1] ?? [], results[2] ?? []]
    const rates = (turns: readonly Capacity[]) => turns.map(({ perSecond }) => perSecond)
    const turns = (all: readonly Capacity[]) => all.map(({ tally }) => ({ tally, us: 0, alone: 0 }))
    return [
      name,
      `${median(rates(one)).toFixed(0)}`,
      `${median(rates(two)).toFixed(0)}`,
      judged(ratio(rates(two), rates(one)), { atLeast: goal }),
      [0, 1, 2].map((i) => `${(100 * median(two.map(({ shares }) => shares[i] ?? 0))).toFixed(0)} %`).join(', '),
      read([...turns(one), ...turns(two)], code),
    ]
  }
  console.log(
    table(
      ['a second, on two cores', 'one process', 'two workers', 'more by', 'CPU of parent and workers', 'in order'],
      [
        row('refused: on the deny list', refused, '554', GOAL_REFUSED),
        row('relayed: messages of 4 KB', relayed, '250', GOAL_RELAYED),
      ],
    ),
  )
})
