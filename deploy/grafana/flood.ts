/**
 * The dashboard Flood: is there one, is honest mail well, what is turned away and why, and do the nodes bear it. The file is longer
 * than others because each panel says what it means and what to do.
 */
import { SIGNALS } from '../../src/core/overload.ts'
import { REASON_NAMES } from '../../src/core/reasons.ts'
import { STAGES } from '../../src/core/stages.ts'
import { inTurn, RESULT, STANDING } from './colours.ts'
import { type Row, series, stat } from './panels.ts'
import { of, orZero, quantile, rate, total } from './promql.ts'
import {
  accepted,
  connections,
  deferredForOutage,
  FLOOD_SHARE,
  FRIENDS,
  FRIENDS_SHARE,
  friendsServed,
  HELD_SHARE,
  SLOW_S,
  shedByLimits,
  VERDICTS,
  verdict,
} from './verdict.ts'

const glance: Row = {
  title: 'At a glance',
  panels: [
    stat({
      title: 'What is it?',
      about: `FLOOD: limits refuse more than ${FLOOD_SHARE * 100} % as often as clients connect. MAIL SERVERS slow or full: they take more than ${SLOW_S} s (p95) to answer the final dot, or without a flood more than ${HELD_SHARE * 100} % of the mail finds no connection free. HONEST MAIL put off: more than half of the mail servers are down, more than ${HELD_SHARE * 100} % of the mail is deferred because they are, or more than ${FRIENDS_SHARE * 100} % of the known senders are put off. The figures beside it say which.`,
      todo: 'Let a flood be shed. Repair slow mail servers: see Mail servers. Red means that honest mail is late, so act now; the runbooks of the alerts say how.',
      width: 6,
      queries: [[verdict, 'state']],
      words: VERDICTS,
    }),
    stat({
      title: 'Known senders served',
      about:
        'Of the sessions of known and trusted clients that wanted to bring mail, the share that brought some. This is what Spillway is for: a flood should not change it.',
      todo: 'Below 95 %, look for the reason in Why, below. If the mail servers are the cause, repair them. A sender that must not wait goes on SPILLWAY_ALLOW.',
      unit: 'ratio',
      width: 3,
      colours: ['red', [1 - FRIENDS_SHARE, 'yellow'], [0.99, 'green']],
      queries: [[friendsServed, 'served']],
    }),
    stat({
      title: 'Overload level',
      about:
        'Of the node with the highest: 0 normal, 1 limits of strangers shrink, 2 strangers are put off as far as capacity lacks, 3 nearly all of them, 4 at the banner.',
      todo: 'Nothing at 1 and 2. At 3 and 4 new correspondents wait: look at Pressure, and at what docs/overload.md says about its signal.',
      width: 3,
      colours: ['green', [1, 'yellow'], [3, 'orange']],
      queries: [[`max(${of('spillway_overload_level')})`, 'level']],
    }),
    stat({
      title: 'Connections in /s',
      about: 'Client connections accepted per second, before any check.',
      todo: 'Nothing. Compare it with a usual hour of this weekday.',
      unit: 'perSecond',
      width: 3,
      queries: [[connections, 'connections']],
    }),
    stat({
      title: 'Shed by limits /s',
      about:
        'What a flood looks like: refusals because somebody, or everybody, sends too much. All of them are 4xx, so honest senders try again.',
      todo: 'Nothing, as long as known senders are served.',
      unit: 'perSecond',
      width: 3,
      colours: ['green', [1, 'yellow'], [100, 'orange']],
      queries: [[shedByLimits, 'refused']],
    }),
    stat({
      title: 'Deferred for outage /s',
      about:
        'What an absent cluster looks like: recipients and messages answered 4xx because no mail server was up or answered, or their directory has failed. It hits everybody.',
      todo: 'See Mail servers: which of them is down, or breaks off?',
      unit: 'perSecond',
      width: 3,
      colours: ['green', [0.01, 'orange'], [1, 'red']],
      queries: [[deferredForOutage, 'deferred']],
    }),
    stat({
      title: 'Messages relayed /s',
      about: 'Messages that the mail servers accepted. If clients connect and this is 0, nobody gets mail.',
      todo: 'If it falls in a flood, see who is let in, by standing, below. If it is 0, see Mail servers.',
      unit: 'perSecond',
      width: 3,
      queries: [[accepted, 'accepted']],
    }),
    stat({
      title: 'Sessions turned away',
      about: 'Share of sessions with the outcome shed: refused because of load, not because of what they are.',
      todo: 'Nothing by itself: it is high in each flood. Look at Known senders served.',
      unit: 'ratio',
      width: 6,
      colours: ['green', [0.1, 'yellow'], [0.5, 'orange']],
      queries: [
        [
          orZero(
            `${total('spillway_sessions_total', '', 'outcome="shed"')} / (${total('spillway_sessions_total')} > 0)`,
          ),
          'shed',
        ],
      ],
    }),
    stat({
      title: 'Connections open',
      about: 'Client connections open now, on all nodes. Many open and few new ones: they are waiting for something.',
      todo: 'If it nears SPILLWAY_MAX_CONNECTIONS, lower SPILLWAY_LIMIT_IP_CONCURRENCY or SPILLWAY_IDLE_TIMEOUT in a flood; otherwise add a node.',
      width: 6,
      queries: [[`sum(${of('spillway_connections_open')})`, 'open']],
    }),
    stat({
      title: 'Nodes seen',
      about: 'Spillway nodes that Prometheus scrapes at present.',
      todo: 'If one is missing, look at it: systemctl status spillway, its last log lines, SPILLWAY_ADMIN_LISTEN.',
      width: 6,
      colours: ['red', [1, 'green']],
      queries: [[orZero(`count(${of('spillway_build_info')})`), 'nodes']],
    }),
    stat({
      title: 'Event loop lag, p99',
      about:
        'The slowest node. Above 50 ms the node itself is overloaded, and every time it measures includes that delay.',
      todo: 'SPILLWAY_WORKERS=auto, or another node.',
      unit: 'seconds',
      width: 6,
      colours: ['green', [0.05, 'yellow'], [0.25, 'orange']],
      queries: [[`max(${of('nodejs_eventloop_lag_p99_seconds')})`, 'lag']],
    }),
  ],
}

