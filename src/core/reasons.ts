/**
 * Every reason for which a client, a message or a recipient is turned away, in one table. A reason has the same name in
 * the log, in the metrics and in the docs. Reasons caused by a flood, by limits or by a missing cluster are marked
 * `load`, and their code is always 4yz. The file is longer than others because it is that table.
 */
import type { Stage } from './stages.ts'

export type Action = 'defer' | 'reject' | 'drop'

/** A reply, and what becomes of the connection. */
export interface Form {
  readonly action: Action
  readonly code: number
  /** The enhanced status code (RFC 3463); its class is the first digit of `code` (RFC 2034 section 4). */
  readonly enhanced: string
}

export interface Reason extends Form {
  /** Part of the refusal's id (core/id.ts). It is never changed and never given to another reason. */
  readonly number: number
  /** The check that gives this reason; absent if the wire rules or the relay give it. */
  readonly check?: CheckName
  readonly stages: readonly Stage[]
  /** The form at stage connect, where it is another one than at the later stages. */
  readonly atConnect?: Form
  /** The forms where it is the operator's own word, at stage connect and later. */
  readonly byOperator?: { readonly atConnect: Form; readonly later: Form }
  /** The form where the operator wants clients to be put off instead of refused. Relays hear this one as well. */
  readonly deferred?: Form
  /** Whether a flood, load or a missing cluster is the cause. */
  readonly load: boolean
  /** The words for the administrator of the refused client. */
  readonly wire: string
  /** The words for our operator. */
  readonly operator: string
}

/** In the order of the policy (checks/index.ts). They are also the values of SPILLWAY_OBSERVE. */
export const CHECK_NAMES = [
  'denied',
  'banned',
  'overload',
  'ip-concurrency',
  'ip-connections',
  'net-connections',
  'global-connections',
  'tongue',
  'pregreet',
  'pipelining',
  'command-newline',
  'helo',
  'size',
  'domains',
  'recipients',
  'unknown-recipients',
  'net-unknown-recipients',
  'dnsbl',
  'ip-messages',
  'global-messages',
  'ip-recipients',
] as const
export type CheckName = (typeof CHECK_NAMES)[number]

const ANY_STAGE: readonly Stage[] = ['connect', 'helo', 'mail', 'rcpt', 'data']

