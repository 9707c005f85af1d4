/**
 * The dashboard Policy and senders: which rule turned away whom, what is known of the senders, and what the fleet runs with. The
 * file is longer than others because each panel says what it means and what to do.
 */
import { BAN_REASONS } from '../../src/core/bans.ts'
import { LIMIT_NAMES } from '../../src/core/limits.ts'
import { CHECK_NAMES, REASON_NAMES, type ReasonName, reasonOf } from '../../src/core/reasons.ts'
import { ANSWER, inTurn, QUANTILE, RESULT, STANDING } from './colours.ts'
import { bars, type Row, series, table, text } from './panels.ts'
import { during, of, quantile, quantiles, total } from './promql.ts'

const REFUSALS = 'spillway_refusals_total'
const WOULD_REFUSE = 'spillway_observe_would_refuse_total'

/** Everything that the operator bounds by a figure. */
const LIMITS: readonly ReasonName[] = [
  ...LIMIT_NAMES,
  ...(['ip_concurrency', 'net_concurrency', 'max_connections', 'recipients', 'size'] as const),
  ...(['session_time', 'session_messages', 'slow_data', 'idle', 'tls_limit'] as const),
]
/** What a client shows by how it talks. */
const TALK: readonly ReasonName[] = [
  'pregreet',
  'pipelining',
  'helo',
  'tongue',
  'junk',
  'line_too_long',
  'bare_newline',
]

const oneOf = (reasons: readonly string[], mode: 'enforce' | 'observe'): string =>
  `mode="${mode}", reason=~"${reasons.join('|')}"`

const rules: Row = {
  title: 'Limits and checks',
  panels: [
    bars({
      title: 'How often each limit fired, in the time shown',
      about: 'Refusals by limits that are in force. The table Reasons says which setting is behind each.',
      todo: 'A limit that fires day after day without a flood is too low for somebody honest: find out whom in the log.',
      width: 12,
      height: 12,
      queries: [[during(REFUSALS, 'reason', oneOf(LIMITS, 'enforce')), '{{reason}}']],
    }),
    bars({
      title: 'What would have been refused (observed only), in the time shown',
      about: 'What the checks named in SPILLWAY_OBSERVE, or set to observe, found and let pass.',
      todo: 'Look here, and at who it was in the log (observe), before you enforce one.',
      width: 12,
      height: 12,
      queries: [[during(REFUSALS, 'reason', 'mode="observe"'), '{{reason}}']],
    }),
    series({
      title: 'Known senders refused for good per second, by reason',
      about:
        'Sessions of known and trusted senders that heard 5xx of Spillway itself and brought nothing: their mail bounces.',
      todo: 'Look at the setting of the reason (docs/refusals.md), and at the sender: spillway status names the latest, spillway explain tells the rest.',
      unit: 'perSecond',
      width: 24,
      stacked: true,
      many: true,
      colours: inTurn(REASON_NAMES),
      queries: [[total('spillway_known_refused_total', 'reason', 'result="for_good"'), '{{reason}}']],
    }),
    series({
      title: 'Would be refused per second, by reason (observed only)',
      about: 'The same over time.',
      todo: 'If honest senders would be hit, put them on SPILLWAY_ALLOW, or widen the limit first.',
      unit: 'perSecond',
      width: 12,
      stacked: true,
      many: true,
      colours: inTurn(REASON_NAMES),
      queries: [[total(REFUSALS, 'reason', 'mode="observe"'), '{{reason}}']],
    }),
    series({
      title: 'Would be refused per second, by stage (observed only)',
      about: 'Where in the session the checks that are only observed would act.',
      todo: 'The earlier a check acts, the cheaper it is in a flood.',
      unit: 'perSecond',
      width: 12,
      stacked: true,
      colours: inTurn(['connect', 'helo', 'mail', 'rcpt', 'data']),
      queries: [[total(REFUSALS, 'stage', 'mode="observe"'), '{{stage}}']],
    }),
    bars({
      title: 'Observed sessions whose mail was accepted, in the time shown',
      about:
        'Sessions that a check would have refused, and whose mail the mail servers then accepted: mostly honest mail.',
      todo: 'spillway observe names the senders and a limit that fits. Enforce a check when it has none here for a week.',
      width: 12,
      height: 12,
      queries: [[during(WOULD_REFUSE, 'check', 'heard="accepted"'), '{{check}}']],
    }),
    bars({
      title: 'Observed sessions whose mail was refused, in the time shown',
      about: 'Sessions that a check would have refused, and the mail servers refused for good, later and at more cost.',
      todo: 'Many here and none to the left: the check is right, and you can enforce it.',
      width: 12,
      height: 12,
      queries: [[during(WOULD_REFUSE, 'check', 'heard="refused"'), '{{check}}']],
    }),
    series({
      title: 'Share of observed sessions that were honest',
      about:
        'By standing: of the sessions that checks would have refused and the mail servers had a say on, how many brought mail that was accepted.',
      todo: 'If known or seen senders are here, a check would hurt them: spillway observe.',
      unit: 'ratio',
      width: 24,
      colours: STANDING,
      queries: [
        [
          `${total(WOULD_REFUSE, 'standing', 'heard="accepted"')} / (${total(WOULD_REFUSE, 'standing', 'heard=~"accepted|refused"')} > 0)`,
          '{{standing}}',
        ],
      ],
    }),
    series({
      title: 'Time a check takes, p99',
      about: 'Checks that answer at once are measured one in 64 times.',
      todo: 'dnsbl may take up to two seconds. Another one that does has a fault: report it.',
      unit: 'seconds',
      width: 12,
      many: true,
      colours: inTurn(CHECK_NAMES),
      queries: [[quantile(0.99, 'spillway_check_duration_seconds', 'check'), '{{check}}']],
    }),
    series({
      title: 'Checks that failed, per second',
      about: 'The check threw or was late, and the client was let pass.',
      todo: 'Anything but 0 is a fault; the log has the details.',
      unit: 'perSecond',
      width: 12,
      many: true,
      colours: inTurn(CHECK_NAMES),
      queries: [[total('spillway_check_failures_total', 'check'), '{{check}}']],
    }),
  ],
}