const inAndOut: Row = {
  title: 'What comes in, and what becomes of it',
  panels: [
    series({
      title: 'In, shed and relayed, per second',
      about: 'Connections that came in, sessions that ended shed, and messages that the mail servers accepted.',
      todo: 'In a flood the first two rise together and the third stays. If the third falls, see Known senders.',
      unit: 'perSecond',
      width: 12,
      colours: { in: 'blue', shed: 'yellow', relayed: 'green' },
      queries: [
        [connections, 'in'],
        [total('spillway_sessions_total', '', 'outcome="shed"'), 'shed'],
        [accepted, 'relayed'],
      ],
    }),
    series({
      title: 'Known senders: sessions per second',
      about: 'Of known and trusted clients, by how they ended. Red: put off.',
      todo: 'If red stays above nothing for minutes, honest mail is late: see Why, below, and the mail servers.',
      unit: 'perSecond',
      width: 12,
      colours: { ...RESULT, shed: 'red' },
      queries: [[total('spillway_sessions_total', 'outcome', FRIENDS), '{{outcome}}']],
    }),
    series({
      title: 'Sessions ended per second, by outcome',
      about:
        'relayed: a message was accepted. Else shed: refused because of load. Else rejected: refused because of what it is. Else aborted by the client, or none of these.',
      todo: 'Many none: scanners, probes, or clients that give up before the greeting. Otherwise nothing.',
      unit: 'perSecond',
      width: 8,
      stacked: true,
      colours: RESULT,
      queries: [[total('spillway_sessions_total', 'outcome'), '{{outcome}}']],
    }),
    series({
      title: 'Messages accepted per second, by standing of the client',
      about: 'In a flood, known and trusted clients should go on as before.',
      todo: 'If only new clients are accepted, the history may be lost: see Clients remembered in Policy and senders.',
      unit: 'perSecond',
      width: 8,
      stacked: true,
      colours: STANDING,
      queries: [[total('spillway_messages_total', 'standing', 'result="accepted"'), '{{standing}}']],
    }),
    series({
      title: 'Length of sessions, p95',
      about: 'From accept to the end, by outcome, of clients that got as far as an answer to what they wanted.',
      todo: 'If shed sessions last long, silent clients hold places: lower SPILLWAY_IDLE_TIMEOUT.',
      unit: 'seconds',
      width: 8,
      colours: RESULT,
      queries: [
        [
          quantile(0.95, 'spillway_session_duration_seconds', 'outcome', 'outcome=~"relayed|shed|rejected"'),
          '{{outcome}}',
        ],
      ],
    }),
    series({
      title: 'Connections per second, by family',
      about: 'Accepted connections by address family, before any check.',
      todo: 'Nothing. A flood over IPv6 alone is best limited per /48: SPILLWAY_LIMIT_NET_CONNECTIONS.',
      unit: 'perSecond',
      width: 8,
      stacked: true,
      colours: inTurn(['ipv4', 'ipv6']),
      queries: [[total('spillway_connections_total', 'family'), '{{family}}']],
    }),
    series({
      title: 'Connections per second, by node',
      about: 'How the load spreads.',
      todo: 'If it is uneven, look at the balancer, or at the MX records.',
      unit: 'perSecond',
      width: 8,
      queries: [[total('spillway_connections_total', 'instance'), '{{instance}}']],
    }),
    series({
      title: 'Connections open, by node',
      about: 'By node and family. At SPILLWAY_MAX_CONNECTIONS a node refuses with max_connections.',
      todo: 'If few addresses hold them, lower SPILLWAY_LIMIT_IP_CONCURRENCY.',
      width: 8,
      stacked: true,
      queries: [[of('spillway_connections_open'), '{{instance}} {{family}}']],
    }),
  ],
}

