/**
 * Every setting, declared once. Its row determines its type in `Settings`, how it is read, `spillway check`, `--help`,
 * docs/settings.md and .env.example (docs.ts). A new setting is one row here, and exists only once something obeys it.
 */
import {
  dnsServers,
  domains,
  endpoint,
  endpoints,
  hostname,
  hosts,
  networks,
  supportUrl,
  upstreams,
} from './address-kinds.ts'
import {
  dataRate,
  duration,
  flag,
  integer,
  type Kind,
  oneOf,
  or,
  orNone,
  orOff,
  path,
  rate,
  secret,
  size,
  type ValueOf,
} from './kinds.ts'
import { checkNames } from './list-kinds.ts'
import { HIDDEN } from './mistakes.ts'
import { redisPrefix, redisUrl } from './redis-kinds.ts'

/** In the order of the docs. */
export const GROUPS = {
  upstream: { title: 'Mail servers', intro: 'The servers behind Spillway, and how it speaks to them.' },
  listen: { title: 'Listening', intro: 'Where clients connect, how many, and how long they may take.' },
  limits: {
    title: 'Limits',
    intro:
      'Over one of them a client hears 4xx and tries again later; nothing is lost. The defaults are wide enough that an honest day refuses nobody. An IPv6 client counts by its /64, and its neighbourhood is the /48.',
  },
  lists: { title: 'Lists', intro: 'Who is never held up, who is never let in, and which domains mail is for.' },
  message: {
    title: 'Message and DNS',
    intro: 'How strictly a message is read, and who answers questions about names.',
  },
  redis: {
    title: 'Redis',
    intro:
      'Where limits are counted for all nodes together. Without it each node counts in its own memory. While Redis is away each node goes on with its share of every limit: the limit divided by the nodes that were last seen.',
  },
  admin: { title: 'Admin HTTP', intro: 'Metrics, health, and the state of this node as JSON.' },
  other: { title: 'Checks and log', intro: 'What is enforced, what is logged, and where a refused sender may ask.' },
} as const
export type Group = keyof typeof GROUPS

export interface Setting<T> {
  readonly group: Group
  readonly kind: Kind<T>
  /** As an operator would write it; absent if the setting is required or its default is derived. */
  readonly default?: string
  /** Where a default that depends on the machine comes from; load.ts works it out. */
  readonly derived?: string
  /** No default would be right for everybody; this is an example to paste. */
  readonly required?: string
  /** What it does, in one line. */
  readonly doc: string
  /** What to know before changing it. */
  readonly more?: string
  /** Its value is never shown. */
  readonly secret?: true
}

const ANY = Number.MAX_SAFE_INTEGER
const DAY_MS = 86_400_000
/** A client waits 10 minutes for the reply to the dot (RFC 5321 section 4.5.3.2.6); one more for the way. */
const AFTER_DOT_MS = 660_000

/** Keeps the type of the row's value. */
const row = <K extends Kind<unknown>>(
  setting: Setting<unknown> & { readonly kind: K },
): Omit<Setting<unknown>, 'kind'> & { readonly kind: K } => setting