export const REASONS = {
  denied: {
    number: 1,
    check: 'denied',
    stages: ['connect', 'rcpt'],
    action: 'reject',
    code: 550,
    enhanced: '5.7.1',
    atConnect: { action: 'drop', code: 554, enhanced: '5.7.1' },
    load: false,
    wire: 'Refused by local policy',
    operator: 'the address is on the deny list (SPILLWAY_DENY)',
  },
  ip_concurrency: {
    number: 2,
    check: 'ip-concurrency',
    stages: ['connect'],
    action: 'drop',
    code: 421,
    enhanced: '4.7.0',
    load: true,
    wire: 'Too many open connections from your address; nothing is lost, try again later',
    operator: 'the address has more connections open at once than SPILLWAY_LIMIT_IP_CONCURRENCY allows',
  },
  ip_connections: {
    number: 3,
    check: 'ip-connections',
    stages: ['connect'],
    action: 'drop',
    code: 421,
    enhanced: '4.7.28',
    load: true,
    wire: 'Too many connections from your address; nothing is lost, try again later',
    operator: 'the address connects more often than SPILLWAY_LIMIT_IP_CONNECTIONS allows',
  },
  net_connections: {
    number: 4,
    check: 'net-connections',
    stages: ['connect'],
    action: 'drop',
    code: 421,
    enhanced: '4.7.28',
    load: true,
    wire: 'Too many connections from your network; nothing is lost, try again later',
    operator: 'its network (/24 or /48) connects more often than SPILLWAY_LIMIT_NET_CONNECTIONS allows',
  },
  global_connections: {
    number: 5,
    check: 'global-connections',
    stages: ['connect'],
    action: 'drop',
    code: 421,
    enhanced: '4.3.2',
    load: true,
    wire: 'Busy; nothing is lost, please try again in a few minutes',
    operator: 'all clients together connect more often than SPILLWAY_LIMIT_GLOBAL_CONNECTIONS allows',
  },
  ip_messages: {
    number: 6,
    check: 'ip-messages',
    stages: ['rcpt'],
    action: 'defer',
    code: 450,
    enhanced: '4.7.28',
    load: true,
    wire: 'Too many messages from your address; nothing is lost, try again later',
    operator: 'the address sends more messages than SPILLWAY_LIMIT_IP_MESSAGES allows',
  },
  global_messages: {
    number: 7,
    check: 'global-messages',
    stages: ['rcpt'],
    action: 'defer',
    code: 451,
    enhanced: '4.3.2',
    load: true,
    wire: 'Busy; please try again in a few minutes',
    operator: 'all clients together send more messages than SPILLWAY_LIMIT_GLOBAL_MESSAGES allows',
  },
  ip_recipients: {
    number: 8,
    check: 'ip-recipients',
    stages: ['rcpt'],
    action: 'defer',
    code: 450,
    enhanced: '4.7.28',
    load: true,
    wire: 'Too many recipients from your address; nothing is lost, try again later',
    operator: 'the address names more recipients than SPILLWAY_LIMIT_IP_RECIPIENTS allows',
  },
  unknown_recipients: {
    number: 9,
    check: 'unknown-recipients',
    stages: ['rcpt'],
    action: 'defer',
    code: 450,
    enhanced: '4.7.1',
    load: true,
    wire: 'Too many unknown recipients from your address; try again later',
    operator:
      'the address names more unknown recipients than SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS allows: a directory harvest',
  },
  recipients: {
    number: 10,
    check: 'recipients',
    stages: ['rcpt'],
    action: 'defer',
    code: 452,
    enhanced: '4.5.3',
    load: true,
    wire: 'Too many recipients in one message; send the rest in another',
    operator: 'the message has more recipients than SPILLWAY_LIMIT_RECIPIENTS_PER_MESSAGE allows',
  },
  rcpt_domain: {
    number: 11,
    check: 'domains',
    stages: ['rcpt'],
    action: 'reject',
    code: 550,
    enhanced: '5.7.1',
    load: false,
    wire: 'We do not receive mail for that domain',
    operator: 'the domain of the recipient is not in SPILLWAY_RCPT_DOMAINS',
  },
  size: {
    number: 12,
    check: 'size',
    stages: ['mail', 'data'],
    action: 'reject',
    code: 552,
    enhanced: '5.3.4',
    load: false,
    wire: 'Message is larger than we take',
    operator: 'the message is larger than SPILLWAY_MESSAGE_MAX_SIZE, or than the mail servers accept',
  },
  max_connections: {
    number: 13,
    stages: ['connect'],
    action: 'drop',
    code: 421,
    enhanced: '4.3.2',
    load: true,
    wire: 'Busy; nothing is lost, please try again in a few minutes',
    operator: 'this node already has SPILLWAY_MAX_CONNECTIONS connections open',
  },
  proxy_header: {
    number: 14,
    stages: ['connect'],
    action: 'drop',
    code: 421,
    enhanced: '4.3.0',
    load: true,
    wire: 'No valid PROXY header; check the balancer in front of this server',
    operator: 'a balancer in SPILLWAY_PROXY_PROTOCOL_FROM sent no valid PROXY header within 5 s',
  },
  idle: {
    number: 15,
    stages: ANY_STAGE,
    action: 'drop',
    code: 421,
    enhanced: '4.4.2',
    load: true,
    wire: 'Nothing heard for too long; closing the connection',
    operator: 'the client was silent for SPILLWAY_IDLE_TIMEOUT, or took that long for one command',
  },
  junk: {
    number: 16,
    stages: ANY_STAGE,
    action: 'drop',
    code: 421,
    enhanced: '4.7.0',
    load: true,
    wire: 'Too many commands that bring no mail; closing the connection',
    operator: 'the client sent too many commands that bring no mail: unknown, wrong or idle ones',
  },
  line_too_long: {
    number: 17,
    stages: ANY_STAGE,
    action: 'reject',
    code: 500,
    enhanced: '5.5.2',
    load: false,
    wire: 'Command line too long',
    operator: 'the command line is longer than RFC 5321 section 4.5.3.1.4 and the extensions in use allow',
  },
  bare_newline: {
    number: 18,
    stages: ['data'],
    action: 'reject',
    code: 550,
    enhanced: '5.5.2',
    load: false,
    wire: 'The message has line ends that are not CRLF',
    operator: 'the message has a bare CR or LF, and SPILLWAY_BARE_NEWLINE is reject',
  },
  upstream_down: {
    number: 19,
    stages: ['rcpt', 'data'],
    action: 'defer',
    code: 451,
    enhanced: '4.3.2',
    load: true,
    wire: 'The mail servers are away; nothing is lost, please try again in a few minutes',
    operator: 'no mail server is up, or none could be reached',
  },
  upstream_full: {
    number: 20,
    stages: ['rcpt', 'data'],
    action: 'defer',
    code: 451,
    enhanced: '4.3.2',
    load: true,
    wire: 'Busy; please try again in a few minutes',
    operator:
      'no connection to a mail server became free in time (SPILLWAY_UPSTREAM_MAX_CONNECTIONS), or the transaction stood still while others waited for its connection',
  },
  upstream_lost: {
    number: 21,
    stages: ['rcpt', 'data'],
    action: 'defer',
    code: 451,
    enhanced: '4.3.0',
    load: true,
    wire: 'The mail server went away or did not answer; nothing is lost, please try again in a few minutes',
    operator: 'the mail server broke the connection, or replied out of turn or too late',
  },
  unknown_guard: {
    number: 22,
    stages: ['rcpt'],
    action: 'defer',
    code: 451,
    enhanced: '4.3.0',
    load: true,
    wire: 'The directory does not answer; nothing is lost, please try again in a few minutes',
    operator:
      'the mail servers now call recipients unknown that they accepted lately: their directory seems to have failed',
  },
  draining: {
    number: 23,
    stages: ANY_STAGE,
    action: 'drop',
    code: 421,
    enhanced: '4.3.2',
    load: true,
    wire: 'This server is stopping; nothing is lost, try again now or later',
    operator: 'Spillway is being stopped',
  },
  internal: {
    number: 24,
    stages: ANY_STAGE,
    action: 'defer',
    code: 451,
    enhanced: '4.3.0',
    load: true,
    wire: 'Something went wrong here; nothing is lost, please try again later',
    operator: 'there is a fault in Spillway itself; the log has the details',
  },
  slow_data: {
    number: 25,
    stages: ['data'],
    action: 'drop',
    code: 421,
    enhanced: '4.4.2',
    load: true,
    wire: 'The message came too slowly; please send it again',
    operator:
      'the message came more slowly than SPILLWAY_MIN_DATA_RATE, and used up the time it had to spare (SPILLWAY_IDLE_TIMEOUT, at least 60s)',
  },
  session_time: {
    number: 26,
    stages: ANY_STAGE,
    action: 'drop',
    code: 421,
    enhanced: '4.4.2',
    load: true,
    wire: 'This session has lasted long enough; please connect again for what is left',
    operator: 'the session lasted longer than SPILLWAY_SESSION_MAX_TIME',
  },
  session_messages: {
    number: 27,
    stages: ['mail'],
    action: 'drop',
    code: 421,
    enhanced: '4.7.0',
    load: true,
    wire: 'Enough messages for one session; please connect again for what is left',
    operator: 'the session brought more messages than SPILLWAY_SESSION_MAX_MESSAGES',
  },
  proxy_unlisted: {
    number: 28,
    stages: ['connect'],
    action: 'drop',
    code: 421,
    enhanced: '4.3.0',
    load: true,
    wire: 'A PROXY header, but this server does not list the balancer that sent it',
    operator: 'a PROXY header came from an address that is not in SPILLWAY_PROXY_PROTOCOL_FROM',
  },
  tongue: {
    number: 29,
    check: 'tongue',
    stages: ['helo'],
    action: 'reject',
    code: 554,
    enhanced: '5.5.1',
    deferred: { action: 'drop', code: 421, enhanced: '4.7.0' },
    load: false,
    wire: 'This server speaks SMTP; closing the connection',
    operator:
      'the client speaks another protocol (HTTP, SSH, TLS without STARTTLS): it is a scanner, a browser that was made to send mail, or a client with the wrong port (SPILLWAY_TONGUE)',
  },
  tls_limit: {
    number: 30,
    stages: ['connect'],
    action: 'drop',
    code: 421,
    enhanced: '4.3.0',
    load: true,
    wire: 'Too many TLS handshakes at once; nothing is lost, try again later',
    operator:
      'the address has more TLS handshakes under way than SPILLWAY_TLS_HANDSHAKES allows, or no place became free within 5 s, or others came first that have asked for fewer',
  },
  overload: {
    number: 31,
    check: 'overload',
    stages: ['connect', 'mail', 'rcpt'],
    action: 'defer',
    code: 451,
    enhanced: '4.3.2',
    atConnect: { action: 'drop', code: 421, enhanced: '4.3.2' },
    load: true,
    wire: 'Busy; please try again in a few minutes',
    operator:
      'there is more mail than can be taken, and the overload level (SPILLWAY_OVERLOAD) turns away clients of this standing, or all but a share of their messages',
  },
  net_concurrency: {
    number: 32,
    stages: ['connect'],
    action: 'drop',
    code: 421,
    enhanced: '4.7.0',
    load: true,
    wire: 'Too many open connections from your network; nothing is lost, try again later',
    operator:
      'its network (/24 or /48) already holds half of the connections (SPILLWAY_MAX_CONNECTIONS) that others leave to such clients',
  },
  banned: {
    number: 33,
    check: 'banned',
    stages: ['connect', 'rcpt'],
    action: 'defer',
    code: 450,
    enhanced: '4.7.1',
    atConnect: { action: 'drop', code: 421, enhanced: '4.7.0' },
    byOperator: {
      atConnect: { action: 'drop', code: 554, enhanced: '5.7.1' },
      later: { action: 'reject', code: 550, enhanced: '5.7.1' },
    },
    load: false,
    wire: 'Your address or network is banned here for some time',
    operator:
      'the address or its network is banned, by itself after SPILLWAY_BAN_AFTER points (4yz) or by the operator (5yz); spillway bans has the list',
  },
  dnsbl: {
    number: 34,
    check: 'dnsbl',
    stages: ['mail', 'rcpt'],
    action: 'reject',
    code: 554,
    enhanced: '5.7.1',
    deferred: { action: 'defer', code: 451, enhanced: '4.7.1' },
    load: false,
    wire: 'Your address is on a DNS blocklist',
    operator: 'the address is on DNS lists (SPILLWAY_DNSBL_ZONES), and nothing good is known of it',
  },
  pregreet: {
    number: 35,
    check: 'pregreet',
    stages: ['helo'],
    action: 'reject',
    code: 554,
    enhanced: '5.5.0',
    deferred: { action: 'defer', code: 450, enhanced: '4.5.0' },
    load: false,
    wire: 'Your client spoke before it was greeted',
    operator: 'the client spoke before its greeting was complete, as no mail server does (SPILLWAY_PREGREET)',
  },
  pipelining: {
    number: 36,
    check: 'pipelining',
    stages: ['helo', 'mail'],
    action: 'reject',
    code: 554,
    enhanced: '5.5.0',
    deferred: { action: 'defer', code: 450, enhanced: '4.5.0' },
    load: false,
    wire: 'Your client went on before it was answered',
    operator:
      'the client did not wait for the answer to HELO or EHLO, or after HELO for that to MAIL, where RFC 2920 allows no pipelining (SPILLWAY_PIPELINING)',
  },
  helo: {
    number: 37,
    check: 'helo',
    stages: ['helo'],
    action: 'reject',
    code: 550,
    enhanced: '5.7.1',
    deferred: { action: 'defer', code: 450, enhanced: '4.7.1' },
    load: false,
    wire: 'The name in your HELO or EHLO is none that a mail server has',
    operator:
      'the name in HELO or EHLO is our own, is no name of a host, changed within the session, or is used by clients of hundreds of networks (SPILLWAY_HELO)',
  },
  command_newline: {
    number: 38,
    check: 'command-newline',
    stages: ['helo', 'mail'],
    action: 'reject',
    code: 554,
    enhanced: '5.5.2',
    deferred: { action: 'defer', code: 450, enhanced: '4.5.2' },
    load: false,
    wire: 'A command of your client did not end in CRLF',
    operator:
      'a command ended in a bare LF or had a bare CR in it, as those of bots and home-made programs do (SPILLWAY_COMMAND_NEWLINE)',
  },
  net_unknown_recipients: {
    number: 39,
    check: 'net-unknown-recipients',
    stages: ['rcpt'],
    action: 'defer',
    code: 450,
    enhanced: '4.7.1',
    load: true,
    wire: 'Too many unknown recipients from your network; try again later',
    operator:
      'five or more addresses of the network (/24 or /48) name more unknown recipients than SPILLWAY_LIMIT_NET_UNKNOWN_RECIPIENTS allows: a directory harvest',
  },
} as const satisfies Record<string, Reason>

