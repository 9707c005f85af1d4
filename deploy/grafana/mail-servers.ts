/** The dashboard Mail servers: what stands behind Spillway, from being up to the last reply, and Redis beside it. */
import { REDIS_USES } from '../../src/telemetry/metrics.ts'
import { ANSWER, inTurn, QUANTILE, RESULT, STANDING } from './colours.ts'
import { type Row, series, stat } from './panels.ts'
import { of, quantile, quantiles, total } from './promql.ts'
import { dot, SLOW_S } from './verdict.ts'

const REPLY = 'spillway_upstream_reply_duration_seconds'
const OPEN = `sum(${of('spillway_upstream_connections_open')})`
const LIMIT = `sum(${of('spillway_upstream_connections_limit')})`
const REDIS_CALLS = 'spillway_redis_command_duration_seconds'

const glance: Row = {
  title: 'At a glance',
  panels: [
    stat({
      title: 'Mail servers up',
      about: 'Share of mail servers in use, over all nodes. Each node checks them for itself.',
      todo: 'Below 100 %, see Up for which. The log of a node says what its health checks hear.',
      unit: 'ratio',
      width: 4,
      colours: ['red', [0.01, 'orange'], [1, 'green']],
      queries: [[`avg(${of('spillway_upstream_up')})`, 'up']],
    }),
    stat({
      title: 'Reply to the dot, p95',
      about: 'How long the mail servers take to accept a message. The first sign of a cluster in trouble.',
      todo: 'Look at the slowest, below: content filter, disk, directory.',
      unit: 'seconds',
      width: 4,
      colours: ['green', [1, 'yellow'], [SLOW_S, 'orange']],
      queries: [[dot, 'p95']],
    }),
    stat({
      title: 'Connections in use',
      about: 'Of those that the nodes may hold to mail servers, whatever the limit is now.',
      todo: 'At 100 % transactions wait. If the mail servers are well, raise SPILLWAY_UPSTREAM_MAX_CONNECTIONS or set auto.',
      unit: 'ratio',
      width: 4,
      colours: ['green', [0.8, 'yellow'], [1, 'orange']],
      queries: [[`${OPEN} / (${LIMIT} > 0)`, 'in use']],
    }),
    stat({
      title: 'Clients that wait',
      about: 'Clients of all standings that wait for a free connection to a mail server.',
      todo: 'See In the queue, by standing: strangers may wait; known senders should not.',
      width: 4,
      colours: ['green', [1, 'yellow'], [100, 'orange']],
      queries: [[`sum(${of('spillway_admission_queue_length')})`, 'waiting']],
    }),
    stat({
      title: '“Unknown user” not believed',
      about:
        'Nodes on which recipients that the mail servers accepted lately are now rejected as unknown. Their directory seems to have failed. Such recipients get 4xx, so that their mail does not bounce.',
      todo: 'Repair the directory (LDAP, SQL, the recipient map).',
      width: 4,
      colours: ['green', [1, 'red']],
      queries: [[`sum(${of('spillway_unknown_guard_active')})`, 'nodes']],
    }),
    stat({
      title: 'Nodes without Redis',
      about: 'Nodes that count alone because Redis is away or slow. Each of them holds to its share of the limits.',
      todo: 'Mail goes on. Check that Redis runs, and answers within SPILLWAY_REDIS_TIMEOUT.',
      width: 4,
      colours: ['green', [1, 'orange']],
      queries: [[`sum(${of('spillway_redis_fallback_active')})`, 'in fallback']],
    }),
  ],
}

