/** The rows about mail itself, in the order of a connection's life: it comes in, is refused or relayed, reaches a mail server. */
import { REASON_NAMES, reasonOf } from '../../src/core/reasons.ts'
import { type Panel, series, text } from './panels.ts'
import { of, quantile, total } from './promql.ts'

const P = [0.5, 0.95, 0.99] as const
const quantiles = (metric: string, by: string, legend: string, labels = ''): [string, string][] =>
  P.map((q) => [quantile(q, metric, by, labels), `${legend} p${q * 100}`])

export const incoming: readonly Panel[] = [
  series({
    title: 'Connections per second',
    about: 'Accepted connections by address family, before any check.',
    unit: 'perSecond',
    width: 8,
    stacked: true,
    queries: [[total('spillway_connections_total', 'family'), '{{family}}']],
  }),
  series({
    title: 'Connections per second, by node',
    about: 'If this is uneven, the balancer or the MX records do not spread connections evenly.',
    unit: 'perSecond',
    width: 8,
    queries: [[total('spillway_connections_total', 'instance'), '{{instance}}']],
  }),
  series({
    title: 'Connections open',
    about: 'By node and family. At SPILLWAY_MAX_CONNECTIONS a node refuses with max_connections.',
    width: 8,
    stacked: true,
    queries: [[of('spillway_connections_open'), '{{instance}} {{family}}']],
  }),
  series({
    title: 'STARTTLS handshakes per second',
    about:
      'Many failures: the certificate has expired, or clients speak no version of TLS that SPILLWAY_TLS_MIN_VERSION allows. Many timeouts or refusals: somebody floods with handshakes; SPILLWAY_TLS_HANDSHAKES bounds them. Resumed ones cost no signature.',
    unit: 'perSecond',
    width: 6,
    queries: [[total('spillway_tls_handshakes_total', 'result'), '{{result}}']],
  }),
  series({
    title: 'Certificates: time left',
    about: 'Until the certificate expires, on the node where it is oldest. A renewed one is read without a restart.',
    unit: 'seconds',
    width: 6,
    queries: [[`min by (name) (${of('spillway_tls_certificate_expiry_timestamp_seconds')}) - time()`, '{{name}}']],
  }),
  series({
    title: 'Certificate files that cannot be used',
    about:
      '1: a file has changed and cannot be used. The certificates read before stay in use. The log says which file it is.',
    width: 6,
    queries: [[of('spillway_tls_certificates_stale'), '{{instance}}']],
  }),
  series({
    title: 'Balancers, per second',
    about:
      'Health checks of listed balancers, and their connections without a valid PROXY header. The latter mean a wrong setting in the balancer or in Spillway.',
    unit: 'perSecond',
    width: 6,
    queries: [
      [total('spillway_balancer_probes_total'), 'health checks'],
      [total('spillway_balancer_errors_total'), 'no valid PROXY header'],
    ],
  }),
]

const MEANINGS = [
  '| reason | reply | it means |',
  '|---|---|---|',
  ...REASON_NAMES.map((name) => {
    const { code, enhanced, operator } = reasonOf(name)
    return `| ${name} | ${code} ${enhanced} | ${operator} |`
  }),
].join('\n')

export const shed: readonly Panel[] = [
  series({
    title: 'Refused per second, by reason',
    about: `Replies that refused a client, a message or a recipient. The reason is the same word as in the log.\n\n${MEANINGS}`,
    unit: 'perSecond',
    width: 12,
    height: 10,
    stacked: true,
    many: true,
    queries: [[total('spillway_refusals_total', 'reason', 'mode="enforce"'), '{{reason}}']],
  }),
  series({
    title: 'Would be refused per second, by reason (observed only)',
    about: 'What the checks named in SPILLWAY_OBSERVE found and let pass. Look here before you enforce one.',
    unit: 'perSecond',
    width: 12,
    height: 10,
    stacked: true,
    many: true,
    queries: [[total('spillway_refusals_total', 'reason', 'mode="observe"'), '{{reason}}']],
  }),
  series({
    title: 'Packets dropped by the kernel, per second',
    about:
      'Of clients that had heard often enough that they are banned or denied (SPILLWAY_KERNEL_OFFLOAD). They appear nowhere else.',
    unit: 'perSecond',
    width: 24,
    stacked: true,
    queries: [[total('spillway_kernel_dropped_packets_total', 'reason'), '{{reason}}']],
  }),
  series({
    title: 'Refused per second, by stage',
    about: 'The earlier, the cheaper: a refusal at connect costs only one line.',
    unit: 'perSecond',
    width: 8,
    stacked: true,
    queries: [[total('spillway_refusals_total', 'stage', 'mode="enforce"'), '{{stage}}']],
  }),
  series({
    title: 'Would be refused per second, by stage (observed only)',
    about: 'The same for checks that are only observed.',
    unit: 'perSecond',
    width: 8,
    stacked: true,
    queries: [[total('spillway_refusals_total', 'stage', 'mode="observe"'), '{{stage}}']],
  }),
  series({
    title: 'Refused per second, by action',
    about: 'drop: one reply and the connection is closed. defer: 4xx, the connection goes on. reject: 5xx, for good.',
    unit: 'perSecond',
    width: 8,
    stacked: true,
    queries: [[total('spillway_refusals_total', 'action', 'mode="enforce"'), '{{action}}']],
  }),
  text('What the reasons mean', 24, 10, MEANINGS),
]

