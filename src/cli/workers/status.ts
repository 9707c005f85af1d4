/** The state of a node with several workers, from those of its workers. */
import type { Status, WorkerStatus } from '../../admin/status.ts'
import { REMEMBERED } from '../../core/client.ts'
import { recordOf } from '../../core/record.ts'
import { trafficTogether } from '../../telemetry/traffic/report.ts'
import type { WorkerReport } from './protocol.ts'

export type OfParent = Pick<Status, 'version' | 'node' | 'uptimeSeconds' | 'settings' | 'drainedSince'> & {
  readonly draining: boolean
}

type Upstream = Status['upstreams'][number]

const statuses = (workers: readonly WorkerReport[]): Status[] =>
  workers.flatMap(({ up, report }) => (up && report?.status) || [])

/** The best condition that a worker sees counts: mail goes on there. */
function upstreamsOf(all: readonly Status[]): Upstream[] {
  const found = new Map<string, Upstream>()
  for (const each of all.flatMap(({ upstreams }) => upstreams)) {
    const key = `${each.upstream} ${each.address}`
    const before = found.get(key)
    const best = before === undefined || (each.up && !before.up) ? each : before
    const connections = (before?.connections ?? 0) + each.connections
    // Each worker sees a part of the messages; the slowest part is shown.
    const dots = [before?.dotSeconds, each.dotSeconds].filter((dot) => dot !== undefined)
    const slowest = dots.length > 0 ? { dotSeconds: Math.max(...dots) } : {}
    found.set(key, { ...best, ...slowest, connections, limit: (before?.limit ?? 0) + each.limit })
  }
  return [...found.values()]
}

/** Each worker has a level of its own. The highest counts, with what that worker tells of it. */
function overloadOf(all: readonly Status[]): Pick<Status, 'overload'> {
  const reports = all.flatMap(({ overload }) => overload ?? [])
  const [overload] = reports.sort((a, b) => b.level - a.level || b.pressure - a.pressure)
  return overload === undefined ? {} : { overload }
}

const workerOf = ({ worker, pid, up, restarts, report }: WorkerReport): WorkerStatus => ({
  worker,
  up,
  restarts,
  ...(pid !== undefined && { pid }),
  ...(report !== undefined && {
    uptimeSeconds: report.status.uptimeSeconds,
    connectionsOpen: report.status.connectionsOpen,
    settings: report.status.settings.hash,
  }),
})

/** The worst condition that a worker sees counts where the whole node depends on it. */
export function statusOf({ draining, ...parent }: OfParent, workers: readonly WorkerReport[]): Status {
  const all = statuses(workers)
  const redis = all.flatMap((status) => status.redis ?? []).sort((a, b) => Number(a.up) - Number(b.up))[0]
  const [kernel] = all.flatMap((status) => status.kernel ?? [])
  const tls = all.flatMap((status) => status.tls ?? [])
  const traffic = trafficTogether(all.flatMap((status) => status.traffic ?? []))
  const observing = all.find((status) => status.observing !== undefined)?.observing
  const troubled = tls.find(({ error }) => error !== undefined) ?? tls[0]
  return {
    ...parent,
    ready: !draining && parent.drainedSince === undefined && all.some(({ ready }) => ready),
    connectionsOpen: all.reduce((sum, { connectionsOpen }) => sum + connectionsOpen, 0),
    unknownGuard: all.some(({ unknownGuard }) => unknownGuard),
    ...overloadOf(all),
    ...(traffic !== undefined && { traffic }),
    ...(observing !== undefined && { observing }),
    // A client may be remembered by all of them.
    clients: recordOf(REMEMBERED, (standing) => Math.max(0, ...all.map(({ clients }) => clients[standing]))),
    ...(redis !== undefined && { redis }),
    ...(kernel !== undefined && { kernel }),
    ...(troubled !== undefined && { tls: troubled }),
    upstreams: upstreamsOf(all),
    workers: workers.map(workerOf),
  }
}
