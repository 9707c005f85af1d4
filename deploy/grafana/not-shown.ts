/**
 * Metrics that are on no dashboard, and why. A test wants each metric of a node on a dashboard or here, so that a new one is not
 * forgotten: add its panel to flood.ts, mail-servers.ts or policy.ts.
 */
export const NOT_SHOWN: Readonly<Record<string, string>> = {
  process_cpu_user_seconds_total: 'part of process_cpu_seconds_total',
  process_cpu_system_seconds_total: 'part of process_cpu_seconds_total',
  process_start_time_seconds: 'for the alert SpillwayNodeDown; a restart shows as a step in the counters',
  process_virtual_memory_bytes: 'says nothing about what is used',
  process_heap_bytes: 'process_resident_memory_bytes and nodejs_heap_size_used_bytes tell more',
  nodejs_eventloop_lag_seconds: 'one sample per scrape; the quantiles tell more',
  nodejs_eventloop_lag_min_seconds: 'the p99 and the maximum tell more',
  nodejs_eventloop_lag_mean_seconds: 'the p99 and the maximum tell more',
  nodejs_eventloop_lag_stddev_seconds: 'the p99 and the maximum tell more',
  nodejs_eventloop_lag_p50_seconds: 'the p99 and the maximum tell more',
  nodejs_eventloop_lag_p90_seconds: 'the p99 and the maximum tell more',
  nodejs_active_resources: 'for whoever looks for a leak in Spillway',
  nodejs_active_handles: 'for whoever looks for a leak in Spillway',
  nodejs_active_requests: 'for whoever looks for a leak in Spillway',
  nodejs_heap_size_total_bytes: 'nodejs_heap_size_used_bytes tells more',
  nodejs_external_memory_bytes: 'part of process_resident_memory_bytes',
  nodejs_heap_space_size_total_bytes: 'for whoever looks for a leak in Spillway',
  nodejs_heap_space_size_used_bytes: 'for whoever looks for a leak in Spillway',
  nodejs_heap_space_size_available_bytes: 'for whoever looks for a leak in Spillway',
  nodejs_version_info: 'Spillway brings its own Node: the version of Spillway tells it',
  nodejs_gc_duration_seconds: 'what it costs shows as event loop lag',
}