export const relayed: readonly Panel[] = [
  series({
    title: 'Messages per second, by result',
    about: 'unknown: the mail server did not answer the final dot; the sender was told 4xx and will send it again.',
    unit: 'perSecond',
    width: 8,
    stacked: true,
    queries: [[total('spillway_messages_total', 'result'), '{{result}}']],
  }),
  series({
    title: 'Recipients per second, by result',
    about: 'Replies to RCPT. If many are rejected, somebody is guessing addresses.',
    unit: 'perSecond',
    width: 8,
    stacked: true,
    queries: [[total('spillway_recipients_total', 'result'), '{{result}}']],
  }),
  series({
    title: 'Size of accepted messages',
    about: 'Quantiles over all accepted messages.',
    unit: 'bytes',
    width: 8,
    queries: quantiles('spillway_message_size_bytes', '', 'size'),
  }),
  series({
    title: 'Sessions ended per second, by outcome',
    about:
      'relayed: a message was accepted. Else shed: refused because of load. Else rejected: refused because of what it is. Else aborted by the client, or none of these.',
    unit: 'perSecond',
    width: 8,
    stacked: true,
    queries: [[total('spillway_sessions_total', 'outcome'), '{{outcome}}']],
  }),
  series({
    title: 'Length of sessions, p95',
    about: 'From accept to the end, by outcome.',
    unit: 'seconds',
    width: 8,
    queries: [[quantile(0.95, 'spillway_session_duration_seconds', 'outcome'), '{{outcome}}']],
  }),
  series({
    title: 'Messages accepted per second, by standing of the client',
    about: 'In a flood, known and trusted clients should go on as before.',
    unit: 'perSecond',
    width: 8,
    stacked: true,
    queries: [[total('spillway_messages_total', 'standing', 'result="accepted"'), '{{standing}}']],
  }),
]

export const upstreams: readonly Panel[] = [
  series({
    title: 'Up',
    about: 'Share of nodes that use the mail server. If nodes disagree, look at the network between them and it.',
    unit: 'ratio',
    width: 8,
    queries: [[`avg by (upstream) (${of('spillway_upstream_up')})`, '{{upstream}}']],
  }),
  series({
    title: 'Connections, and their limit',
    about: 'All nodes together. At the limit, transactions wait for a free connection: see the next panel.',
    width: 8,
    queries: [
      [`sum by (upstream) (${of('spillway_upstream_connections_open')})`, '{{upstream}}'],
      [`sum by (upstream) (${of('spillway_upstream_connections_limit')})`, '{{upstream}} limit'],
      [`sum by (upstream) (${of('spillway_upstream_strangers_limit')})`, '{{upstream}} limit of strangers'],
    ],
  }),
  series({
    title: 'Wait for a free connection',
    about:
      'How long a transaction waited. It rises when the mail servers are slow, or when SPILLWAY_UPSTREAM_MAX_CONNECTIONS is too low for them.',
    unit: 'seconds',
    width: 8,
    queries: quantiles('spillway_upstream_slot_wait_seconds', '', 'wait'),
  }),
  series({
    title: 'In the queue for a connection, by standing',
    about:
      'All nodes together. Friends are served before strangers. While known clients wait for long, honest mail is late.',
    width: 12,
    many: true,
    queries: [[`sum by (standing) (${of('spillway_admission_queue_length')})`, '{{standing}}']],
  }),
  series({
    title: 'Wait in the queue, by standing',
    about: 'Of the transactions that found no free connection, whether they got one or heard 451 in the end.',
    unit: 'seconds',
    width: 12,
    many: true,
    queries: quantiles('spillway_admission_wait_seconds', 'standing', '{{standing}}'),
  }),
  series({
    title: 'Reply to the final dot',
    about: 'Per mail server. Content filters and full disks show here.',
    unit: 'seconds',
    width: 12,
    queries: quantiles('spillway_upstream_reply_duration_seconds', 'upstream', '{{upstream}}', 'command="dot"'),
  }),
  series({
    title: 'Reply, by command',
    about: 'All mail servers. connect: until ready for MAIL. If rcpt is slow, the directory behind them is slow.',
    unit: 'seconds',
    width: 12,
    many: true,
    queries: quantiles('spillway_upstream_reply_duration_seconds', 'command', '{{command}}'),
  }),
  series({
    title: 'Replies per second, by class',
    about: 'To MAIL, RCPT, DATA and the final dot.',
    unit: 'perSecond',
    width: 8,
    queries: [[total('spillway_upstream_replies_total', 'upstream, class'), '{{upstream}} {{class}}']],
  }),
  series({
    title: 'Connections made per second, by result',
    about:
      'Connections made for clients. refused: the greeting, EHLO or the command with the client’s address got a negative reply.',
    unit: 'perSecond',
    width: 8,
    queries: [[total('spillway_upstream_connects_total', 'upstream, result'), '{{upstream}} {{result}}']],
  }),
  series({
    title: 'Health checks per second, by result',
    about: 'Each node makes its own, even while no mail comes.',
    unit: 'perSecond',
    width: 8,
    queries: [[total('spillway_upstream_health_checks_total', 'upstream, result'), '{{upstream}} {{result}}']],
  }),
]