const why: Row = {
  title: 'Why',
  panels: [
    series({
      title: 'Refused per second, by reason',
      about:
        'Replies that refused a client, a message or a recipient. The reason is the same word as in the log; Policy and senders has a table of what each means.',
      todo: 'Look up the largest in docs/refusals.md: it names the setting behind it.',
      unit: 'perSecond',
      width: 16,
      height: 10,
      stacked: true,
      many: true,
      colours: inTurn(REASON_NAMES),
      queries: [[total('spillway_refusals_total', 'reason', 'mode="enforce"'), '{{reason}}']],
    }),
    series({
      title: 'Refused per second, by stage',
      about: 'The earlier, the cheaper: a refusal at connect costs only one line.',
      todo: 'If most come at rcpt or data and the CPU is short, let limits per address bite at connect.',
      unit: 'perSecond',
      width: 8,
      height: 10,
      stacked: true,
      colours: inTurn(STAGES),
      queries: [[total('spillway_refusals_total', 'stage', 'mode="enforce"'), '{{stage}}']],
    }),
    series({
      title: 'Refused per second, by action',
      about: 'drop: one reply and the connection is closed. defer: 4xx, the connection goes on. reject: 5xx, for good.',
      todo: 'reject is never for load. If it rises, see which reason does, and whether a list or a test is wrong.',
      unit: 'perSecond',
      width: 8,
      stacked: true,
      colours: { drop: 'blue', defer: 'yellow', reject: 'purple' },
      queries: [[total('spillway_refusals_total', 'action', 'mode="enforce"'), '{{action}}']],
    }),
    series({
      title: 'Use of the global limits',
      about: 'Share in use. At 100 % everybody is refused until the window has moved on. 0 if the limit is off.',
      todo: 'If it stays at 100 % while the mail servers are idle, the limit is too low: raise it by a reload.',
      unit: 'ratio',
      width: 8,
      colours: inTurn(['global_connections', 'global_messages']),
      queries: [[`max by (limit) (${of('spillway_limit_utilization_ratio')})`, '{{limit}}']],
    }),
    series({
      title: 'Clients that the limits count',
      about: 'Client addresses for which a count is held. It rises steeply when a flood comes from many addresses.',
      todo: 'Nothing; the tables have a fixed size. It tells few heavy senders from many light ones.',
      width: 8,
      queries: [[of('spillway_tracked_clients'), '{{instance}}']],
    }),
  ],
}

const CAME_COLOURS = {
  'first let_in': 'light-green',
  'back let_in': 'green',
  'elsewhere let_in': 'dark-green',
  'first put_off': 'light-yellow',
  'back put_off': 'orange',
  'elsewhere put_off': 'yellow',
} as const

