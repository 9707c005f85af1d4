/**
 * Every metric, declared once and in one table; the home of prom-client. The file is longer than others because it is
 * that table. The names and labels are a contract with dashboards and alerts. All sets of label values are closed: none
 * is ever taken from what a client sent.
 */
import * as prom from 'prom-client'
import { BAN_REASONS } from '../core/bans.ts'
import { REMEMBERED, STANDINGS, type Standing } from '../core/client.ts'
import { KERNEL_REASONS } from '../core/kernel.ts'
import { GLOBAL_LIMITS, type GlobalLimit } from '../core/limits.ts'
import { CAME, SIGNALS, type Signal } from '../core/overload.ts'
import { actionsAt, CHECK_NAMES, formsOf, REASON_NAMES, reasonOf } from '../core/reasons.ts'
import { combinations, type Declaration, Family, Histograms } from './series.ts'

const FAMILIES = ['ipv4', 'ipv6'] as const
export const OUTCOMES = ['relayed', 'shed', 'rejected', 'aborted', 'none'] as const
export type Outcome = (typeof OUTCOMES)[number]
/**
 * What the mail servers said of a session. accepted: they accepted a message of it; refused: they refused a recipient or a message of
 * it for good (5yz), and accepted none; none: neither. A 4yz is no verdict: it says "not now" to whoever comes.
 */
export const HEARD = ['accepted', 'refused', 'none'] as const
export type Heard = (typeof HEARD)[number]
const MESSAGE_RESULTS = ['accepted', 'deferred', 'rejected', 'aborted', 'unknown'] as const
export type MessageResult = (typeof MESSAGE_RESULTS)[number]
export const UPSTREAM_COMMANDS = ['connect', 'mail', 'rcpt', 'data', 'dot'] as const
export type UpstreamCommand = (typeof UPSTREAM_COMMANDS)[number]
/** refused: the greeting, or the reply to EHLO or to the command that passes on the client's address, was negative. */
export const CONNECT_RESULTS = ['ok', 'failed', 'timeout', 'refused'] as const
/** Where the answer to a recipient that the mail servers do not know comes from: one that was asked, or what one said before. */
export const ANSWERED_FROM = ['upstream', 'memory'] as const
const REPLY_CLASSES = ['2xx', '3xx', '4xx', '5xx'] as const
export type ConnectResult = (typeof CONNECT_RESULTS)[number]

/**
 * add: charges made or given back; nodes: which are there; known: sharing the recipients that were accepted lately; history: sharing the
 * history of clients; neighbourhoods: sharing which networks send spam; returns: sharing what was put off lately; bans: sharing bans;
 * passed: sharing which clients have passed a test; tickets: agreeing on the key of TLS session tickets; sessions: keeping sessions for
 * explanations, and looking for them; week: keeping what is normal in an hour of the week; points: sharing the points of offenders;
 * explain: asking other nodes what an address is to them, and answering.
 */
export const REDIS_USES = [
  'add',
  'nodes',
  'known',
  'history',
  'neighbourhoods',
  'returns',
  'bans',
  'passed',
  'tickets',
  'sessions',
  'week',
  'points',
  'explain',
] as const
export type RedisUse = (typeof REDIS_USES)[number]
const REDIS_RESULTS = ['ok', 'failed', 'timeout'] as const

/** name: the forward-confirmed name of a client; list: what DNS lists say of it. */
const DNS_USES = ['name', 'list'] as const
export type DnsUse = (typeof DNS_USES)[number]
/** absent: there is no such record; busy: not asked, because too many questions are open. */
const DNS_RESULTS = ['answered', 'absent', 'failed', 'timeout', 'busy'] as const
export type DnsResult = (typeof DNS_RESULTS)[number]
/** error: no answer, or one that is no verdict. */
const DNSBL_RESULTS = ['listed', 'clear', 'error', 'timeout'] as const
export type DnsblResult = (typeof DNSBL_RESULTS)[number]

