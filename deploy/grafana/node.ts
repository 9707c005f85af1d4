/** The rows on what Spillway itself uses: its limits and tables, Redis, the process. */
import { type Panel, series } from './panels.ts'
import { of, quantile, rate, total } from './promql.ts'

export const limits: readonly Panel[] = [
  series({
    title: 'Use of the global limits',
    about: 'Share in use. At 100 % everybody is refused until the window has moved on. 0 if the limit is off.',
    unit: 'ratio',
    width: 6,
    queries: [[`max by (limit) (${of('spillway_limit_utilization_ratio')})`, '{{limit}}']],
  }),
  series({
    title: 'Clients that the limits count',
    about: 'It rises steeply when a flood comes from many addresses.',
    width: 6,
    queries: [[of('spillway_tracked_clients'), '{{instance}}']],
  }),
  series({
    title: 'Clients remembered, by standing',
    about:
      'What their own history makes of them, on the node that remembers most. known: honest senders; it grows for weeks and falls only when they turn bad. A jump of suspect: a flood whose mail is refused behind Spillway. If known falls for all at once, look at what the mail servers refuse.',
    width: 6,
    queries: [[`max by (standing) (${of('spillway_standing_clients')})`, '{{standing}}']],
  }),
  series({
    title: '“Unknown user” not believed',
    about:
      '1: recipients that the mail servers accepted lately are now rejected as unknown. Their directory seems to have failed. Such recipients get 4xx, so that their mail does not bounce.',
    width: 6,
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
    about: 'The check threw or was late, and the client was let pass. Anything but 0 is a fault; see the log.',
    unit: 'perSecond',
    width: 12,
    many: true,
    queries: [[total('spillway_check_failures_total', 'check'), '{{check}}']],
  }),
]

export const overload: readonly Panel[] = [
  series({
    title: 'Overload level',
    about:
      '0 normal, 1 limits of strangers shrink, 2 strangers are put off as far as capacity lacks, 3 nearly all of them, 4 at the banner. docs/overload.md says what to do.',
    width: 8,
    queries: [[of('spillway_overload_level'), '{{instance}}']],
  }),
  series({
    title: 'Pressure, by signal',
    about:
      'What is measured over its target, on the node that is pressed most. The largest decides: level 1 begins at 0.8, 4 at 1.4.',
    width: 8,
    many: true,
    queries: [[`max by (signal) (${of('spillway_overload_pressure_ratio')})`, '{{signal}}']],
  }),
  series({
    title: 'Let in, by standing',
    about: 'Share of the messages of a standing that the level lets in, on the node that lets in least.',
    unit: 'ratio',
    width: 8,
    many: true,
    queries: [[`min by (standing) (${of('spillway_admission_ratio')})`, '{{standing}}']],
  }),
  series({
    title: 'Strangers of whom a share is let in, by how they came',
    about:
      'first: for the first time. back: put off before, and back in due time from the same network or domain; elsewhere: from another one. Those that are back go first.',
    unit: 'perSecond',
    width: 24,
    many: true,
    queries: [[total('spillway_rationed_messages_total', 'came, result'), '{{came}} {{result}}']],
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
    about: '1: this node goes on with its share of the limits. It returns to Redis by itself.',
    width: 6,
    queries: [[of('spillway_redis_fallback_active'), '{{instance}}']],
  }),
  series({
    title: 'Commands per second, by result',
    about: 'Nobody waits for them. What was late or has failed is told again.',
    unit: 'perSecond',
    width: 6,
    queries: [[total('spillway_redis_commands_total', 'use, result'), '{{use}} {{result}}']],
  }),
  series({
    title: 'Time of a command',
    about: 'Nobody waits for it. After SPILLWAY_REDIS_TIMEOUT it counts as lost.',
    unit: 'seconds',
    width: 6,
    queries: [0.5, 0.95, 0.99].map((q) => [
      quantile(q, 'spillway_redis_command_duration_seconds', 'use'),
      `{{use}} p${q * 100}`,
    ]),
  }),
]

