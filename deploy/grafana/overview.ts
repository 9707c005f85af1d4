/**
 * The first row: what an operator who was woken up reads. It distinguishes a flood (too many senders; the limits shed them
 * and the mail servers are healthy) from slow or absent mail servers (honest mail waits, whoever sends it), because the
 * responses are opposite: let a flood be shed, but repair the cluster. The verdict is computed from the figures beside it.
 */
import { REASON_NAMES, reasonOf } from '../../src/core/reasons.ts'
import { type Panel, stat, text } from './panels.ts'
import { of, orZero, quantile, total } from './promql.ts'

/** Reasons that a flood causes: load that a check or the cap on connections refused. */
const FLOOD = REASON_NAMES.filter(
  (name) => name === 'max_connections' || (reasonOf(name).load && reasonOf(name).check !== undefined),
)
/** Reasons that the mail servers cause, because they are slow, full, gone or confused. */
const CLUSTER = [
  'upstream_down',
  'upstream_full',
  'upstream_lost',
  'unknown_guard',
] as const satisfies readonly (typeof REASON_NAMES)[number][]

const enforced = (reasons: readonly string[]): string =>
  orZero(total('spillway_refusals_total', '', `mode="enforce", reason=~"${reasons.join('|')}"`))

const connections = total('spillway_connections_total')
const dot = quantile(0.95, 'spillway_upstream_reply_duration_seconds', '', 'command="dot"')
const shedByLimits = enforced(FLOOD)
const deferredForCluster = enforced(CLUSTER)
const accepted = total('spillway_messages_total', '', 'result="accepted"')

/** Seconds for the reply to the final dot (p95) from which the mail servers count as slow. */
const SLOW_S = 5
/** Refusals by limits, as a share of connections, from which it is called a flood. */
const FLOOD_SHARE = 0.1
/** Deferrals for the mail servers, as a share of these and of accepted messages, from which mail counts as held up. */
const HELD_SHARE = 0.05

const isFlood = `((${shedByLimits}) > bool (${FLOOD_SHARE} * ${connections}))`
const isSlow = `((${orZero(dot)}) > bool ${SLOW_S})`
const isHeld = `((${deferredForCluster}) > bool (${HELD_SHARE} * ((${deferredForCluster}) + ${accepted})))`
/** One of many being down, perhaps for repair, is no reason to wake anybody: the others carry its share, or mail is held up. */
const isDown = `(avg(${of('spillway_upstream_up')}) < bool 0.5)`
/** 0 neither, 1 flood, 2 mail servers, 3 both. */
const verdict = `${isFlood} + 2 * clamp_max(${isSlow} + ${isHeld} + ${isDown}, 1)`

export const overview: readonly Panel[] = [
  stat({
    title: 'What is it?',
    about: `FLOOD: limits refuse more than ${FLOOD_SHARE * 100} % as often as clients connect. MAIL SERVERS: more than half are down, more than ${HELD_SHARE * 100} % of the mail is deferred because of them, or they take more than ${SLOW_S} s (p95) to answer the final dot. The figures beside it say which.`,
    width: 6,
    queries: [[verdict, 'state']],
    words: {
      0: ['calm', 'green'],
      1: ['FLOOD, being shed', 'orange'],
      2: ['MAIL SERVERS slow or away', 'red'],
      3: ['FLOOD and MAIL SERVERS', 'red'],
    },
  }),
  stat({
    title: 'Connections /s',
    about: 'Client connections accepted per second, before any check.',
    unit: 'perSecond',
    width: 3,
    queries: [[connections, 'connections']],
  }),
  stat({
    title: 'Refused by limits /s',
    about:
      'What a flood looks like: refusals because somebody, or everybody, sends too much. All of them are 4xx, so honest senders try again.',
    unit: 'perSecond',
    width: 3,
    colours: ['green', [1, 'yellow'], [100, 'orange']],
    queries: [[shedByLimits, 'refused']],
  }),
  stat({
    title: 'Deferred for the mail servers /s',
    about:
      'What a slow or absent cluster looks like: recipients and messages answered 4xx because no mail server was up, had a connection free, or answered.',
    unit: 'perSecond',
    width: 3,
    colours: ['green', [0.01, 'orange'], [1, 'red']],
    queries: [[deferredForCluster, 'deferred']],
  }),
  stat({
    title: 'Messages accepted /s',
    about: 'Messages that the mail servers accepted. If clients connect and this is 0, nobody gets mail.',
    unit: 'perSecond',
    width: 3,
    queries: [[accepted, 'accepted']],
  }),
  stat({
    title: 'Reply to the dot, p95',
    about: 'How long the mail servers take to accept a message. The first sign of a cluster in trouble.',
    unit: 'seconds',
    width: 3,
    colours: ['green', [1, 'yellow'], [SLOW_S, 'red']],
    queries: [[dot, 'p95']],
  }),
  stat({
    title: 'Mail servers up',
    about: 'Share of mail servers in use, over all nodes. Each node checks them for itself.',
    unit: 'ratio',
    width: 3,
    colours: ['red', [0.01, 'orange'], [1, 'green']],
    queries: [[`avg(${of('spillway_upstream_up')})`, 'up']],
  }),
  stat({
    title: 'Nodes seen',
    about: 'Spillway nodes that Prometheus scrapes at present.',
    width: 3,
    colours: ['red', [1, 'green']],
    queries: [[orZero(`count(${of('spillway_build_info')})`), 'nodes']],
  }),
  stat({
    title: 'Sessions turned away',
    about: 'Share of sessions with the outcome shed: refused because of load, not because of what they are.',
    unit: 'ratio',
    width: 3,
    colours: ['green', [0.1, 'yellow'], [0.5, 'orange']],
    queries: [
      [
        orZero(`${total('spillway_sessions_total', '', 'outcome="shed"')} / (${total('spillway_sessions_total')} > 0)`),
        'shed',
      ],
    ],
  }),
  stat({
    title: 'Connections open',
    about: 'Client connections open now, on all nodes. Many open and few new ones: they are waiting for something.',
    width: 3,
    queries: [[`sum(${of('spillway_connections_open')})`, 'open']],
  }),
  stat({
    title: 'Nodes without Redis',
    about: 'Nodes that count alone because Redis is away or slow. Each of them holds to its share of the limits.',
    width: 3,
    colours: ['green', [1, 'orange']],
    queries: [[`sum(${of('spillway_redis_fallback_active')})`, 'in fallback']],
  }),
  stat({
    title: 'Event loop lag, p99',
    about:
      'The slowest node. Above 50 ms the node itself is overloaded, and every time it measures includes that delay.',
    unit: 'seconds',
    width: 3,
    colours: ['green', [0.05, 'orange'], [0.25, 'red']],
    queries: [[`max(${of('nodejs_eventloop_lag_p99_seconds')})`, 'lag']],
  }),
  text(
    '',
    9,
    4,
    [
      '**Flood**: many connections, many refused by limits, quick mail servers. It is being shed, and nothing is lost. See *Shed*.',
      '',
      '**Mail servers**: deferrals because of them, slow replies to the dot, or most of them down, whatever the connections do. See *Mail servers*.',
    ].join('\n'),
  ),
]