/** Refusals by checks, enforced and observed, and those by the wire rules and the relay, which are always enforced. */
const REFUSALS = REASON_NAMES.flatMap((name) => {
  const { stages, check } = reasonOf(name)
  const modes = check === undefined ? ['enforce'] : ['enforce', 'observe']
  return stages.flatMap((stage) => combinations([stage], [name], actionsAt(name, stage), modes))
})

/** put_off: it heard 4yz; for_good: 5yz. */
export const KNOWN_REFUSED = ['put_off', 'for_good'] as const
export type KnownRefused = (typeof KNOWN_REFUSED)[number]
export const knownRefusedOf = (code: number): KnownRefused => (code < 500 ? 'put_off' : 'for_good')
/** What known senders may hear for a reason. */
export const KNOWN_REFUSED_ROWS = REASON_NAMES.flatMap((name) =>
  [...new Set(formsOf(name).map(({ code }) => knownRefusedOf(code)))].map((result) => [name, result] as const),
)

const RATIONED_RESULTS = ['let_in', 'put_off'] as const

const FAST_S = [0.00001, 0.000025, 0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 1]
const WAIT_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]
const SESSION_S = [0.001, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900]
const SIZE_B = [1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 16e6, 64e6]

/** Of a sum nobody could tell that one worker is busy or short of files. */
const PER_WORKER = /^nodejs_eventloop_lag_|^process_(open|max)_fds$/

/** Gauges of prom-client whose names end in `_total`. promtool rejects them, because that ending is for counters. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

export interface MetricsOptions {
  readonly version: string
  /** Labels of the upstreams, as the operator wrote them. */
  readonly upstreams: readonly string[]
  /** For many nodes in one process: what measures the process goes on for as long as the process, and is needed once. */
  readonly ofProcess?: ProcessMetrics | undefined
}

/** Where gauges get their values at each scrape. */
export interface GaugeSources {
  connectionsOpen(family: 4 | 6): number
  /** Whether the operator has drained the node. */
  drained(): boolean
  upstreamUp(label: string): boolean
  /** Whether the operator has drained it. */
  upstreamDrained(label: string): boolean
  upstreamConnections(label: string): number
  upstreamLimit(label: string): number
  upstreamStrangersLimit(label: string): number
  /** The share of a global limit that is in use, 0 or more; 0 where the limit is off. */
  limitUtilization(limit: GlobalLimit): number
  trackedClients(): number
  /** Clients that are remembered, by what their own history makes of them. */
  remembered(standing: (typeof REMEMBERED)[number]): number
  unknownGuardActive(): boolean
  /** Addresses and networks that are banned now. */
  bansActive(): number
  /** Recipients that a mail server has called unknown a short while ago. */
  unknownRemembered(): number
  overloadLevel(): number
  overloadPressure(signal: Signal): number
  admission(standing: Standing): number
  guessAdmission(): number
  /** Clients of a standing that wait for a connection to an upstream. */
  admissionQueue(standing: Standing): number
}

export type Metrics = ReturnType<typeof createMetrics>

export type ProcessMetrics = prom.Registry

/** A registry with the usual metrics of a process. @param ofProcess where they are measured already */
export function createRegistry(ofProcess: ProcessMetrics = measureProcess()): prom.Registry {
  const registry = new prom.Registry()
  // They are metrics, which the types of prom-client do not say.
  for (const metric of ofProcess.getMetricsAsArray()) registry.registerMetric(metric as unknown as prom.Metric)
  return registry
}

/** Begins to measure this process, until it ends. */
export function measureProcess(): ProcessMetrics {
  const registry = new prom.Registry()
  prom.collectDefaultMetrics({ register: registry })
  for (const name of MISNAMED) registry.removeSingleMetric(name)
  for (const metric of registry.getMetricsAsArray()) {
    if (PER_WORKER.test(metric.name)) Object.assign(metric, { aggregator: 'each' })
    if (metric.name === 'process_start_time_seconds') Object.assign(metric, { aggregator: 'min' })
  }
  return registry
}