export const SETTINGS = {
  SPILLWAY_UPSTREAMS: row({
    group: 'upstream',
    kind: upstreams,
    required: 'mail1.example.net:25,mail2.example.net:25',
    doc: 'The mail servers behind Spillway, host:port separated by commas.',
    more: 'Each connection goes to the one with the fewest. A name is resolved again at every health check and all its addresses are used; in metrics and logs a server is called as it is written here.',
  }),
  SPILLWAY_UPSTREAM_CLIENT_IP: row({
    group: 'upstream',
    kind: oneOf({
      xclient:
        'for Postfix that lists Spillway in smtpd_authorized_xclient_hosts: address, name and HELO arrive; the best choice there',
      'proxy-v2':
        'for servers that read a PROXY v2 header (Exim with hosts_proxy, Postfix with smtpd_upstream_proxy_protocol = haproxy)',
      'proxy-v1': 'for servers that read only the older, readable PROXY v1 header',
      received: 'for servers that can do neither: the address stands in a Received line on top of each message',
      none: 'the servers need not know: SPF, DNS lists and rate limits there see the address of Spillway, so turn them off',
    }),
    required: 'xclient',
    doc: 'How the mail servers learn the address of the client.',
    more: 'There is no default, because a wrong guess either refuses all mail or makes every client look like Spillway itself, which the servers may trust.',
  }),
  SPILLWAY_RELAY_GUARD: row({
    group: 'upstream',
    kind: flag,
    default: 'on',
    doc: 'Ask every mail server, at start and hourly, whether it would relay for a stranger, and do not use one that would.',
    more: "The question is put through Spillway for the client 192.0.2.1 and ends before DATA; no message is sent. A server that trusts Spillway's address (mynetworks) would otherwise become an open relay for the whole world.",
  }),
  SPILLWAY_UNKNOWN_GUARD: row({
    group: 'upstream',
    kind: flag,
    default: 'on',
    doc: 'Turn "user unknown" into 451 while the mail servers say it of many recipients they took lately.',
    more: 'A directory that has failed makes servers call everybody unknown, and senders then bounce the mail for good. With this on they try again later instead. Somebody who asks for twenty users that were deleted lately, again and again, keeps it on as well: where the directory is well and the alert stays, turn it off for a while.',
  }),
  SPILLWAY_TRACE_HEADER: row({
    group: 'upstream',
    kind: flag,
    default: 'off',
    doc: 'Put a Received line (client address, HELO, TLS, id) on top of each message.',
    more: 'Off, nothing is put on top (what is changed in any case: docs/smtp.md). `SPILLWAY_UPSTREAM_CLIENT_IP=received` puts the line there in any case.',
  }),
  SPILLWAY_UPSTREAM_TLS: row({
    group: 'upstream',
    kind: oneOf({
      opportunistic: 'STARTTLS where the mail server offers it, otherwise without',
      required: 'STARTTLS, or the mail server is not used',
      off: 'no TLS; for a network that is all your own',
    }),
    default: 'opportunistic',
    doc: 'TLS towards the mail servers.',
  }),
  SPILLWAY_UPSTREAM_CONNECT_TIMEOUT: row({
    group: 'upstream',
    kind: duration({ max: 120_000 }),
    default: '5s',
    doc: 'How long a mail server may take to be ready for mail before another that has room is tried.',
    more: 'The TCP connection alone may not take longer in any case. Greeting, EHLO and the reply to MAIL are waited for longer where no other server has room.',
  }),
  SPILLWAY_UPSTREAM_REPLY_TIMEOUT: row({
    group: 'upstream',
    kind: duration({ max: DAY_MS }),
    default: '5m',
    doc: 'How long a mail server may take for each reply but the last.',
    more: 'All phases up to the reply to RCPT are held to 270s together whatever is set here: clients wait 5 minutes for it (RFC 5321 section 4.5.3.2.3). Where another server has room, one that stalls before it has taken MAIL is left after `SPILLWAY_UPSTREAM_CONNECT_TIMEOUT`.',
  }),
  SPILLWAY_UPSTREAM_DATA_TIMEOUT: row({
    group: 'upstream',
    kind: duration({
      min: AFTER_DOT_MS,
      max: DAY_MS,
      because:
        'clients wait 10 minutes for the reply to the final dot (RFC 5321 section 4.5.3.2.6), and giving up before them makes duplicates (RFC 1047)',
    }),
    default: '11m',
    doc: 'How long a mail server may take to confirm a message after its final dot.',
    more: 'Clients wait 10 minutes for this (RFC 5321 section 4.5.3.2.6). Who gives up before them has messages delivered that the sender then sends again (RFC 1047), so less than 660s is refused.',
  }),
  SPILLWAY_UPSTREAM_MAX_CONNECTIONS: row({
    group: 'upstream',
    kind: integer(1, 100_000),
    default: '50',
    doc: 'Connections to each address of a mail server at once, from this node.',
    more: 'Keep it, times the number of nodes, below what each server takes (Postfix: `default_process_limit`, 100). When all are busy, clients wait a little and then hear 451.',
  }),
  SPILLWAY_UPSTREAM_HEALTH_INTERVAL: row({
    group: 'upstream',
    kind: duration({ min: 100, max: DAY_MS }),
    default: '5s',
    doc: 'How often each mail server is asked whether it is well.',
    more: 'Banner, EHLO and QUIT. A server that fails is left out until it answers again.',
  }),
  SPILLWAY_UPSTREAM_HEALTH_TIMEOUT: row({
    group: 'upstream',
    kind: duration({ min: 100, max: 30_000 }),
    default: '5s',
    doc: 'How long a mail server may take to answer that before it counts as slow.',
    more: 'A slow server is used where no other has room; a server whose DNS is in trouble greets after 20 seconds and still takes mail. One that has not answered after 30 seconds is down.',
  }),

  SPILLWAY_LISTEN: row({
    group: 'listen',
    kind: endpoints(2525),
    default: '0.0.0.0:2525,[::]:2525',
    doc: 'Where clients connect, host:port separated by commas.',
    more: 'Port 25 needs a privilege: map it (`25:2525` in compose), redirect it, or grant CAP_NET_BIND_SERVICE. Port 0 takes any free port. On a machine without IPv6 the `[::]` of the default is left out with a warning; written here it stops the start.',
  }),
  SPILLWAY_HOSTNAME: row({
    group: 'listen',
    kind: hostname,
    derived: "the machine's name",
    doc: 'The name in the greeting, in EHLO and in refusals.',
    more: 'It should be what the MX record says, or what the address resolves to. In a container the name of the machine is made up, so set it there.',
  }),
  SPILLWAY_MAX_CONNECTIONS: row({
    group: 'listen',
    kind: integer(1, 10_000_000),
    derived: 'six tenths of the open files that are left after 256, at most 20000',
    doc: 'Connections open at once on this node; over it every newcomer hears 421.',
    more: 'Each is an open file, and so are refused clients that have not closed yet (up to half as many) and connections to mail servers: `ulimit -n` has to allow for all of them and 256 more. An idle session takes about 15 KB.',
  }),
  SPILLWAY_PROXY_PROTOCOL_FROM: row({
    group: 'listen',
    kind: networks,
    default: 'none',
    doc: 'Balancers in front of Spillway: networks whose connections must begin with a PROXY v1 or v2 header.',
    more: 'The client is then who the header says. List balancers only: whoever is listed can claim any address. A header from anybody else hears 421, and is a warning in the log.',
  }),
  SPILLWAY_SHUTDOWN_TIMEOUT: row({
    group: 'listen',
    kind: duration({ max: DAY_MS }),
    default: '60s',
    doc: 'After SIGTERM, how long a transaction may go on before its client hears 421.',
    more: 'A session without a transaction hears 421 at once. A message past its final dot is waited for up to `SPILLWAY_UPSTREAM_DATA_TIMEOUT` in any case, so give the service manager a grace period of 720s.',
  }),
  SPILLWAY_IDLE_TIMEOUT: row({
    group: 'listen',
    kind: duration({ min: 10_000, max: DAY_MS, because: 'honest servers on slow lines would be cut off' }),
    default: '300s',
    doc: 'How long a client may be silent before it hears 421.',
    more: 'RFC 5321 section 4.5.3.2.7 asks for at least 5 minutes. Shorter frees connections sooner in a flood. During a message it is never less than 60s. A command that is sent byte by byte has to be whole within it, and so has a TLS handshake; docs/smtp.md has all waits.',
  }),
  SPILLWAY_MIN_DATA_RATE: row({
    group: 'listen',
    kind: orOff(dataRate),
    default: '500B',
    doc: 'The least a client has to send of a message in a second; one that stays slower hears 421.',
    more: 'It has `SPILLWAY_IDLE_TIMEOUT` (at least 60s) to spare in each message, and spends what it takes longer than at this rate. A message that comes byte by byte would hold a connection to a mail server for ever. What the mail server makes the client wait is not counted.',
  }),
  SPILLWAY_SESSION_MAX_TIME: row({
    group: 'listen',
    kind: duration({ min: 60_000, max: DAY_MS, because: 'one large message over a slow line takes minutes' }),
    default: '2h',
    doc: 'How long one session may last; then the client hears 421 and connects again.',
    more: 'It hears so at its next command, or in the middle of a message, which is then not delivered. A message past its final dot is waited for in any case.',
  }),
  SPILLWAY_SESSION_MAX_MESSAGES: row({
    group: 'listen',
    kind: integer(1, ANY),
    default: '10000',
    doc: 'How many messages one session may bring; then the client hears 421 and connects again.',
  }),
  SPILLWAY_MESSAGE_MAX_SIZE: row({
    group: 'listen',
    kind: or(size, 'upstream', 'upstream'),
    default: 'upstream',
    doc: 'The largest message taken; a larger one is refused with 552.',
    more: '`upstream`: the smallest SIZE the mail servers offer. Do not set more than that: the message would be refused only after it was sent.',
  }),
  SPILLWAY_TLS_CERT: row({
    group: 'listen',
    kind: orNone(path),
    default: 'none',
    doc: 'The certificate for STARTTLS, with its chain: the path of a PEM file.',
    more: 'Without it no STARTTLS is offered, and senders that insist on TLS (MTA-STS, DANE) stay away.',
  }),
  SPILLWAY_TLS_KEY: row({
    group: 'listen',
    kind: orNone(path),
    default: 'none',
    doc: 'The private key of that certificate, without a passphrase: the path of a PEM file.',
  }),

  SPILLWAY_LIMIT_IP_CONNECTIONS: row({
    group: 'limits',
    kind: orOff(rate),
    default: '600/1m',
    doc: 'Connections from one address.',
  }),
  SPILLWAY_LIMIT_IP_CONCURRENCY: row({
    group: 'limits',
    kind: orOff(integer(1, ANY)),
    default: '100',
    doc: 'Connections open at once from one address.',
  }),
  SPILLWAY_LIMIT_NET_CONNECTIONS: row({
    group: 'limits',
    kind: orOff(rate),
    default: '6000/1m',
    doc: 'Connections from one neighbourhood, the /24 or /48 of an address.',
  }),
  SPILLWAY_LIMIT_GLOBAL_CONNECTIONS: row({
    group: 'limits',
    kind: orOff(rate),
    default: 'off',
    doc: 'Connections from all clients together.',
    more: 'While it is off, only the limits per address and neighbourhood hold, and a flood from very many addresses passes them.',
  }),
  SPILLWAY_LIMIT_IP_MESSAGES: row({
    group: 'limits',
    kind: orOff(rate),
    default: '1200/1m',
    doc: 'Messages from one address.',
  }),
  SPILLWAY_LIMIT_GLOBAL_MESSAGES: row({
    group: 'limits',
    kind: orOff(rate),
    default: 'off',
    doc: 'Messages from all clients together.',
    more: 'A little less than what the mail servers can take is the last dam before them.',
  }),
  SPILLWAY_LIMIT_IP_RECIPIENTS: row({
    group: 'limits',
    kind: orOff(rate),
    default: '6000/1m',
    doc: 'Recipients named by one address.',
  }),
  SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS: row({
    group: 'limits',
    kind: orOff(rate),
    default: '20/10m',
    doc: 'Recipients named by one address that the mail servers do not know: somebody is guessing names.',
    more: 'It holds only where they are at least 30 % of the recipients that address named, so that an honest mailing list with some dead addresses passes.',
  }),
  SPILLWAY_LIMIT_RECIPIENTS_PER_MESSAGE: row({
    group: 'limits',
    kind: integer(1, 1_000_000),
    default: '1000',
    doc: 'Recipients of one message; the client sends the rest in another.',
    more: 'RFC 5321 section 4.5.3.1.8 asks for at least 100.',
  }),

  SPILLWAY_ALLOW: row({
    group: 'lists',
    kind: networks,
    default: 'none',
    doc: 'Addresses and networks that no list, rate or concurrency limit holds up.',
    more: 'It wins over `SPILLWAY_DENY`. `SPILLWAY_MAX_CONNECTIONS`, the size of messages and the rules of the protocol hold for them too.',
  }),
  SPILLWAY_DENY: row({
    group: 'lists',
    kind: networks,
    default: 'none',
    doc: 'Addresses and networks that are refused at once with 554.',
    more: 'Their mail bounces for good. To slow somebody down, use the limits.',
  }),
  SPILLWAY_RCPT_DOMAINS: row({
    group: 'lists',
    kind: domains,
    default: 'none',
    doc: 'The domains mail is taken for; recipients in others are refused at once with 550.',
    more: '`none`: the mail servers are asked. A domain that is forgotten here bounces all its mail.',
  }),

  SPILLWAY_BARE_NEWLINE: row({
    group: 'message',
    kind: oneOf({
      normalize: 'a bare LF becomes CRLF and a bare CR a space, as Postfix does it; nothing in it can end the message',
      reject: 'the message is refused with 550 5.5.2',
    }),
    default: 'normalize',
    doc: 'What to do with a line end in a message that is not CRLF (SMTP smuggling, CVE-2023-51764).',
  }),
  SPILLWAY_DNS_SERVERS: row({
    group: 'message',
    kind: dnsServers,
    default: 'system',
    doc: 'The DNS servers to ask, instead of those of the system.',
    more: "With xclient the client's name is looked up for every session that reaches a mail server: a caching resolver nearby is worth it.",
  }),

  SPILLWAY_REDIS_URL: row({
    group: 'redis',
    kind: orNone(redisUrl),
    default: 'none',
    doc: 'The Redis that all nodes share; none: limits are counted in memory, by each node alone.',
    more: 'One server `redis://user:password@host:6379/0`, a set with Sentinels `redis+sentinel://s1:26379,s2/mymaster/0`, or a cluster `redis+cluster://h1:6379,h2`; with `rediss` in place of `redis` over TLS (a CA of your own is named by the variable NODE_EXTRA_CA_CERTS of Node). Redis 6.2 or later. User and password are those of the servers; Sentinels are asked without. With a password in it give it as `SPILLWAY_REDIS_URL_FILE`. What the user must be allowed is in [redis.md](redis.md).',
  }),
  SPILLWAY_REDIS_PREFIX: row({
    group: 'redis',
    kind: redisPrefix,
    default: 'spillway:',
    doc: 'What the names of all keys in Redis begin with; nodes that share limits have the same.',
  }),
  SPILLWAY_REDIS_TIMEOUT: row({
    group: 'redis',
    kind: duration({ min: 5, max: 5_000 }),
    default: '50ms',
    doc: 'How long an answer of Redis is waited for before the node goes on with its share of the limit.',
    more: 'No reply to a client is ever later than this because of Redis. After three late answers in a row none is waited for until Redis answers in time again.',
  }),

  SPILLWAY_ADMIN_LISTEN: row({
    group: 'admin',
    kind: endpoint(9025),
    default: '127.0.0.1:9025',
    doc: 'Where /metrics, /livez, /readyz and /api/v1/status are served.',
    more: 'Over loopback no token is asked for, and only requests for a host of its own are answered (see SPILLWAY_ADMIN_HOSTS). Off loopback, requests for any host may have /metrics, /livez and /readyz. It takes 64 connections at once, each for one request.',
  }),
  SPILLWAY_ADMIN_HOSTS: row({
    group: 'admin',
    kind: hosts,
    default: 'none',
    doc: 'Further hosts that a request over loopback may be for: names and addresses, without ports.',
    more: 'localhost, 127.0.0.0/8, [::1], SPILLWAY_HOSTNAME and the host in SPILLWAY_ADMIN_LISTEN may always be asked for; others hear 421. A web page could otherwise read this port through the browser of whoever opens it on this machine, under a name of its own that resolves to 127.0.0.1. A proxy or a sidecar on this machine that passes on the host it was asked for needs it here.',
  }),
  SPILLWAY_ADMIN_TOKEN: row({
    group: 'admin',
    kind: orNone(secret),
    default: 'none',
    doc: 'What a caller of the API has to show as its bearer token.',
    more: 'Without it, off loopback, only /metrics, /livez and /readyz answer. Give it as `SPILLWAY_ADMIN_TOKEN_FILE`, so that it stands in no process list.',
    secret: true,
  }),

  SPILLWAY_OBSERVE: row({
    group: 'other',
    kind: checkNames,
    default: 'none',
    doc: 'Checks that judge, count and log but let pass, by name, or all.',
    more: 'The way to try a limit: observe it for a day, look at `refusals_total{mode="observe"}`, then enforce it.',
  }),
  SPILLWAY_LOG_LEVEL: row({
    group: 'other',
    kind: oneOf({
      fatal: 'only what ends the program',
      error: 'also faults of Spillway itself',
      warn: 'also what an operator should look at',
      info: 'also one line a session',
      debug: 'also what goes on within a session',
      trace: 'everything',
    }),
    default: 'info',
    doc: 'How much is logged.',
  }),
  SPILLWAY_LOG_SAMPLE: row({
    group: 'other',
    kind: or(integer(1, 1_000_000), 'auto', 'auto'),
    default: 'auto',
    doc: 'Log one in so many sessions that brought no mail; 1 logs all.',
    more: '`auto`: all of them until a flood makes that too much. The field `sample` of a line says how many sessions it stands for. A session with a message that a mail server took, or may have taken, is always logged.',
  }),
  SPILLWAY_LOG_LOCAL_PARTS: row({
    group: 'other',
    kind: flag,
    default: 'off',
    doc: 'Show the local parts of addresses (what stands before the @) in the log.',
    more: 'They are personal data; domains are enough for most questions.',
  }),
  SPILLWAY_SUPPORT_URL: row({
    group: 'other',
    kind: orNone(supportUrl),
    default: 'none',
    doc: 'Where a refused sender can ask; {id} becomes the id of the refusal.',
    more: 'It stands in every refusal instead of the bare id, and in the bounces that follow from it.',
  }),
} as const