const early: Row = {
  title: 'How clients talk',
  panels: [
    series({
      title: 'Refused for how they talk, per second',
      about:
        'Clients that speak before the greeting, go on unasked, have an impossible name, or speak another protocol.',
      todo: 'Before a test refuses anybody, let it observe for a week: docs/talk.md.',
      unit: 'perSecond',
      width: 8,
      colours: inTurn(TALK),
      queries: [[total(REFUSALS, 'reason', oneOf(TALK, 'enforce')), '{{reason}}']],
    }),
    series({
      title: 'Would be refused for how they talk, per second',
      about: 'The same tests where they are set to observe.',
      todo: 'The log has the clients (observe). If none of them is honest, set the test to refuse.',
      unit: 'perSecond',
      width: 8,
      colours: inTurn(TALK),
      queries: [[total(REFUSALS, 'reason', oneOf(TALK, 'observe')), '{{reason}}']],
    }),
    series({
      title: 'STARTTLS handshakes per second',
      about: 'ok: with a signature; resumed ones cost none. refused: bounded by SPILLWAY_TLS_HANDSHAKES.',
      todo: 'Many failed: the certificate has expired, or SPILLWAY_TLS_MIN_VERSION is too high for somebody. Many timeouts or refusals: a flood of handshakes, which needs nothing.',
      unit: 'perSecond',
      width: 8,
      colours: ANSWER,
      queries: [[total('spillway_tls_handshakes_total', 'result'), '{{result}}']],
    }),
    series({
      title: 'Bare newlines per second',
      about: 'Bare CR and bare LF in messages: broken clients, or SMTP smuggling.',
      todo: 'SPILLWAY_BARE_NEWLINE repairs or rejects them.',
      unit: 'perSecond',
      width: 12,
      colours: inTurn(['cr', 'lf']),
      queries: [[total('spillway_bare_newlines_total', 'kind'), '{{kind}}']],
    }),
    series({
      title: 'Balancers, per second',
      about: 'Health checks of listed balancers, and their connections without a valid PROXY header.',
      todo: 'No valid PROXY header: a wrong setting in the balancer, or in SPILLWAY_PROXY_PROTOCOL_FROM.',
      unit: 'perSecond',
      width: 12,
      colours: { health: 'blue', header: 'orange' },
      queries: [
        [total('spillway_balancer_probes_total'), 'health checks'],
        [total('spillway_balancer_errors_total'), 'no valid PROXY header'],
      ],
    }),
  ],
}