export const dns: readonly Panel[] = [
  series({
    title: 'Questions about clients, by result',
    about:
      'busy: not asked, because too many were under way. No reply waits for a name, and for a DNS list at most two seconds.',
    unit: 'perSecond',
    width: 6,
    many: true,
    queries: [[total('spillway_dns_queries_total', 'use, result'), '{{use}} {{result}}']],
  }),
  series({
    title: 'Time of an answer',
    about: 'Also of what was given up. A caching resolver nearby answers most within milliseconds.',
    unit: 'seconds',
    width: 6,
    queries: [0.5, 0.95, 0.99].map((q) => [quantile(q, 'spillway_dns_query_duration_seconds', ''), `p${q * 100}`]),
  }),
  series({
    title: 'DNS lists, by what they say',
    about: 'error: no answer, or one that is no verdict: the list is set aside.',
    unit: 'perSecond',
    width: 6,
    many: true,
    queries: [[total('spillway_dnsbl_queries_total', 'zone, result'), '{{zone}} {{result}}']],
  }),
  series({
    title: 'DNS lists that are asked',
    about: '0: the list is set aside, because it fails its test or answers with errors. The log says why.',
    width: 6,
    queries: [[`min by (zone) (${of('spillway_dnsbl_zone_up')})`, '{{zone}}']],
  }),
]

export const settings: readonly Panel[] = [
  series({
    title: 'Reloads of the settings, by result',
    about: 'failed: there was a mistake in the settings, or they could not be read. The log says what it is.',
    unit: 'perSecond',
    width: 8,
    queries: [[total('spillway_reload_total', 'result'), '{{result}}']],
  }),
  series({
    title: 'The last reload has failed',
    about: '1: the settings before it stay in force until a reload succeeds. `spillway reload` says what is wrong.',
    width: 8,
    queries: [[of('spillway_settings_stale'), '{{instance}}']],
  }),
  series({
    title: 'Settings: nodes that have the same',
    about:
      'Nodes with the same hash have the same settings, apart from name, addresses and MAX_CONNECTIONS. More than one line for long: a node was not reloaded, or its files are others.',
    width: 8,
    queries: [[`count by (hash) (${of('spillway_settings_info')})`, '{{hash}}']],
  }),
]

export const processes: readonly Panel[] = [
  series({
    title: 'CPU',
    about:
      '100 % is one core. A process runs its JavaScript on one core; SPILLWAY_WORKERS, or more nodes, use the others.',
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
    about: 'How late the node handles what is due, since the last scrape.',
    unit: 'seconds',
    width: 6,
    queries: [
      [of('nodejs_eventloop_lag_p99_seconds'), '{{instance}} {{worker}} p99'],
      [of('nodejs_eventloop_lag_max_seconds'), '{{instance}} {{worker}} max'],
    ],
  }),
  series({
    title: 'Open files, of those allowed',
    about:
      'Each client and each connection to a mail server is one open file. Raise the open-file limit before it is reached.',
    unit: 'ratio',
    width: 6,
    queries: [[`${of('process_open_fds')} / ${of('process_max_fds')}`, '{{instance}} {{worker}}']],
  }),
  series({
    title: 'Workers that answer',
    about:
      '0: the worker hangs or is being replaced. Its clients wait; those of the others go on. No lines where one process serves all.',
    width: 12,
    queries: [[of('spillway_worker_up'), '{{instance}} {{worker}}']],
  }),
  series({
    title: 'Workers replaced, in an hour',
    about:
      'A worker died, or hung for half a minute and was killed. The log says how, and how many sessions it took with it.',
    width: 12,
    queries: [[`increase(${of('spillway_worker_restarts_total')}[1h])`, '{{instance}} {{worker}}']],
  }),
]