export type SettingName = keyof typeof SETTINGS
export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[]

/** Says where settings are. It is read from the process environment only and is not part of `Settings`. */
export const ENV_FILE = {
  name: 'SPILLWAY_ENV_FILE',
  doc: 'A file that holds settings too, as KEY=VALUE lines; the same as --env-file PATH. The process environment wins.',
} as const

type Words<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Capitalize<Lowercase<Head>>}${Words<Tail>}`
  : Capitalize<Lowercase<S>>
/** SPILLWAY_LIMIT_IP_CONNECTIONS is `limitIpConnections`. */
export type Key<N extends string> = N extends `SPILLWAY_${infer Rest}` ? Uncapitalize<Words<Rest>> : never
export type SettingKey = Key<SettingName>

/** What the program is built from. Durations in ms, sizes in bytes; off and absent are undefined. */
export type Settings = {
  readonly [N in SettingName as Key<N>]: ValueOf<(typeof SETTINGS)[N]['kind']>
}

export const settingOf = (name: SettingName): Setting<unknown> => SETTINGS[name]

export const keyOf = <N extends SettingName>(name: N): Key<N> =>
  name
    .slice('SPILLWAY_'.length)
    .toLowerCase()
    .replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()) as Key<N>

/** What the operator wrote, fit to be repeated in messages and logs. */
export const repeated = (name: SettingName, text: string): string => {
  const { secret, kind } = settingOf(name)
  return secret ? HIDDEN : (kind.mask?.(text) ?? text)
}

/** A value as an operator would write it. A password in a URL is masked here, but a secret setting is not. */
export const show = (name: SettingName, settings: Settings): string => settingOf(name).kind.show(settings[keyOf(name)])