/** Of several workers, the parent counts these. */
export const RELOADS = {
  name: 'spillway_reload_total',
  help: 'Reloads of the settings; failed: there was a mistake in them, and those before stay in force.',
  labels: ['result'],
  rows: [['ok'], ['failed']],
} as const satisfies Declaration
export const SETTINGS_STALE = {
  name: 'spillway_settings_stale',
  help: '1 while the last reload has failed: the settings before it stay in force.',
} as const satisfies Declaration
export const SETTINGS_INFO = {
  name: 'spillway_settings_info',
  help: 'Always 1; the label has the hash of the settings in force, but for those that a node has for itself, such as its name.',
  labels: ['hash'],
  rows: [],
} as const satisfies Declaration

export const WORKER_UP = {
  name: 'spillway_worker_up',
  help: '1 while the worker answers its parent; at 0 its counters are as it last told them, and its gauges are missing.',
  labels: ['worker'],
} as const satisfies Declaration
export const WORKER_RESTARTS = {
  name: 'spillway_worker_restarts_total',
  help: 'Times the worker ended by itself and was replaced.',
  labels: ['worker'],
} as const satisfies Declaration
/** One process that serves all is its own only worker. */
const ONLY = [['1']] as const

export function createMetrics({ version, upstreams, ofProcess }: MetricsOptions) {
  const registry = createRegistry(ofProcess)

  new Family(registry, 'gauge', { ...WORKER_UP, rows: ONLY }).of('1').value = 1
  new Family(registry, 'counter', { ...WORKER_RESTARTS, rows: ONLY })
  let sources: GaugeSources | undefined
  let inUse = upstreams
  let connected = upstreams
  const named = (declared: Declaration): Declaration => ({ ...declared, name: `spillway_${declared.name}` })
  const counter = (declared: Declaration): Family => new Family(registry, 'counter', named(declared))
  const gauge = (declared: Declaration, read: (from: GaugeSources, all: Family) => void): Family =>
    new Family(registry, 'gauge', named(declared), (all) => sources && read(sources, all))
  const histogram = (bounds: readonly number[], declared: Declaration): Histograms =>
    new Histograms(registry, bounds, named(declared))
  const perUpstream = upstreams.map((label) => [label])

  new Family(registry, 'gauge', {
    name: 'spillway_build_info',
    help: 'Always 1; the version is in the label.',
    together: 'max',
    labels: ['version'],
    rows: [[version]],
  }).of(version).value = 1
  gauge(
    {
      name: 'connections_open',
      help: 'Client connections open now.',
      labels: ['family'],
      rows: combinations(FAMILIES),
    },
    (from, all) => {
      all.of('ipv4').value = from.connectionsOpen(4)
      all.of('ipv6').value = from.connectionsOpen(6)
    },
  )
  gauge(
    {
      name: 'limit_utilization_ratio',
      help: 'Share of a global limit that is in use; 0 where the limit is off.',
      together: 'max',
      labels: ['limit'],
      rows: combinations(GLOBAL_LIMITS),
    },
    (from, all) => {
      for (const limit of GLOBAL_LIMITS) all.of(limit).value = from.limitUtilization(limit)
    },
  )
  const upstreamUp = gauge(
    {
      name: 'upstream_up',
      help: '1 while the upstream is in rotation: it is well, and the operator has not drained it.',
      labels: ['upstream'],
      rows: perUpstream,
      together: 'max',
    },
    (from, all) => {
      for (const label of inUse) all.of(label).value = from.upstreamUp(label) ? 1 : 0
    },
  )
  const upstreamDrained = gauge(
    {
      name: 'upstream_drained',
      help: '1 while the operator has drained the upstream (spillway drain): it gets no new mail, however well it is.',
      labels: ['upstream'],
      rows: perUpstream,
      together: 'max',
    },
    (from, all) => {
      for (const label of inUse) all.of(label).value = from.upstreamDrained(label) ? 1 : 0
    },
  )
  gauge(
    {
      name: 'drained',
      help: '1 while the operator has drained the node (spillway drain): /readyz says 503, and whoever still comes is served.',
      together: 'max',
    },
    (from, all) => {
      all.of().value = from.drained() ? 1 : 0
    },
  )
  const upstreamConnectionsOpen = gauge(
    {
      name: 'upstream_connections_open',
      help: 'Connections to the upstream that are open or being opened.',
      labels: ['upstream'],
      rows: perUpstream,
    },
    (from, all) => {
      for (const label of connected) all.of(label).value = from.upstreamConnections(label)
    },
  )
  const upstreamConnectionsLimit = gauge(
    {
      name: 'upstream_connections_limit',
      help: 'Connections this node may hold to the upstream.',
      labels: ['upstream'],
      rows: perUpstream,
    },
    (from, all) => {
      for (const label of connected) all.of(label).value = from.upstreamLimit(label)
    },
  )
  const upstreamStrangersLimit = gauge(
    {
      name: 'upstream_strangers_limit',
      help: 'Connections this node lets clients hold to the upstream that are neither trusted, known nor seen.',
      labels: ['upstream'],
      rows: perUpstream,
    },
    (from, all) => {
      for (const label of connected) all.of(label).value = from.upstreamStrangersLimit(label)
    },
  )
  gauge(
    {
      name: 'overload_level',
      help: 'The overload level: 0 normal, 1 elevated, 2 stressed, 3 shedding new senders, 4 survival.',
      together: 'max',
    },
    (from, all) => {
      all.of().value = from.overloadLevel()
    },
  )
  gauge(
    {
      name: 'overload_pressure_ratio',
      help: 'What is measured over its target: 1 is at the target, and the largest decides about the level.',
      together: 'max',
      labels: ['signal'],
      rows: combinations(SIGNALS),
    },
    (from, all) => {
      for (const signal of SIGNALS) all.of(signal).value = from.overloadPressure(signal)
    },
  )
  gauge(
    {
      name: 'admission_ratio',
      help: 'Share of the messages of a standing that the overload level lets in; 0 also where it refuses the client at the banner.',
      together: 'min',
      labels: ['standing'],
      rows: combinations(STANDINGS),
    },
    (from, all) => {
      for (const standing of STANDINGS) all.of(standing).value = from.admission(standing)
    },
  )
  gauge(
    {
      name: 'guess_admission_ratio',
      help: 'Share of the messages of strangers that is let in of those for recipients that no upstream has accepted in 30 days; below 1 while too many are in vain.',
      together: 'min',
    },
    (from, all) => {
      all.of().value = from.guessAdmission()
    },
  )
  gauge(
    {
      name: 'admission_queue_length',
      help: 'Clients that wait for a free upstream connection, by standing.',
      labels: ['standing'],
      rows: combinations(STANDINGS),
    },
    (from, all) => {
      for (const standing of STANDINGS) all.of(standing).value = from.admissionQueue(standing)
    },
  )
  gauge({ name: 'tracked_clients', help: 'Client addresses for which the limits hold a count.' }, (from, all) => {
    all.of().value = from.trackedClients()
  })
  gauge(
    {
      name: 'known_clients',
      help: 'Clients that have sent honest mail before: standing known by their own history.',
      together: 'max',
    },
    (from, all) => {
      all.of().value = from.remembered('known')
    },
  )
  gauge(
    {
      name: 'standing_clients',
      help: 'Clients that are remembered, by the standing that their own history gives them; up to a minute old.',
      together: 'max',
      labels: ['standing'],
      rows: combinations(REMEMBERED),
    },
    (from, all) => {
      for (const standing of REMEMBERED) all.of(standing).value = from.remembered(standing)
    },
  )
  gauge(
    {
      name: 'unknown_guard_active',
      help: '1 while "unknown user" from the upstreams is not believed: they say it of recipients they accepted recently.',
      together: 'max',
    },
    (from, all) => {
      all.of().value = from.unknownGuardActive() ? 1 : 0
    },
  )
  gauge(
    {
      name: 'bans_active',
      help: 'Addresses and networks that are banned, by themselves or by the operator, as far as this process has heard.',
      together: 'max',
    },
    (from, all) => {
      all.of().value = from.bansActive()
    },
  )
  gauge(
    {
      name: 'unknown_recipients_remembered',
      help: 'Recipients that are answered from memory: an upstream has called them unknown within UNKNOWN_RECIPIENT_TTL.',
    },
    (from, all) => {
      all.of().value = from.unknownRemembered()
    },
  )

  const upstreamConnects = counter({
    name: 'upstream_connects_total',
    help: 'Connections made to upstreams for clients.',
    labels: ['upstream', 'result'],
    rows: combinations(upstreams, CONNECT_RESULTS),
  })
  const upstreamHealthChecks = counter({
    name: 'upstream_health_checks_total',
    help: 'Health checks of upstreams.',
    labels: ['upstream', 'result'],
    rows: combinations(upstreams, CONNECT_RESULTS),
  })
  const upstreamReplyDuration = histogram(WAIT_S, {
    name: 'upstream_reply_duration_seconds',
    help: 'Time until the upstream replied; connect: until it was ready for MAIL.',
    labels: ['upstream', 'command'],
    rows: combinations(upstreams, UPSTREAM_COMMANDS),
  })
  const upstreamReplies = counter({
    name: 'upstream_replies_total',
    help: 'Replies of upstreams to MAIL, RCPT, DATA and the final dot.',
    labels: ['upstream', 'class'],
    rows: combinations(upstreams, REPLY_CLASSES),
  })

  const dnsblQueries = counter({
    name: 'dnsbl_queries_total',
    help: 'Questions to DNS lists about clients; error: no answer, or one that is no verdict. A key in the name of a zone is left out.',
    labels: ['zone', 'result'],
    rows: [],
  })
  const dnsblZoneUp = new Family(registry, 'gauge', {
    name: 'spillway_dnsbl_zone_up',
    help: '1 while a DNS list is asked; 0 while it is set aside, because it fails its test or answers with errors.',
    together: 'min',
    labels: ['zone'],
    rows: [],
  })

  return {
    registry,
    dnsblQueries,
    dnsblZoneUp,
    /** From now on these DNS lists are asked. */
    setDnsblZones(zones: readonly string[]): void {
      dnsblQueries.keep(combinations(zones, DNSBL_RESULTS))
      dnsblZoneUp.keep(combinations(zones))
    },
    /**
     * From now on these upstreams are in use, and the others among `connected` still end what they have. Series of those that
     * stay go on counting.
     */
    setUpstreams(used: readonly string[], all: readonly string[]): void {
      inUse = used
      connected = all
      upstreamUp.keep(combinations(used))
      upstreamDrained.keep(combinations(used))
      upstreamConnectionsOpen.keep(combinations(all))
      upstreamConnectionsLimit.keep(combinations(all))
      upstreamStrangersLimit.keep(combinations(all))
      upstreamConnects.keep(combinations(all, CONNECT_RESULTS))
      upstreamHealthChecks.keep(combinations(all, CONNECT_RESULTS))
      upstreamReplyDuration.keep(combinations(all, UPSTREAM_COMMANDS))
      upstreamReplies.keep(combinations(all, REPLY_CLASSES))
    },
    /**
     * Sets the parts that the gauges read from, or removes them when they are stopped: prom-client observes garbage
     * collection for as long as the process runs, and would keep all the parts in memory.
     */
    watch(from: GaugeSources | undefined): void {
      sources = from
    },

    connections: counter({
      name: 'connections_total',
      help: 'Client connections accepted.',
      labels: ['family'],
      rows: combinations(FAMILIES),
    }),
    sessions: counter({
      name: 'sessions_total',
      help: 'Sessions that ended, by outcome.',
      labels: ['outcome', 'standing'],
      rows: combinations(OUTCOMES, STANDINGS),
    }),
    sessionDuration: histogram(SESSION_S, {
      name: 'session_duration_seconds',
      help: 'From accept to the end of the session.',
      labels: ['outcome'],
      rows: combinations(OUTCOMES),
    }),
    refusals: counter({
      name: 'refusals_total',
      help: 'Replies that turned away a client, a message or a recipient; in mode observe, those that would have.',
      labels: ['stage', 'reason', 'action', 'mode'],
      rows: REFUSALS,
    }),
    knownRefused: counter({
      name: 'known_refused_total',
      help: 'Sessions of trusted and known senders that relayed nothing because Spillway refused them, by the reason it gave last; put_off: with 4yz; for_good: with 5yz. Known is also who would be, but for a ban by the operator. What the mail servers refused is not counted.',
      labels: ['reason', 'result'],
      rows: KNOWN_REFUSED_ROWS,
    }),
    observeWouldRefuse: counter({
      name: 'observe_would_refuse_total',
      help: 'Sessions that a check in observe mode would have refused, by what the mail servers then said of them; accepted: they accepted a message; refused: they refused a recipient or a message for good, and accepted none; none: neither.',
      labels: ['check', 'heard', 'standing'],
      rows: combinations(CHECK_NAMES, HEARD, STANDINGS),
    }),
    messages: counter({
      name: 'messages_total',
      help: 'Messages by result; unknown: the upstream did not answer the final dot.',
      labels: ['result', 'standing'],
      rows: combinations(MESSAGE_RESULTS, STANDINGS),
    }),
    standingsRaised: counter({
      name: 'standings_raised_total',
      help: 'Clients that were new when they connected, and seen when their message was judged, at MAIL or RCPT: the domain of their name has a good history.',
    }),
    rationedMessages: counter({
      name: 'rationed_messages_total',
      help: 'Messages of clients of which the overload level lets in only a share; came: first: for the first time; back: it was put off and has come back from the same network or domain; elsewhere: the same from another network.',
      labels: ['came', 'result'],
      rows: combinations(CAME, RATIONED_RESULTS),
    }),
    messagesClientLeft: counter({
      name: 'messages_client_left_total',
      help: 'Messages whose client closed its side before the reply to the final dot: it may send them again.',
      labels: ['result'],
      rows: [['accepted'], ['deferred'], ['rejected'], ['unknown']],
    }),
    recipients: counter({
      name: 'recipients_total',
      help: 'Replies to RCPT.',
      labels: ['result'],
      rows: [['accepted'], ['deferred'], ['rejected']],
    }),
    unknownRecipients: counter({
      name: 'unknown_recipients_total',
      help: 'Recipients that the upstreams do not know; source: upstream: one was asked; memory: one has said so within UNKNOWN_RECIPIENT_TTL.',
      labels: ['source'],
      rows: combinations(ANSWERED_FROM),
    }),
    bans: counter({
      name: 'bans_total',
      help: 'Bans that were made here, by what gave the last points; network: of a whole /24 or /48; operator: by the operator.',
      labels: ['reason'],
      rows: combinations(BAN_REASONS),
    }),
    kernelDropped: counter({
      name: 'kernel_dropped_packets_total',
      help: 'Packets that the kernel dropped, of clients that had heard often enough that they are banned or denied (KERNEL_OFFLOAD). A client that gets no answer sends several for one connection.',
      labels: ['reason'],
      rows: combinations(KERNEL_REASONS),
    }),
    messageSize: histogram(SIZE_B, { name: 'message_size_bytes', help: 'Size of messages the upstreams accepted.' }),
    bareNewlines: counter({
      name: 'bare_newlines_total',
      help: 'Bare CR and bare LF seen in messages.',
      labels: ['kind'],
      rows: [['cr'], ['lf']],
    }),
    checkDuration: histogram(FAST_S, {
      name: 'check_duration_seconds',
      help: 'Time a check took to judge; where it answers at once, one judgement in 64 is measured.',
      labels: ['check'],
      rows: combinations(CHECK_NAMES),
    }),
    checkFailures: counter({
      name: 'check_failures_total',
      help: 'Times a check threw or was late; the client was let through.',
      labels: ['check'],
      rows: combinations(CHECK_NAMES),
    }),
    upstreamConnects,
    upstreamHealthChecks,
    upstreamReplyDuration,
    upstreamReplies,
    pressureAsked: counter({
      name: 'upstream_pressure_asked_total',
      help: 'Times SPILLWAY_UPSTREAM_PRESSURE_URL was asked; failed: the answer was late, too long, or no pressure.',
      labels: ['result'],
      rows: [['ok'], ['failed']],
    }),
    upstreamSlotWait: histogram(WAIT_S, {
      name: 'upstream_slot_wait_seconds',
      help: 'Time a transaction waited for a free upstream connection.',
    }),
    admissionWait: histogram(WAIT_S, {
      name: 'admission_wait_seconds',
      help: 'Time that a transaction that found no free upstream connection waited for one, however that ended, by standing.',
      labels: ['standing'],
      rows: combinations(STANDINGS),
    }),
    reloads: new Family(registry, 'counter', RELOADS),
    settingsStale: new Family(registry, 'gauge', SETTINGS_STALE),
    settingsInfo: new Family(registry, 'gauge', SETTINGS_INFO),
    tlsHandshakes: counter({
      name: 'tls_handshakes_total',
      help: 'STARTTLS handshakes with clients; ok: with a signature; resumed: without one; refused: not begun (tls_limit); empty: was ok or resumed, and the client was cut off later because its TLS records had next to nothing in them.',
      labels: ['result'],
      rows: [['ok'], ['resumed'], ['failed'], ['timeout'], ['refused'], ['empty']],
    }),
    certificateExpiry: new Family(registry, 'gauge', {
      name: 'spillway_tls_certificate_expiry_timestamp_seconds',
      help: 'When the certificate in use expires, in seconds since 1970; name: its first DNS name, or its path if it has none.',
      together: 'min',
      labels: ['name'],
      rows: [],
    }),
    certificatesStale: new Family(registry, 'gauge', {
      name: 'spillway_tls_certificates_stale',
      help: '1 while the certificate files have changed but cannot be used: those read before stay in use.',
      together: 'max',
    }),
    balancerProbes: counter({
      name: 'balancer_probes_total',
      help: 'Health checks by listed balancers: connections closed without a byte, or with a PROXY header that names no client.',
    }),
    balancerErrors: counter({
      name: 'balancer_errors_total',
      help: 'Connections from listed balancers without a valid PROXY header.',
    }),
    redisUp: new Family(registry, 'gauge', {
      name: 'spillway_redis_up',
      help: '1 while Redis answers in time; 0 also where no Redis is set.',
      together: 'min',
    }),
    redisFallback: new Family(registry, 'gauge', {
      name: 'spillway_redis_fallback_active',
      help: '1 while Redis is set but does not answer in time: the node enforces its share of each limit.',
      together: 'max',
    }),
    redisCommands: counter({
      name: 'redis_commands_total',
      help: 'Commands to Redis, by purpose; timeout: the answer was no longer waited for.',
      labels: ['use', 'result'],
      rows: combinations(REDIS_USES, REDIS_RESULTS),
    }),
    redisCommandDuration: histogram(FAST_S, {
      name: 'redis_command_duration_seconds',
      help: 'Time until Redis answered; nobody waits for it.',
      labels: ['use'],
      rows: combinations(REDIS_USES),
    }),
    dnsQueries: counter({
      name: 'dns_queries_total',
      help: 'Questions to the DNS about clients; absent: there is no such record; busy: not asked, because too many were under way.',
      labels: ['use', 'result'],
      rows: combinations(DNS_USES, DNS_RESULTS),
    }),
    dnsQueryDuration: histogram(WAIT_S, {
      name: 'dns_query_duration_seconds',
      help: 'Time until the DNS answered, or was given up.',
    }),
  }
}