const connections: Row = {
  title: 'Connections',
  panels: [
    series({
      title: 'Up',
      about: 'Share of nodes that use the mail server.',
      todo: 'If nodes disagree, look at the network between them and it. If all agree, look at the server.',
      unit: 'ratio',
      width: 8,
      queries: [[`avg by (upstream) (${of('spillway_upstream_up')})`, '{{upstream}}']],
    }),
    series({
      title: 'Connections, and their limits',
      about:
        'All nodes together. The limit adapts where SPILLWAY_UPSTREAM_MAX_CONNECTIONS is auto; strangers may hold a part of it, which falls where they slow down known senders.',
      todo: 'At the limit, transactions wait. If the part of strangers has fallen, more connections help nobody: docs/capacity.md.',
      width: 16,
      colours: { open: 'blue', limit: 'orange', strangers: 'yellow' },
      queries: [
        [`sum by (upstream) (${of('spillway_upstream_connections_open')})`, '{{upstream}} open'],
        [`sum by (upstream) (${of('spillway_upstream_connections_limit')})`, '{{upstream}} limit'],
        [`sum by (upstream) (${of('spillway_upstream_strangers_limit')})`, '{{upstream}} strangers'],
      ],
    }),
    series({
      title: 'Drained by the operator',
      about: '1: a mail server that gets no new mail, or a node that balancers send no clients to.',
      todo: 'spillway undrain takes it back.',
      width: 24,
      height: 5,
      queries: [
        [`max by (upstream) (${of('spillway_upstream_drained')})`, '{{upstream}}'],
        [of('spillway_drained'), 'node {{instance}}'],
      ],
    }),
    series({
      title: 'Connections made per second, by result',
      about:
        'Connections made for clients. refused: the greeting, EHLO or the command with the client’s address got a negative reply.',
      todo: 'refused: smtpd_authorized_xclient_hosts, or the connection limit of the mail server. timeout: its load, or the network.',
      unit: 'perSecond',
      width: 12,
      colours: ANSWER,
      queries: [[total('spillway_upstream_connects_total', 'upstream, result'), '{{upstream}} {{result}}']],
    }),
    series({
      title: 'Health checks per second, by result',
      about: 'Each node makes its own, even while no mail comes.',
      todo: 'Where they fail and connections for clients do not, the server is at its limit of connections.',
      unit: 'perSecond',
      width: 12,
      colours: ANSWER,
      queries: [[total('spillway_upstream_health_checks_total', 'upstream, result'), '{{upstream}} {{result}}']],
    }),
  ],
}

const replies: Row = {
  title: 'Replies and waits',
  panels: [
    series({
      title: 'Reply to the final dot',
      about: 'Per mail server. Content filters and full disks show here.',
      todo: 'If one server is slower than the others, look at it; if all are, look at what they share.',
      unit: 'seconds',
      width: 12,
      colours: QUANTILE,
      queries: quantiles(REPLY, 'upstream', '{{upstream}}', 'command="dot"'),
    }),
    series({
      title: 'Reply, by command',
      about: 'All mail servers. connect: until ready for MAIL.',
      todo: 'If rcpt is slow, the directory behind them is slow. If connect is, they have no process free.',
      unit: 'seconds',
      width: 12,
      many: true,
      colours: { connect: 'blue', mail: 'light-blue', rcpt: 'yellow', data: 'purple', dot: 'orange' },
      queries: quantiles(REPLY, 'command', '{{command}}'),
    }),
    series({
      title: 'Replies per second, by class',
      about: 'To MAIL, RCPT, DATA and the final dot.',
      todo: 'Many 4xx: full disk, greylisting, a limit of the server. Many 5xx: unknown users, spam that its filter finds.',
      unit: 'perSecond',
      width: 12,
      colours: { '2xx': 'green', '3xx': 'blue', '4xx': 'yellow', '5xx': 'purple' },
      queries: [[total('spillway_upstream_replies_total', 'upstream, class'), '{{upstream}} {{class}}']],
    }),
    series({
      title: 'Wait for a free connection',
      about: 'How long a transaction waited, those that found one free at once included.',
      todo: 'It rises when the mail servers are slow, or when SPILLWAY_UPSTREAM_MAX_CONNECTIONS is too low for them.',
      unit: 'seconds',
      width: 12,
      colours: QUANTILE,
      queries: quantiles('spillway_upstream_slot_wait_seconds', ''),
    }),
    series({
      title: 'In the queue for a connection, by standing',
      about: 'All nodes together. Friends are served before strangers.',
      todo: 'While known clients wait for long, honest mail is late: repair or add mail servers.',
      width: 12,
      many: true,
      colours: STANDING,
      queries: [[`sum by (standing) (${of('spillway_admission_queue_length')})`, '{{standing}}']],
    }),
    series({
      title: 'Wait in the queue, by standing',
      about: 'Of the transactions that found no free connection, whether they got one or heard 451 in the end.',
      todo: 'Strangers may wait for ten seconds. If known clients do, see the line before.',
      unit: 'seconds',
      width: 12,
      many: true,
      colours: STANDING,
      queries: quantiles('spillway_admission_wait_seconds', 'standing', '{{standing}}'),
    }),
    series({
      title: 'Pressure that is asked for, per second',
      about: 'Times that SPILLWAY_UPSTREAM_PRESSURE_URL was asked. failed: late, too long, or no pressure.',
      todo: 'failed: ask the address yourself; docs/overload.md has what it must answer.',
      unit: 'perSecond',
      width: 12,
      colours: ANSWER,
      queries: [[total('spillway_upstream_pressure_asked_total', 'result'), '{{result}}']],
    }),
    series({
      title: '“Unknown user” not believed, by node',
      about: '1: recipients that the mail servers accepted lately are now rejected as unknown, and hear 4xx instead.',
      todo: 'Repair the directory of the mail servers. It ends by itself.',
      width: 12,
      queries: [[of('spillway_unknown_guard_active'), '{{instance}}']],
    }),
  ],
}

