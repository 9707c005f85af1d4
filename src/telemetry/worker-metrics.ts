/** The metrics of the parent of several workers. */
import { createRegistry, RELOADS, SETTINGS_INFO, SETTINGS_STALE } from './metrics.ts'
import { Family } from './series.ts'

export type WorkerMetrics = ReturnType<typeof createWorkerMetrics>

/** @param workers their numbers, as labels */
export function createWorkerMetrics(workers: readonly string[]) {
  const registry = createRegistry()
  const rows = workers.map((worker) => [worker])
  return {
    registry,
    reloads: new Family(registry, 'counter', RELOADS),
    settingsStale: new Family(registry, 'gauge', SETTINGS_STALE),
    settingsInfo: new Family(registry, 'gauge', SETTINGS_INFO),
    up: new Family(registry, 'gauge', {
      name: 'spillway_worker_up',
      help: '1 while the worker answers its parent; at 0 its counters are as it last told them, and its gauges are missing.',
      labels: ['worker'],
      rows,
    }),
    restarts: new Family(registry, 'counter', {
      name: 'spillway_worker_restarts_total',
      help: 'Times the worker ended by itself and was replaced.',
      labels: ['worker'],
      rows,
    }),
  }
}