const overload: Row = {
  title: 'Overload: how much is let in',
  panels: [
    series({
      title: 'Pressure, by signal',
      about:
        'What is measured over its target, on the node that is pressed most. The largest decides: level 1 begins at 0.8, 4 at 1.4.',
      todo: 'docs/overload.md has a line for each signal.',
      width: 12,
      many: true,
      colours: inTurn(SIGNALS),
      queries: [[`max by (signal) (${of('spillway_overload_pressure_ratio')})`, '{{signal}}']],
    }),
    series({
      title: 'Overload level, by node',
      about: 'Each node has its own, and of several workers the highest.',
      todo: 'If one node alone is high, look at its CPU and memory, and at its way to the mail servers.',
      width: 12,
      queries: [[of('spillway_overload_level'), '{{instance}}']],
    }),
    series({
      title: 'Let in, by standing',
      about: 'Share of the messages of a standing that the level lets in, on the node that lets in least.',
      todo: 'known and trusted stay at 100 %. Strangers are rationed on purpose; that needs nothing.',
      unit: 'ratio',
      width: 12,
      many: true,
      colours: STANDING,
      queries: [[`min by (standing) (${of('spillway_admission_ratio')})`, '{{standing}}']],
    }),
    series({
      title: 'Strangers of whom a share is let in, by how they came',
      about:
        'first: for the first time. back: put off before, and back in due time from the same network or domain; elsewhere: from another one. Those that are back go first.',
      todo: 'If back put_off stays high, honest first contacts wait for long: more mail servers, or tests that bots fail.',
      unit: 'perSecond',
      width: 12,
      many: true,
      colours: CAME_COLOURS,
      queries: [[total('spillway_rationed_messages_total', 'came, result'), '{{came}} {{result}}']],
    }),
    series({
      title: 'Guesses of strangers let in',
      about:
        'Share that is let in of the messages of strangers for recipients that no mail server has accepted in 30 days, on the node that lets in least. It falls while too many are in vain, at every level.',
      todo: 'Below 100 %: somebody tries names, or bounces come for a sender that was forged. Strangers are rationed on purpose; that needs nothing.',
      unit: 'ratio',
      width: 24,
      queries: [[`min(${of('spillway_guess_admission_ratio')})`, 'guesses']],
    }),
  ],
}

const nodes: Row = {
  title: 'The nodes themselves',
  panels: [
    series({
      title: 'CPU',
      about: '100 % is one core. A process runs its JavaScript on one core.',
      todo: 'Near 100 %: SPILLWAY_WORKERS=auto, or more nodes.',
      unit: 'ratio',
      width: 6,
      queries: [[rate('process_cpu_seconds_total'), '{{instance}}']],
    }),
    series({
      title: 'Memory',
      about: 'Resident memory, and the part of it that is JavaScript in use.',
      todo: 'If it grows for days, note the versions and report it. docs/deploy/sizing.md has what is usual.',
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
      todo: 'Above 50 ms: SPILLWAY_WORKERS=auto, or more nodes.',
      unit: 'seconds',
      width: 6,
      queries: [
        [of('nodejs_eventloop_lag_p99_seconds'), '{{instance}} {{worker}} p99'],
        [of('nodejs_eventloop_lag_max_seconds'), '{{instance}} {{worker}} max'],
      ],
    }),
    series({
      title: 'Open files, of those allowed',
      about: 'Each client and each connection to a mail server is one open file.',
      todo: 'Raise the open-file limit before it is reached: systemd LimitNOFILE, compose ulimits.',
      unit: 'ratio',
      width: 6,
      queries: [[`${of('process_open_fds')} / ${of('process_max_fds')}`, '{{instance}} {{worker}}']],
    }),
    series({
      title: 'Workers that answer',
      about:
        '0: the worker hangs or is being replaced. Its clients wait; those of the others go on. One process that serves all is its own only worker.',
      todo: 'If one stays at 0, the log says why it cannot start.',
      width: 12,
      queries: [[of('spillway_worker_up'), '{{instance}} {{worker}}']],
    }),
    series({
      title: 'Workers replaced, in an hour',
      about: 'A worker died, or hung for half a minute and was killed.',
      todo: 'The log says how it ended, and how many sessions it took with it. SIGKILL: memory ran out.',
      width: 12,
      queries: [[`increase(${of('spillway_worker_restarts_total')}[1h])`, '{{instance}} {{worker}}']],
    }),
  ],
}

export const flood: readonly Row[] = [glance, inAndOut, why, overload, nodes]