const messages: Row = {
  title: 'Messages',
  panels: [
    series({
      title: 'Messages per second, by result',
      about: 'unknown: the mail server did not answer the final dot; the sender was told 4xx and will send it again.',
      todo: 'Many deferred: see Replies. Any unknown: a mail server broke off; its messages may come twice.',
      unit: 'perSecond',
      width: 8,
      stacked: true,
      colours: RESULT,
      queries: [[total('spillway_messages_total', 'result'), '{{result}}']],
    }),
    series({
      title: 'Client gone before the last reply, per second',
      about: 'Messages whose client closed its side before the reply to the final dot: it may send them again.',
      todo: 'If it rises, the reply to the dot takes longer than senders wait: see Reply to the final dot.',
      unit: 'perSecond',
      width: 8,
      colours: RESULT,
      queries: [[total('spillway_messages_client_left_total', 'result'), '{{result}}']],
    }),
    series({
      title: 'Size of accepted messages',
      about: 'Quantiles over all accepted messages.',
      todo: 'Nothing. SPILLWAY_MESSAGE_MAX_SIZE bounds them.',
      unit: 'bytes',
      width: 8,
      colours: QUANTILE,
      queries: quantiles('spillway_message_size_bytes', ''),
    }),
  ],
}

const redis: Row = {
  title: 'Redis',
  panels: [
    series({
      title: 'Redis up',
      about: '1: Redis answers this node in time. 0 also where none is set.',
      todo: 'Check that Redis runs, and that this node reaches it.',
      width: 6,
      queries: [[of('spillway_redis_up'), '{{instance}}']],
    }),
    series({
      title: 'Counting without Redis',
      about: '1: this node goes on with its share of the limits.',
      todo: 'It returns to Redis by itself once that answers within SPILLWAY_REDIS_TIMEOUT.',
      width: 6,
      queries: [[of('spillway_redis_fallback_active'), '{{instance}}']],
    }),
    series({
      title: 'Commands per second, by result',
      about: 'Nobody waits for them. What was late or has failed is told again.',
      todo: 'Many timeouts: Redis is too far away or too busy, or SPILLWAY_REDIS_TIMEOUT is too short.',
      unit: 'perSecond',
      width: 6,
      colours: ANSWER,
      queries: [[total('spillway_redis_commands_total', 'result'), '{{result}}']],
    }),
    series({
      title: 'Time of a command',
      about: 'Nobody waits for it. After SPILLWAY_REDIS_TIMEOUT it counts as lost.',
      todo: 'If p99 nears SPILLWAY_REDIS_TIMEOUT (50 ms), put Redis nearer, or give it a core of its own.',
      unit: 'seconds',
      width: 6,
      colours: QUANTILE,
      queries: quantiles(REDIS_CALLS, ''),
    }),
    series({
      title: 'Commands per second, by use',
      about:
        'add: charges of the limits; nodes: which are there. The others share what is remembered: recipients, history, messages that were put off, bans and the points that lead to them, passed tests, the key of TLS tickets.',
      todo: 'Nothing. Which use grows tells what a flood makes of Redis.',
      unit: 'perSecond',
      width: 12,
      many: true,
      colours: inTurn(REDIS_USES),
      queries: [[total('spillway_redis_commands_total', 'use'), '{{use}}']],
    }),
    series({
      title: 'Time of a command, p99, by use',
      about: 'The same by what it is for.',
      todo: 'If all are slow, it is Redis or the way to it; if one is, report it.',
      unit: 'seconds',
      width: 12,
      many: true,
      colours: inTurn(REDIS_USES),
      queries: [[quantile(0.99, REDIS_CALLS, 'use'), '{{use}}']],
    }),
  ],
}

export const mailServers: readonly Row[] = [glance, connections, replies, messages, redis]
