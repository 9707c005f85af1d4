/** The rows on what Spillway itself uses: its limits and tables, Redis, the process. */
import { type Panel, series } from './panels.ts'
import { of, quantile, rate, total } from './promql.ts'

export const limits: readonly Panel[] = [
  series({
    title: 'Use of the global limits',
    about: 'Share in use; at 100 % everybody is refused until the window has moved on. 0 where the limit is off.',
    unit: 'ratio',
    width: 8,
    queries: [[`max by (limit) (${of('spillway_limit_utilization_ratio')})`, '{{limit}}']],
  }),
  series({
    title: 'Clients the limits have a count for',
    about: 'It rises steeply when a flood comes from many addresses.',
    width: 8,
    queries: [[of('spillway_tracked_clients'), '{{instance}}']],
  }),
  series({
    title: '“Unknown user” not believed',
    about:
      '1: the mail servers call recipients unknown that they took lately. Their directory seems to have failed; such recipients get 4xx instead of bouncing.',
    width: 8,
    queries: [[of('spillway_unknown_guard_active'), '{{instance}}']],
  }),
  series({
    title: 'Time a check takes, p99',
    about: 'Checks that answer at once are measured one in 64 times.',
    unit: 'seconds',
    width: 12,
    many: true,
    queries: [[quantile(0.99, 'spillway_check_duration_seconds', 'check'), '{{check}}']],
  }),
  series({
    title: 'Checks that failed, per second',
    about: 'They threw or were late; the client was let pass. Anything but 0 is a fault; the log has it.',
    unit: 'perSecond',
    width: 12,
    many: true,
    queries: [[total('spillway_check_failures_total', 'check'), '{{check}}']],
  }),
]

export const redis: readonly Panel[] = [
  series({
    title: 'Redis up',
    about: '1: Redis answers this node in time.',
    width: 6,
    queries: [[of('spillway_redis_up'), '{{instance}}']],
  }),
  series({
    title: 'Counting without Redis',
    about: '1: this node goes on with its share of the limits. It returns by itself.',
    width: 6,
    queries: [[of('spillway_redis_fallback_active'), '{{instance}}']],
  }),
  series({
    title: 'Commands per second, by result',
    about: 'Late and failed ones are answered from the node’s own counts.',
    unit: 'perSecond',
    width: 6,
    queries: [[total('spillway_redis_commands_total', 'use, result'), '{{use}} {{result}}']],
  }),
  series({
    title: 'Time of a command',
    about: 'At SPILLWAY_REDIS_TIMEOUT a command is given up.',
    unit: 'seconds',
    width: 6,
    queries: [0.5, 0.95, 0.99].map((q) => [
      quantile(q, 'spillway_redis_command_duration_seconds', 'use'),
      `{{use}} p${q * 100}`,
    ]),
  }),
]

export const processes: readonly Panel[] = [
  series({
    title: 'CPU',
    about: '100 %: one core. A node runs its JavaScript on one; more nodes or SPILLWAY_WORKERS use the others.',
    unit: 'ratio',
    width: 6,
    queries: [[rate('process_cpu_seconds_total'), '{{instance}}']],
  }),
  series({
    title: 'Memory',
    about: 'Resident memory, and the part of it that is JavaScript in use.',
    unit: 'bytes',
    width: 6,
    queries: [
      [of('process_resident_memory_bytes'), '{{instance}} resident'],
      [of('nodejs_heap_size_used_bytes'), '{{instance}} heap'],
    ],
  }),
  series({
    title: 'Event loop lag',
    about: 'How late the node gets to what is due, since the last scrape.',
    unit: 'seconds',
    width: 6,
    queries: [
      [of('nodejs_eventloop_lag_p99_seconds'), '{{instance}} p99'],
      [of('nodejs_eventloop_lag_max_seconds'), '{{instance}} max'],
    ],
  }),
  series({
    title: 'Open files, of those allowed',
    about:
      'Each client is one, each connection to a mail server another. Raise the open-file limit before it is reached.',
    unit: 'ratio',
    width: 6,
    queries: [[`${of('process_open_fds')} / ${of('process_max_fds')}`, '{{instance}}']],
  }),
]