const recipients: Row = {
  title: 'Recipients',
  panels: [
    series({
      title: 'Recipients per second, by result',
      about: 'Replies to RCPT.',
      todo: 'If many are rejected, somebody is guessing addresses; SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS holds it off.',
      unit: 'perSecond',
      width: 8,
      stacked: true,
      colours: RESULT,
      queries: [[total('spillway_recipients_total', 'result'), '{{result}}']],
    }),
    series({
      title: 'Unknown recipients per second',
      about: 'upstream: a mail server was asked. memory: one has said so within SPILLWAY_UNKNOWN_RECIPIENT_TTL.',
      todo: 'If most are from memory, the mail servers are spared. If a user is missed, wait for that time.',
      unit: 'perSecond',
      width: 8,
      colours: inTurn(['upstream', 'memory']),
      queries: [[total('spillway_unknown_recipients_total', 'source'), '{{source}}']],
    }),
    series({
      title: 'Unknown recipients remembered',
      about: 'Recipients that are answered from memory now.',
      todo: 'Nothing; the table has a fixed size.',
      width: 8,
      queries: [[of('spillway_unknown_recipients_remembered'), '{{instance}}']],
    }),
  ],
}

const senders: Row = {
  title: 'Senders',
  panels: [
    series({
      title: 'Clients remembered, by standing',
      about:
        'What their own history makes of them, on the node that remembers most. known: honest senders; it grows for weeks and falls only when they turn bad. A jump of suspect: a flood whose mail is refused behind Spillway.',
      todo: 'If known falls for all at once, look at what the mail servers refuse: docs/history.md.',
      width: 8,
      colours: STANDING,
      queries: [[`max by (standing) (${of('spillway_standing_clients')})`, '{{standing}}']],
    }),
    series({
      title: 'Known clients, by node',
      about: 'Nodes that share a Redis agree within a minute.',
      todo: 'If one node knows far fewer, it has lost its history: spillway learn, or SPILLWAY_HISTORY_FILE.',
      width: 8,
      queries: [[of('spillway_known_clients'), '{{instance}}']],
    }),
    series({
      title: 'New clients that became seen, per second',
      about: 'They were new when they connected, and the domain of their name has a good history.',
      todo: 'Nothing. 0 where the DNS does not answer: see Questions about clients.',
      unit: 'perSecond',
      width: 8,
      colours: { raised: 'green' },
      queries: [[total('spillway_standings_raised_total'), 'raised']],
    }),
    series({
      title: 'Bans made per second',
      about: 'By what gave the last points; network: of a whole /24 or /48; operator: by the operator.',
      todo: 'spillway bans lists them, and lifts one.',
      unit: 'perSecond',
      width: 12,
      colours: inTurn(BAN_REASONS),
      queries: [[total('spillway_bans_total', 'reason'), '{{reason}}']],
    }),
    series({
      title: 'Bans in force',
      about: 'Addresses and networks that are banned, by themselves or by the operator.',
      todo: 'spillway bans has the list. Nodes that share a Redis agree.',
      width: 12,
      queries: [[of('spillway_bans_active'), '{{instance}}']],
    }),
    series({
      title: 'Packets dropped by the kernel, per second',
      about:
        'Of clients that had heard often enough that they are banned or denied (SPILLWAY_KERNEL_OFFLOAD). They appear nowhere else.',
      todo: 'Nothing. docs/kernel-offload.md says who is dropped, for how long, and how to lift it.',
      unit: 'perSecond',
      width: 24,
      stacked: true,
      colours: inTurn(['banned', 'denied']),
      queries: [[total('spillway_kernel_dropped_packets_total', 'reason'), '{{reason}}']],
    }),
    series({
      title: 'DNS lists, by what they say',
      about: 'error: no answer, or one that is no verdict: the list is set aside.',
      todo: 'error or timeout: the list wants a resolver of your own, or a key. docs/dnsbl.md.',
      unit: 'perSecond',
      width: 12,
      many: true,
      colours: ANSWER,
      queries: [[total('spillway_dnsbl_queries_total', 'zone, result'), '{{zone}} {{result}}']],
    }),
    series({
      title: 'DNS lists that are asked',
      about: '0: the list is set aside, because it fails its test or answers with errors.',
      todo: 'The log says why. Take a list that has ended off SPILLWAY_DNSBL_ZONES.',
      width: 12,
      queries: [[`min by (zone) (${of('spillway_dnsbl_zone_up')})`, '{{zone}}']],
    }),
    series({
      title: 'Questions about clients, by result',
      about:
        'busy: not asked, because too many were under way. No reply waits for a name, and for a DNS list at most two seconds.',
      todo: 'Many busy, failed or timeout: SPILLWAY_DNS_SERVERS should name a caching resolver nearby.',
      unit: 'perSecond',
      width: 12,
      many: true,
      colours: ANSWER,
      queries: [[total('spillway_dns_queries_total', 'use, result'), '{{use}} {{result}}']],
    }),
    series({
      title: 'Time of an answer of the DNS',
      about: 'Also of what was given up. A caching resolver nearby answers most within milliseconds.',
      todo: 'If p50 is above 50 ms, use a resolver nearby.',
      unit: 'seconds',
      width: 12,
      colours: QUANTILE,
      queries: quantiles('spillway_dns_query_duration_seconds', ''),
    }),
  ],
}

