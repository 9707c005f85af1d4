/** The metrics of the parent of several workers. */
import { createRegistry, RELOADS, SETTINGS_INFO, SETTINGS_STALE, WORKER_RESTARTS, WORKER_UP } from './metrics.ts'
import { Family } from './series.ts'

export type ParentMetrics = ReturnType<typeof createParentMetrics>

/** @param workers their numbers, as labels */
export function createParentMetrics(workers: readonly string[]) {
  const registry = createRegistry()
  const rows = workers.map((worker) => [worker])
  return {
    registry,
    reloads: new Family(registry, 'counter', RELOADS),
    settingsStale: new Family(registry, 'gauge', SETTINGS_STALE),
    settingsInfo: new Family(registry, 'gauge', SETTINGS_INFO),
    up: new Family(registry, 'gauge', { ...WORKER_UP, rows }),
    restarts: new Family(registry, 'counter', { ...WORKER_RESTARTS, rows }),
  }
}