export type ReasonName = keyof typeof REASONS
export const REASON_NAMES = Object.keys(REASONS) as ReasonName[]

export const reasonOf = (name: ReasonName): Reason => REASONS[name]

/** The reply with this reason at a stage. @param isOperators whether it is the operator's own word */
export function formOf(name: ReasonName, stage: Stage, isOperators = false): Form {
  const reason = reasonOf(name)
  const { byOperator } = reason
  if (isOperators && byOperator !== undefined) return stage === 'connect' ? byOperator.atConnect : byOperator.later
  return (stage === 'connect' ? reason.atConnect : undefined) ?? reason
}

/** What a relay hears (SPILLWAY_RELAYS): a refusal for good is put off. The deny list and bans are not for relays. */
export function patientFormOf(name: ReasonName): Form | undefined {
  const { action, enhanced, deferred } = reasonOf(name)
  if (deferred !== undefined) return deferred
  return name !== 'denied' && action === 'reject'
    ? { action: 'defer', code: 451, enhanced: `4${enhanced.slice(1)}` }
    : undefined
}

/** All replies with this reason, but for what relays hear. */
export function formsOf(name: ReasonName): readonly Form[] {
  const reason = reasonOf(name)
  const { atConnect, byOperator, deferred } = reason
  const later = byOperator === undefined ? [] : [byOperator.atConnect, byOperator.later]
  return [atConnect ?? [], reason, deferred ?? [], later].flat()
}

/** What may become of a connection, a message or a recipient with this reason at a stage. */
export function actionsAt(name: ReasonName, stage: Stage): readonly Action[] {
  const forms = [formOf(name, stage), formOf(name, stage, true), patientFormOf(name)]
  return [...new Set(forms.flatMap((form) => form?.action ?? []))]
}

/** The reasons that a check gives. */
type Checked = { [R in ReasonName]: (typeof REASONS)[R] extends { check: CheckName } ? R : never }[ReasonName]

/** The check that gives this reason. */
export const checkOf = (name: Checked): CheckName => REASONS[name].check