const fleet: Row = {
  title: 'The fleet',
  panels: [
    table({
      title: 'Versions and settings of the nodes',
      about: 'Nodes with the same hash have the same settings, apart from name, addresses and MAX_CONNECTIONS.',
      todo: 'Another hash for long: the node was not reloaded, or its files are others. Compare settings.hash and settings.needsRestart in /api/v1/status.',
      width: 12,
      columns: { instance: 'node', version: 'version', hash: 'hash of the settings' },
      queries: [
        [
          `max by (job, instance, hash) (${of('spillway_settings_info')}) * on (job, instance) group_left (version) max by (job, instance, version) (${of('spillway_build_info')})`,
          '{{instance}}',
        ],
      ],
    }),
    series({
      title: 'Certificates: time left',
      about: 'Until the certificate expires, on the node where it is oldest. A renewed one is read without a restart.',
      todo: 'Below 14 days renewal has failed: certbot renew --dry-run.',
      unit: 'seconds',
      width: 12,
      height: 6,
      queries: [[`min by (name) (${of('spillway_tls_certificate_expiry_timestamp_seconds')}) - time()`, '{{name}}']],
    }),
    series({
      title: 'Certificate files that cannot be used',
      about: '1: a file has changed and cannot be used. The certificates read before stay in use.',
      todo: 'The log and /readyz?verbose say which file it is, and what is wrong with it.',
      width: 8,
      queries: [[of('spillway_tls_certificates_stale'), '{{instance}}']],
    }),
    series({
      title: 'Reloads of the settings, by result',
      about: 'failed: there was a mistake in the settings, or they could not be read.',
      todo: 'spillway reload and the log name each mistake, and what would be right.',
      unit: 'perSecond',
      width: 8,
      colours: ANSWER,
      queries: [[total('spillway_reload_total', 'result'), '{{result}}']],
    }),
    series({
      title: 'The last reload has failed',
      about: '1: the settings before it stay in force until a reload succeeds.',
      todo: 'spillway check says what is wrong. A restart would fail as well.',
      width: 8,
      queries: [[of('spillway_settings_stale'), '{{instance}}']],
    }),
  ],
}

const MEANINGS = [
  '| reason | reply | it means |',
  '|---|---|---|',
  ...REASON_NAMES.map((name) => {
    const { code, enhanced, operator } = reasonOf(name)
    return `| ${name} | ${code} ${enhanced} | ${operator} |`
  }),
].join('\n')

const meanings: Row = { title: 'Reasons', panels: [text('What the reasons mean', 24, 26, MEANINGS)] }

export const policy: readonly Row[] = [rules, early, recipients, senders, fleet, meanings]
