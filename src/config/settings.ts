/**
 * Every setting, declared once. Its row gives its type in `Settings`, how its text is parsed, and what `spillway
 * check`, `--help`, docs/settings.md and .env.example (docs.ts) say of it. A new setting is one row here, added
 * together with the code that obeys it. The file is longer than others because it is this one table.
 */
import { DAY_MS } from '../core/time.ts'
import {
  dnsServers,
  domains,
  hostname,
  hostPorts,
  hosts,
  networks,
  pressureUrl,
  supportUrl,
  upstreams,
} from './address-kinds.ts'
import { adminAddress } from './admin-kind.ts'
import { connections } from './connections-kind.ts'
import { dnsLists } from './dnsbl-kind.ts'
import { hmacKey } from './hmac-key-kind.ts'
import {
  dataRate,
  decimal,
  duration,
  flag,
  integer,
  type Kind,
  keyPath,
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
import { checkNames, paths } from './list-kinds.ts'
import { HIDDEN } from './mistakes.ts'
import { pattern } from './pattern-kind.ts'
import { places } from './places-kind.ts'
import { redisPrefix, redisUrl } from './redis-kinds.ts'
import { replyTexts } from './reply-text-kind.ts'
import { signMode } from './sign-kind.ts'

/** In the order of the docs. */
export const GROUPS = {
  upstream: { title: 'Mail servers', intro: 'The servers behind Spillway, and how Spillway talks to them.' },
  listen: { title: 'Listening', intro: 'Where clients connect, how many, and how long they may take.' },
  limits: {
    title: 'Limits',
    intro:
      'A client that exceeds a limit receives a 4xx reply and tries again later; no mail is lost. The defaults are high enough that nobody is refused on an ordinary day. IPv6 clients are counted by their /64, and the neighbourhood of an IPv6 client is its /48.',
  },
  overload: {
    title: 'Overload',
    intro:
      'What happens when there is more than the mail servers, or this machine, can take: strangers are put off first, with 4xx, and known senders last. [overload.md](overload.md) has the levels, and what each of them does.',
  },
  talk: {
    title: 'How clients talk',
    intro:
      'Many bots can be told by how they talk, before they name a sender. As shipped this is only observed: it is counted in `refusals_total{mode="observe"}`, named in the log, and refuses nobody. [talk.md](talk.md) says what is looked at, and what no mail server does.',
  },
  lists: {
    title: 'Lists',
    intro: 'Who is never held up, who is never let in, and which domains mail is accepted for.',
  },
  history: {
    title: 'History',
    intro:
      'Spillway remembers whose mail the servers behind it have accepted, and whose they have refused. From it a client has its standing: known, seen, new or suspect. [history.md](history.md) says what teaches it, and what does not.',
  },
  message: {
    title: 'Message and DNS',
    intro: 'How strictly messages are read, and which servers resolve names.',
  },
  redis: {
    title: 'Redis',
    intro:
      'Redis counts the limits for all nodes together. Without it each node counts in its own memory. While Redis is unavailable each node enforces its share of every limit: the limit divided by the number of nodes that were last seen.',
  },
  admin: { title: 'Admin HTTP', intro: 'Metrics, health, and the state of this node as JSON.' },
  other: {
    title: 'Checks and log',
    intro: 'What is enforced, what is logged, and where a refused sender can ask for help.',
  },
} as const
export type Group = keyof typeof GROUPS

export interface Setting<T> {
  readonly group: Group
  readonly kind: Kind<T>
  /** As an operator would write it. Absent where the setting is required or its default is derived. */
  readonly default?: string
  /** How the default depends on the machine, in words; load.ts computes it. */
  readonly derived?: string
  /** An example to paste, where no default would suit everybody. */
  readonly required?: string
  /** What it does, in one line. */
  readonly doc: string
  /** What else an operator should know before changing it. */
  readonly more?: string
  /** Its value is never shown. */
  readonly secret?: true
  /** Whether a reload changes it. */
  readonly live?: true
  /** Nodes that are meant to be alike may have different ones, so it is not part of the hash of the settings. */
  readonly perNode?: true
}

const ANY = Number.MAX_SAFE_INTEGER
/** More would use no more cores, and make the shares of the limits small. */
export const MOST_WORKERS = 64
/** A client waits 10 minutes for the reply to the final dot (RFC 5321 section 4.5.3.2.6); one more is for transit. */
const AFTER_DOT_MS = 660_000

/** Returns the row unchanged and keeps the type of its value. */
const row = <K extends Kind<unknown>>(
  setting: Setting<unknown> & { readonly kind: K },
): Omit<Setting<unknown>, 'kind'> & { readonly kind: K } => setting

export const SETTINGS = {
  SPILLWAY_UPSTREAMS: row({
    group: 'upstream',
    kind: upstreams,
    required: 'mail1.example.net:25,mail2.example.net:25',
    doc: 'The mail servers behind Spillway, host:port separated by commas.',
    more: 'Each new connection goes to the server with the fewest. A name is resolved again at every health check, and all its addresses are used. Metrics and logs name a server as it is written here.',
    live: true,
  }),
  SPILLWAY_UPSTREAM_CLIENT_IP: row({
    group: 'upstream',
    kind: oneOf({
      xclient:
        'for Postfix with Spillway in smtpd_authorized_xclient_hosts: passes on the address, the name and the HELO name; the best choice for Postfix',
      'proxy-v2':
        'for servers that read a PROXY v2 header (Exim with hosts_proxy, Postfix with smtpd_upstream_proxy_protocol = haproxy)',
      'proxy-v1': 'for servers that read only the older, textual PROXY v1 header',
      received: 'for servers that support neither: the address is in a Received line at the top of each message',
      none: "the servers are not told: SPF, DNS lists and rate limits there see Spillway's address, so turn them off",
    }),
    required: 'xclient',
    doc: "How the mail servers learn the client's address.",
    more: 'There is no default, because with a wrong guess either all mail is refused or every client looks like Spillway itself, which the servers may trust.',
    live: true,
  }),
  SPILLWAY_RELAY_GUARD: row({
    group: 'upstream',
    kind: flag,
    default: 'on',
    doc: 'Ask every mail server, at start and hourly, whether it would relay for a stranger, and do not use one that would.',
    more: "Spillway asks on behalf of the client 192.0.2.1 and stops before DATA, so no message is sent. A server that trusts Spillway's address (mynetworks) would otherwise become an open relay for the whole world.",
    live: true,
  }),
  SPILLWAY_UNKNOWN_GUARD: row({
    group: 'upstream',
    kind: flag,
    default: 'on',
    doc: 'Turn "user unknown" into 451 while the mail servers say it of many recipients that they accepted recently.',
    more: 'Mail servers whose directory has failed call every user unknown, and senders then bounce the mail for good. With this setting on, senders try again later instead. The guard watches each domain by itself as well. A client that keeps asking for twenty recently deleted users of one domain keeps it active for that domain: if the directory is well and the alert stays, turn the guard off for a while.',
    live: true,
  }),
  SPILLWAY_UNKNOWN_RECIPIENT_TTL: row({
    group: 'upstream',
    kind: orOff(duration({ min: 1000, max: 3_600_000 })),
    default: '5m',
    doc: 'How long a recipient that a mail server has called unknown is answered from memory, in the words of that mail server.',
    more: 'A directory harvest then does not reach the mail servers, whoever comes with it. A new mailbox may be refused for this long after somebody has written to it in vain; once any mail server accepts the recipient, the node forgets at once. Clients on `SPILLWAY_ALLOW` are never answered from memory, and nobody is while `SPILLWAY_UNKNOWN_GUARD` doubts the mail servers. Each process remembers for itself. [smtp.md](smtp.md#unknown-recipients) has the rest.',
    live: true,
  }),
  SPILLWAY_TRACE_HEADER: row({
    group: 'upstream',
    kind: flag,
    default: 'off',
    doc: 'Put a Received line (client address, HELO, TLS, id) at the top of each message.',
    more: 'When it is off, nothing is added (docs/smtp.md lists what is changed in any case). `SPILLWAY_UPSTREAM_CLIENT_IP=received` adds the line even then.',
    live: true,
  }),
  SPILLWAY_UPSTREAM_TLS: row({
    group: 'upstream',
    kind: oneOf({
      opportunistic: 'STARTTLS where the mail server offers it, otherwise no TLS; certificates are not verified',
      required: 'STARTTLS with a certificate that is verified, or the mail server is not used',
      off: 'no TLS; for a network that is entirely your own',
    }),
    default: 'opportunistic',
    doc: 'TLS on connections to the mail servers.',
    more: 'With `required`, the certificate must be signed by a CA in `SPILLWAY_UPSTREAM_TLS_CA`, be valid now, and have in its subjectAltName the host as `SPILLWAY_UPSTREAMS` writes it: the name, or the IP address where that is written.',
    live: true,
  }),
  SPILLWAY_UPSTREAM_TLS_CA: row({
    group: 'upstream',
    kind: orNone(path),
    default: 'none',
    doc: 'Who signs the certificates of the mail servers: the path of a PEM file with one CA or several.',
    more: 'It has an effect only with `SPILLWAY_UPSTREAM_TLS=required`. Only the CAs in the file are then trusted. `none` means the public CAs that Node.js brings. A self-signed certificate is its own CA: name a copy of it.',
    live: true,
  }),
  SPILLWAY_UPSTREAM_CONNECT_TIMEOUT: row({
    group: 'upstream',
    kind: duration({ max: 120_000 }),
    default: '5s',
    doc: 'How long a mail server may take to become ready for mail before another one with room is tried.',
    more: 'The TCP connection itself never gets more time than this. Where no other server has room, Spillway waits longer for the greeting and for the replies to EHLO and MAIL.',
    live: true,
  }),
  SPILLWAY_UPSTREAM_REPLY_TIMEOUT: row({
    group: 'upstream',
    kind: duration({ max: DAY_MS }),
    default: '5m',
    doc: 'How long a mail server may take for each reply except the last.',
    more: 'Whatever is set here, all phases up to the reply to RCPT may take at most 270s together, because clients wait 5 minutes for that reply (RFC 5321 section 4.5.3.2.3). A server that stalls before it has accepted MAIL is given up after `SPILLWAY_UPSTREAM_CONNECT_TIMEOUT` if another server has room.',
    live: true,
  }),
  SPILLWAY_UPSTREAM_DATA_TIMEOUT: row({
    group: 'upstream',
    kind: duration({
      min: AFTER_DOT_MS,
      max: DAY_MS,
      because:
        'clients wait 10 minutes for the reply to the final dot (RFC 5321 section 4.5.3.2.6), and giving up before they do causes duplicates (RFC 1047)',
    }),
    default: '11m',
    doc: 'How long a mail server may take to confirm a message after its final dot.',
    more: 'Clients wait 10 minutes for this (RFC 5321 section 4.5.3.2.6). If Spillway gave up before they do, a message that was delivered would be sent again (RFC 1047), so less than 660s is refused.',
    live: true,
  }),
  SPILLWAY_UPSTREAM_MAX_CONNECTIONS: row({
    group: 'upstream',
    kind: connections,
    default: '50',
    doc: 'Concurrent connections from this node to each address of a mail server; `auto` finds out how many it can make use of.',
    more: 'Keep it, multiplied by the number of nodes, below what each server accepts (Postfix: `default_process_limit`, 100). When all connections are busy, clients wait briefly and then receive 451. With `auto`, which is `auto:5-100`, the number falls while the server answers more slowly than usual or turns mail away because of itself, and rises again while it does not. [capacity.md](capacity.md) has the rule.',
    live: true,
  }),
  SPILLWAY_UPSTREAM_HEALTH_INTERVAL: row({
    group: 'upstream',
    kind: duration({ min: 100, max: DAY_MS }),
    default: '5s',
    doc: 'How often the health of each mail server is checked.',
    more: 'A check is greeting, EHLO and QUIT. A server that fails it gets no mail until it answers again.',
    live: true,
  }),
  SPILLWAY_UPSTREAM_HEALTH_TIMEOUT: row({
    group: 'upstream',
    kind: duration({ min: 100, max: 30_000 }),
    default: '5s',
    doc: 'How long a health check may take before the mail server counts as slow.',
    more: 'A slow server is used only where no other has room: a server whose DNS is failing greets after 20 seconds and still accepts mail. A server that has not answered after 30 seconds counts as down.',
    live: true,
  }),

  SPILLWAY_LISTEN: row({
    group: 'listen',
    kind: hostPorts(2525),
    default: '0.0.0.0:2525,[::]:2525',
    doc: 'Where clients connect, host:port separated by commas.',
    more: 'Port 25 needs a privilege: grant CAP_NET_BIND_SERVICE, or let the kernel redirect it ([deploy/one-box.md](deploy/one-box.md#port-25-without-root)). Port 0 takes any free port. On a machine without IPv6 the `[::]` of the default is left out with a warning; if you write it yourself, Spillway does not start there.',
    perNode: true,
  }),
  SPILLWAY_HOSTNAME: row({
    group: 'listen',
    kind: hostname,
    derived: "the machine's name",
    doc: 'The name Spillway uses in its greeting, in EHLO and in refusals.',
    more: 'It should be the name in the MX record, or the name that the address resolves to. The host name of a container is made up, so set this there.',
    perNode: true,
  }),
  SPILLWAY_MAX_CONNECTIONS: row({
    group: 'listen',
    kind: integer(1, 10_000_000),
    derived: '60 % of the open-file limit less 256, at most 20000',
    doc: 'Concurrent client connections on this node; while it is reached, every new client receives 421.',
    more: 'Each connection is an open file, and so are refused clients that have not closed yet (up to half as many) and connections to mail servers: `ulimit -n` has to allow for all of them and 256 more. An idle session takes about 15 KB (docs/deploy/sizing.md). The strangers of a neighbourhood (/24, /48) hold at most half of what other strangers leave, its known and seen clients half of what everybody else leaves, and each 100 in any case; trusted clients are exempt.',
    live: true,
    perNode: true,
  }),
  SPILLWAY_WORKERS: row({
    group: 'listen',
    kind: or(integer(1, MOST_WORKERS), 'auto', 'auto'),
    default: '1',
    doc: 'How many processes serve clients; `auto` is one for each core that Spillway may use, as far as the limits can be divided.',
    more: 'One process uses one core. With more than one, the kernel spreads connections over them, and a small parent serves the admin port and replaces one that dies. `SPILLWAY_MAX_CONNECTIONS`, `SPILLWAY_UPSTREAM_MAX_CONNECTIONS`, `SPILLWAY_LIMIT_IP_CONCURRENCY` and `SPILLWAY_TLS_HANDSHAKES` are divided among them, and without Redis so are the other limits: with Redis they hold for all processes together.',
  }),
  SPILLWAY_PROXY_PROTOCOL_FROM: row({
    group: 'listen',
    kind: networks,
    default: 'none',
    doc: 'Balancers in front of Spillway: networks whose connections must begin with a PROXY v1 or v2 header.',
    more: "The client's address is then the one in the header. List only balancers: whoever is listed can claim any address. A PROXY header from anybody else is answered with 421 and logged as a warning.",
    live: true,
  }),
  SPILLWAY_SHUTDOWN_TIMEOUT: row({
    group: 'listen',
    kind: duration({ max: DAY_MS }),
    default: '60s',
    doc: 'How long a transaction may go on after SIGTERM before its client receives 421.',
    more: 'A session without a transaction receives 421 at once. Spillway waits for a message past its final dot for up to `SPILLWAY_UPSTREAM_DATA_TIMEOUT` in any case, so give the service manager a grace period of 720s.',
    live: true,
  }),
  SPILLWAY_IDLE_TIMEOUT: row({
    group: 'listen',
    kind: duration({ min: 10_000, max: DAY_MS, because: 'honest servers on slow lines would be cut off' }),
    default: '300s',
    doc: 'How long a client may be silent before it receives 421.',
    more: 'RFC 5321 section 4.5.3.2.7 asks for at least 5 minutes. A shorter time frees connections sooner in a flood. During a message it is never less than 60s. A command that is sent byte by byte must be complete within this time. docs/smtp.md lists all timeouts.',
    live: true,
  }),
  SPILLWAY_MIN_DATA_RATE: row({
    group: 'listen',
    kind: orOff(dataRate),
    default: '500B',
    doc: 'How much of a message a client must send each second; a client that stays slower receives 421.',
    more: 'In each message a client may fall behind this rate by `SPILLWAY_IDLE_TIMEOUT` in all (at least 60s). Without a minimum, a message that comes byte by byte would hold a connection to a mail server for ever. Time that the client spends waiting for the mail server is not counted.',
    live: true,
  }),
  SPILLWAY_SESSION_MAX_TIME: row({
    group: 'listen',
    kind: duration({ min: 60_000, max: DAY_MS, because: 'one large message over a slow line takes minutes' }),
    default: '2h',
    doc: 'How long one session may last; then the client receives 421 and connects again.',
    more: 'The 421 comes at its next command, or in the middle of a message, which is then not delivered. Spillway waits for a message past its final dot in any case.',
    live: true,
  }),
  SPILLWAY_SESSION_MAX_MESSAGES: row({
    group: 'listen',
    kind: integer(1, ANY),
    default: '10000',
    doc: 'How many messages one session may bring; then the client receives 421 and connects again.',
    live: true,
  }),
  SPILLWAY_MESSAGE_MAX_SIZE: row({
    group: 'listen',
    kind: or(size, 'upstream', 'upstream'),
    default: 'upstream',
    doc: 'The largest message accepted; a larger one is refused with 552.',
    more: '`upstream` means the smallest SIZE that the mail servers offer. Do not set more than that: a larger message would be refused only after it had been sent.',
    live: true,
  }),
  SPILLWAY_TLS_CERT: row({
    group: 'listen',
    kind: paths,
    default: 'none',
    doc: 'The certificate for STARTTLS, with its chain: the path of a PEM file. Several are separated by commas.',
    more: 'Without it STARTTLS is not offered, and senders that insist on TLS (MTA-STS, DANE) stay away. Its own certificate comes first, that of its issuer next. An ECDSA key (P-256) is best: its signature takes a tenth of the CPU time of one with RSA-2048. A changed file is read again by itself. Of several certificates, a client is shown the first that is for the server name it asks for, an exact name before a wildcard. A client that names no server, or one that none is for, is shown the first of all.',
    live: true,
  }),
  SPILLWAY_TLS_KEY: row({
    group: 'listen',
    kind: paths,
    default: 'none',
    doc: 'The private key of that certificate, without a passphrase: the path of a PEM file; of several, in the same order.',
    live: true,
  }),
  SPILLWAY_TLS_MIN_VERSION: row({
    group: 'listen',
    kind: oneOf({
      '1.2': 'TLS 1.2 and 1.3',
      '1.3': 'TLS 1.3 only; a sender that has none sends in the clear instead, or stays away if it insists on TLS',
    }),
    default: '1.2',
    doc: 'The oldest version of TLS that clients may use.',
    live: true,
  }),
  SPILLWAY_TLS_TICKET_KEY: row({
    group: 'listen',
    kind: orNone(keyPath),
    default: 'none',
    doc: 'The secret of TLS session tickets, for nodes that share it: the path of a file with at least 32 characters.',
    more: 'A client that comes back with a ticket resumes its TLS session without a signature, also at another node that has the same secret. Make it with `openssl rand -base64 48`. It is read again when it changes, as certificates are; replace it every day or so, since whoever has it can read the recorded TLS 1.2 sessions that were made or resumed with its tickets. With `none`, nodes that share a Redis agree there on a random secret, a new one each day; without Redis each node has its own, which its workers share.',
    live: true,
  }),
  SPILLWAY_TLS_HANDSHAKES: row({
    group: 'listen',
    kind: places,
    default: '16/64',
    doc: 'TLS handshakes under way at once: those of one address, and all together.',
    more: 'An address that has as many receives 421 to STARTTLS, before any key is used. When the places of all are taken, STARTTLS waits for up to 5s: those go first whose address and network have asked for the fewest handshakes in the last minute that brought no mail, and a client that has a place and sends nothing loses it. Handshakes get at most a quarter of the time of the event loop, whatever is set here: on the machine of docs/benchmarks.md some 500 a second with an RSA-2048 key, some 580 with an ECDSA key.',
    live: true,
  }),

  SPILLWAY_LIMIT_IP_CONNECTIONS: row({
    group: 'limits',
    kind: orOff(rate),
    default: '600/1m',
    doc: 'Connections from one address.',
    live: true,
  }),
  SPILLWAY_LIMIT_IP_CONCURRENCY: row({
    group: 'limits',
    kind: orOff(integer(1, ANY)),
    default: '100',
    doc: 'Concurrent connections from one address.',
    live: true,
  }),
  SPILLWAY_LIMIT_NET_CONNECTIONS: row({
    group: 'limits',
    kind: orOff(rate),
    default: '6000/1m',
    doc: 'Connections from one neighbourhood: the /24 of an IPv4 address, the /48 of an IPv6 address.',
    live: true,
  }),
  SPILLWAY_LIMIT_GLOBAL_CONNECTIONS: row({
    group: 'limits',
    kind: orOff(rate),
    default: 'off',
    doc: 'Connections from all clients together.',
    more: 'While it is off, only the limits per address and per neighbourhood apply, and a flood from very many addresses gets past them.',
    live: true,
  }),
  SPILLWAY_LIMIT_IP_MESSAGES: row({
    group: 'limits',
    kind: orOff(rate),
    default: '1200/1m',
    doc: 'Messages from one address.',
    live: true,
  }),
  SPILLWAY_LIMIT_GLOBAL_MESSAGES: row({
    group: 'limits',
    kind: orOff(rate),
    default: 'off',
    doc: 'Messages from all clients together.',
    more: 'Set a little below what the mail servers can handle, it is the last dam in front of them.',
    live: true,
  }),
  SPILLWAY_LIMIT_IP_RECIPIENTS: row({
    group: 'limits',
    kind: orOff(rate),
    default: '6000/1m',
    doc: 'Recipients named by one address.',
    live: true,
  }),
  SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS: row({
    group: 'limits',
    kind: orOff(rate),
    default: '20/10m',
    doc: 'Recipients named by one address that the mail servers do not know; a client that exceeds it is guessing addresses.',
    more: 'It applies only where they are at least 30 % of the recipients that this address named, so that an honest mailing list with some dead addresses gets through. Each recipient counts once a window, however it is spelt. The roles postmaster and abuse do not count, nor do recipients in domains that accept every address.',
    live: true,
  }),
  SPILLWAY_LIMIT_NET_UNKNOWN_RECIPIENTS: row({
    group: 'limits',
    kind: orOff(rate),
    default: '100/10m',
    doc: 'Recipients named by one /24 (IPv6: /48) that the mail servers do not know; addresses of it are guessing together.',
    more: 'It applies only where they are at least 30 % of the recipients that this network named, and no address counts for more than a fifth of the limit, so that one customer of a provider who guesses does not have the others put off. Known clients are not held by it, and what they name in vain is not counted, unless they have guessed themselves: at least three recipients, and 30 % of all they named. The rest is as of `SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS`.',
    live: true,
  }),
  SPILLWAY_LIMIT_RECIPIENTS_PER_MESSAGE: row({
    group: 'limits',
    kind: integer(1, 1_000_000),
    default: '1000',
    doc: 'Recipients of one message; the client sends the rest in another.',
    more: 'RFC 5321 section 4.5.3.1.8 asks for at least 100.',
    live: true,
  }),

  SPILLWAY_LIMIT_KNOWN_FACTOR: row({
    group: 'limits',
    kind: decimal(1, 1000),
    default: '10',
    doc: 'How many times the limits per address and per neighbourhood a known client has.',
    more: 'It holds at all times, for `known` clients only. The limits of all clients together are as they are set, for everybody. Known clients are not counted in the limit of their neighbourhood.',
    live: true,
  }),
  SPILLWAY_LIMIT_STRESS_FACTOR: row({
    group: 'limits',
    kind: decimal(0.001, 1),
    default: '0.1',
    doc: 'The part of limits per address and neighbourhood left, from overload level 1 on, to clients neither trusted nor known.',
    more: 'With 0.1 a limit of `600/1m` is 60 a minute under pressure; no limit is ever less than 1. With 1 the limits stay as they are. Limits of all clients together, and `SPILLWAY_MAX_CONNECTIONS`, hold as they are set.',
    live: true,
  }),

  SPILLWAY_PREGREET: row({
    group: 'talk',
    kind: signMode,
    default: 'observe',
    doc: 'What to do with clients that speak before they are greeted.',
    more: 'They hear it at HELO or EHLO: 450 4.5.0, or 554 5.5.0. Without SPILLWAY_GREETING_DELAY only those are seen whose words are here before the greeting is written.',
    live: true,
  }),
  SPILLWAY_GREETING_DELAY: row({
    group: 'talk',
    kind: orOff(duration({ min: 100, max: 9_000 })),
    default: 'off',
    doc: 'How long clients that are new wait for the last line of the greeting, whose first line (`220-`) comes at once.',
    more: 'Many bots speak after the first line; see SPILLWAY_PREGREET. Nobody waits who is trusted, known or seen, and nobody waits twice a day; with SPILLWAY_PREGREET=off nobody waits at all. Whoever waits holds a connection of SPILLWAY_MAX_CONNECTIONS, so that from overload level 2 on the wait is shorter ([overload.md](overload.md)).',
    live: true,
  }),

  SPILLWAY_PIPELINING: row({
    group: 'talk',
    kind: signMode,
    default: 'observe',
    doc: 'What to do with clients that go on before HELO or EHLO is answered, or before MAIL is where nothing was offered.',
    more: 'They hear it at HELO, EHLO or MAIL: 450 4.5.0, or 554 5.5.0. What RFC 2920 allows is not counted.',
    live: true,
  }),
  SPILLWAY_COMMAND_NEWLINE: row({
    group: 'talk',
    kind: signMode,
    default: 'observe',
    doc: 'What to do with clients whose commands end in a bare LF, or have a bare CR in them.',
    more: 'They hear it at HELO, EHLO or MAIL: 450 4.5.2, or 554 5.5.2. No mail server sends such lines, but home-made programs and old devices do: look at what it counts before you refuse them. The lines of messages are the matter of SPILLWAY_BARE_NEWLINE.',
    live: true,
  }),
  SPILLWAY_TONGUE: row({
    group: 'talk',
    kind: signMode,
    default: 'observe',
    doc: 'What to do with clients that speak another protocol: HTTP, TLS without STARTTLS, SSH.',
    more: 'Refused, they hear 421 4.7.0 (`defer`) or 554 5.5.1 (`reject`) and are disconnected. Otherwise each such line is an unknown command (500), and the fifth ends the session (reason `junk`), whatever is set, so that a mail session in the body of an HTTP request is not reached.',
    live: true,
  }),
  SPILLWAY_HELO: row({
    group: 'talk',
    kind: signMode,
    default: 'observe',
    doc: 'What to do with clients whose name in HELO or EHLO no mail server has.',
    more: 'That is our own name or address, a name without a dot, an IP address without brackets, what can be no name at all, another name than before in the same session, or a name that strangers of some two hundred networks have within a minute. They hear 450 4.7.1 or 550 5.7.1; for a name that many have, always 450. A name that does not fit the address of the client is nothing.',
    live: true,
  }),

  SPILLWAY_OVERLOAD: row({
    group: 'overload',
    kind: or(or(integer(0, 4), 'auto', 'auto'), 'off', 'off'),
    default: 'auto',
    doc: 'The overload level: `auto` follows the pressure, a level (0 to 4) pins it, and `off` means level 0 whatever happens.',
    more: 'To see what it would do, set `SPILLWAY_OBSERVE=overload`: the level is measured, what it would refuse is counted, and nothing else changes. Each worker has a level of its own.',
    live: true,
  }),
  SPILLWAY_OVERLOAD_UPSTREAM_LATENCY: row({
    group: 'overload',
    kind: duration({ min: 10, max: 600_000 }),
    default: '5s',
    doc: 'How long the mail servers may take to accept a message after its final dot (p95) before that is a pressure of 1.',
    more: 'A second for each megabyte of the message is set off. What at least half of the capacity keeps to counts, so that one slow server among several raises no level by itself.',
    live: true,
  }),
  SPILLWAY_OVERLOAD_EVENT_LOOP: row({
    group: 'overload',
    kind: duration({ min: 5, max: 10_000 }),
    default: '50ms',
    doc: 'How late the event loop of a process may be, on average over a second, before that is a pressure of 1.',
    live: true,
  }),

  SPILLWAY_UPSTREAM_PRESSURE_URL: row({
    group: 'overload',
    kind: orNone(pressureUrl),
    default: 'none',
    doc: 'Where Spillway asks how full the queues of the mail servers are (an http or https URL), every 5 s, or oftener.',
    more: 'The answer is one number for all mail servers, or JSON with a number for each as `SPILLWAY_UPSTREAMS` writes it: `{"mail1.example.net:25": 0.4}`. 1 means that the queue is as long as it may be. For queues that grow while the mail servers accept mail quickly. Instead, each mail server can report its own (`POST /api/v1/pressure`). Each worker asks for itself, and the system resolves the name.',
    live: true,
  }),
  SPILLWAY_OVERLOAD_KNOWN_RESERVE: row({
    group: 'overload',
    kind: decimal(0, 0.9),
    default: '0.3',
    doc: 'The part of the connections to the mail servers, and of `SPILLWAY_MAX_CONNECTIONS`, that strangers never hold.',
    more: 'It is kept for trusted, known and seen clients at every level, for an hour after the last of them has connected. A node that has met none gives everything to strangers. With 0 nothing is kept.',
    live: true,
  }),

  SPILLWAY_OVERLOAD_RETURN_AFTER: row({
    group: 'overload',
    kind: duration({ min: 1000, max: 600_000 }),
    default: '60s',
    doc: 'How long after it was put off a message of a stranger has come back, and goes before those that come for the first time.',
    more: 'Bots repeat at once what was refused; mail servers wait for minutes. A try that comes sooner does not count, and does not start the time again. With more than `5m` the first retry of many mail servers does not count.',
    live: true,
  }),

  SPILLWAY_ALLOW: row({
    group: 'lists',
    kind: networks,
    default: 'none',
    doc: 'Addresses and networks that no list, rate limit, concurrency limit or overload level holds up.',
    more: 'It takes precedence over `SPILLWAY_DENY`. `SPILLWAY_MAX_CONNECTIONS`, the size limit and the rules of the protocol apply to them as well.',
    live: true,
  }),
  SPILLWAY_DENY: row({
    group: 'lists',
    kind: networks,
    default: 'none',
    doc: 'Addresses and networks that are refused at once with 554.',
    more: 'Their mail bounces for good. To slow somebody down, use the limits. After a reload a client on the new list is refused at its next command, unless it was on `SPILLWAY_ALLOW` when its session began.',
    live: true,
  }),
  SPILLWAY_RELAYS: row({
    group: 'lists',
    kind: networks,
    default: 'none',
    doc: "Networks that carry everybody's mail to you: a backup MX, forwarders.",
    more: 'What they send is not theirs, so no history is kept of them, and they are never refused for good: where another client hears 5yz from Spillway, they hear 451. (What the mail servers say, they hear as it is.) They have no limits per address or network. Instead, all of them together count as one network, which may have half of the connections open that all others leave of `SPILLWAY_MAX_CONNECTIONS`. Their standing is `seen`: under load their mail is put off at RCPT, at level 4, and never at the banner. `SPILLWAY_ALLOW` takes precedence over this list, and this list over `SPILLWAY_DENY`.',
    live: true,
  }),
  SPILLWAY_DENY_STAGE: row({
    group: 'lists',
    kind: oneOf({
      connect:
        'at once, in place of the greeting: the cheapest; a mail server tries its other ways to you, and some retry for days',
      rcpt: 'at each recipient, so that the sender has the refusal at once, with the recipient in it',
    }),
    default: 'connect',
    doc: 'Where clients on `SPILLWAY_DENY`, and those who are banned, hear that they are refused.',
    more: 'A 554 in place of the greeting is retried for days by Postfix, which takes it for a broken server; a 550 at RCPT bounces at once.',
    live: true,
  }),
  SPILLWAY_BAN_AFTER: row({
    group: 'lists',
    kind: orOff(integer(1, 1_000_000)),
    default: 'off',
    doc: 'After how many points an address is banned for a while; points are for what no honest mail server does.',
    more: "[bans.md](bans.md) has the table of points; 10 is a good value. It is off until you choose it: look first at what it would do, with `SPILLWAY_BAN_AFTER=10` and `SPILLWAY_OBSERVE=banned`, which bans, counts and logs, and refuses nobody. The operator's own bans (`spillway bans add`) need no points, and hold in any case. Trusted and known clients and relays are never banned by themselves.",
    live: true,
  }),
  SPILLWAY_BAN_TIME: row({
    group: 'lists',
    kind: duration({ min: 1000, max: DAY_MS }),
    default: '10m',
    doc: 'How long the first ban of an address lasts.',
    more: 'Each further ban within a day of the last one is twice as long, up to 24h.',
    live: true,
  }),
  SPILLWAY_KERNEL_OFFLOAD: row({
    group: 'lists',
    kind: oneOf({
      off: 'the kernel is told nothing',
      nftables: 'a table of our own, by the program nft, which needs CAP_NET_ADMIN',
    }),
    default: 'off',
    doc: 'Whether the kernel drops the connections of clients that are banned or denied, once they have heard it three times.',
    more: 'While it does not work, they are refused over SMTP as before, and the log and the status say why. [kernel-offload.md](kernel-offload.md) says who is never dropped, and how to give the capability.',
    perNode: true,
  }),
  SPILLWAY_RCPT_DOMAINS: row({
    group: 'lists',
    kind: domains,
    default: 'none',
    doc: 'The domains mail is accepted for; recipients in other domains are refused at once with 550.',
    more: '`none` leaves the decision to the mail servers. If a domain is missing here, all its mail bounces.',
    live: true,
  }),

  SPILLWAY_KNOWN_AFTER: row({
    group: 'history',
    kind: integer(1, 1_000_000),
    default: '3',
    doc: 'How many messages of a client the mail servers must have accepted before it is known.',
    more: 'At least 80 % of its latest messages must be good as well: one that turns bad is no longer known after about six bad messages in a row.',
    live: true,
  }),
  SPILLWAY_KNOWN_DAYS: row({
    group: 'history',
    kind: integer(1, 365),
    default: '2',
    doc: 'Over how many days these messages must lie.',
    more: 'From the first message to the last it must be so many days of 24 hours, less one day and four hours: 20 hours for 2. With 1 any time will do, and a spammer is known after a few messages that got through.',
    live: true,
  }),
  SPILLWAY_HISTORY_TTL: row({
    group: 'history',
    kind: duration({ min: DAY_MS, max: 3650 * DAY_MS }),
    default: '100d',
    doc: 'How long a client is remembered after the last message that taught something about it.',
    more: 'Bad messages fade sooner: they weigh half as much a day later.',
    live: true,
  }),

  SPILLWAY_HISTORY_DOMAINS: row({
    group: 'history',
    kind: flag,
    default: 'on',
    doc: 'Whether history is kept for the domains of clients, too: a new address of a good provider is then no stranger.',
    more: 'The name is asked of the DNS in the background, and nobody waits for it: for clients that are new or seen, once they are let in, and once a day for each address that sends mail. Switch it off where there is no DNS.',
    live: true,
  }),
  SPILLWAY_HISTORY_BAD_REPLY: row({
    group: 'history',
    kind: orNone(pattern),
    default: 'none',
    doc: 'Replies to the final dot that accept a message and say that it is bad: a regular expression.',
    more: 'For mail servers that file spam as junk and answer 250: where the reply tells, as in `250 2.0.0 Ok: queued as 4XyZ (junk)`, write `\\(junk\\)`. Such a message is delivered like any other, and counts as bad. The reply is matched without its code, line by line.',
    live: true,
  }),

  SPILLWAY_HISTORY_FILE: row({
    group: 'history',
    kind: orNone(path),
    default: 'none',
    doc: 'A file that keeps the history over a restart: its path.',
    more: 'It is written every five minutes and at the stop, and read at the start. With Redis it is of use where Redis may come back empty. What is normal in an hour of the week is kept beside it, in a file whose name ends in .week. Spillway must be allowed to write to its directory. Each worker has its own: the number of the worker is appended to the path.',
    perNode: true,
  }),

  SPILLWAY_BARE_NEWLINE: row({
    group: 'message',
    kind: oneOf({
      normalize: 'a bare LF becomes CRLF and a bare CR becomes a space, as in Postfix; neither can end the message',
      reject: 'the message is refused with 550 5.5.2',
    }),
    default: 'normalize',
    doc: 'How to treat line endings in a message that are not CRLF (SMTP smuggling, CVE-2023-51764).',
    live: true,
  }),
  SPILLWAY_DNS_SERVERS: row({
    group: 'message',
    kind: dnsServers,
    default: 'system',
    doc: 'The DNS servers to use instead of those of the system.',
    more: "The client's name is looked up for new clients (SPILLWAY_HISTORY_DOMAINS), and with xclient for every session that reaches a mail server, so a caching resolver nearby is worthwhile.",
    live: true,
  }),

  SPILLWAY_DNSBL_ZONES: row({
    group: 'message',
    kind: dnsLists,
    default: 'none',
    doc: 'DNS lists that new clients are looked up in, each with the answers that count and their weight.',
    more: "Written as for Postfix' postscreen: `zen.spamhaus.org=127.0.0.[2..11]*3,list.dnswl.org=127.0.[0..255].[1..3]*-2`. Without answers any in 127.0.0.0/8 counts, without a weight it is 1. Asked about clients that are new or suspect, once they are let in. [dnsbl.md](dnsbl.md) says how lists that fail are kept from doing harm.",
    live: true,
  }),
  SPILLWAY_DNSBL_THRESHOLD: row({
    group: 'message',
    kind: integer(1, 10_000),
    default: '1',
    doc: 'A client is refused if the weights of the lists that it is on come to so much or more.',
    live: true,
  }),
  SPILLWAY_DNSBL: row({
    group: 'message',
    kind: oneOf({
      defer: 'its mail is put off with 451 4.7.1 at RCPT',
      reject: 'its mail is refused for good with 554 5.7.1 at RCPT',
      observe: 'it is let pass, and counted',
    }),
    default: 'defer',
    doc: 'What becomes of a client that DNS lists speak against.',
    live: true,
  }),

  SPILLWAY_REDIS_URL: row({
    group: 'redis',
    kind: orNone(redisUrl),
    default: 'none',
    doc: 'The Redis that all nodes share; with none, each node counts its limits alone, in memory.',
    more: 'One server is `redis://user:password@host:6379/0`, a set with Sentinels is `redis+sentinel://s1:26379,s2/mymaster/0`, and a cluster is `redis+cluster://h1:6379,h2`. For TLS write `rediss` in place of `redis`; name a CA of your own in NODE_EXTRA_CA_CERTS, a variable of Node. Redis must be 6.2 or later. The user and password are those of the servers; Sentinels are asked without them. A URL with a password in it belongs in the file that `SPILLWAY_REDIS_URL_FILE` names. [redis.md](redis.md) lists the permissions the user needs.',
  }),
  SPILLWAY_REDIS_PREFIX: row({
    group: 'redis',
    kind: redisPrefix,
    default: 'spillway:',
    doc: 'The prefix of all keys in Redis; nodes that share limits must have the same one.',
  }),
  SPILLWAY_REDIS_TIMEOUT: row({
    group: 'redis',
    kind: duration({ min: 5, max: 5_000 }),
    default: '50ms',
    doc: 'How long Redis may take to answer before what it was told counts as lost. It is then told again, and counts once.',
    more: 'No reply to a client ever waits for Redis. After three late answers in a row Redis counts as away, and the node keeps to its share of each limit.',
  }),
  SPILLWAY_EXPLAIN_SESSIONS: row({
    group: 'redis',
    kind: orNone(integer(100, 10_000_000)),
    default: '100000',
    doc: 'How many sessions Redis keeps for seven days, for `spillway explain` at any node; `none` keeps none.',
    more: 'Each takes about a kilobyte of the memory of Redis: [redis.md](redis.md#sessions-for-explanations). The oldest go first. Without Redis each node has its last sessions in memory alone.',
    live: true,
  }),

  SPILLWAY_ADMIN_LISTEN: row({
    group: 'admin',
    kind: adminAddress(9025),
    default: '127.0.0.1:9025',
    doc: 'Where the status page (/), /metrics, /livez, /readyz and the API (/api/v1/…) are served.',
    more: 'Over loopback the token is needed only for what changes something, and only requests for its own hosts are answered (see SPILLWAY_ADMIN_HOSTS). Off loopback a request may name any host, and /metrics, /livez and /readyz need no token. The port takes 64 connections at once, each for one request. `127.0.0.1:9025,unix:/run/spillway/admin.sock` opens a socket beside it: whoever may open that file (its owner and its group, mode 0660) needs no token, not even for what changes something. The verbs of the command line use it where it is set and may be opened.',
    perNode: true,
  }),
  SPILLWAY_ADMIN_HOSTS: row({
    group: 'admin',
    kind: hosts,
    default: 'none',
    doc: 'Further hosts that a request over loopback may name: host names and addresses, without ports.',
    more: 'localhost, 127.0.0.0/8, [::1], SPILLWAY_HOSTNAME and the host in SPILLWAY_ADMIN_LISTEN are always accepted; a request for any other host is answered with 421. Otherwise a web page could use a name of its own that resolves to 127.0.0.1, and read this port through the browser of anybody who opens the page on this machine. If a proxy or a sidecar on this machine passes on the host that it was asked for, list that host here.',
    live: true,
    perNode: true,
  }),
  SPILLWAY_ADMIN_TOKEN: row({
    group: 'admin',
    kind: orNone(secret),
    default: 'none',
    doc: 'The bearer token that a caller of the API must present, over loopback too where it changes something.',
    more: 'Without it nothing is changed over the port (bans, drain, reload; SIGHUP still reloads), and only /metrics, /livez and /readyz answer off loopback. Make one with `openssl rand -hex 24`. A browser that opens the status page from there asks for it as a password, with any name. Give it as `SPILLWAY_ADMIN_TOKEN_FILE`, so that it appears in no process list.',
    secret: true,
    live: true,
  }),

  SPILLWAY_OBSERVE: row({
    group: 'other',
    kind: checkNames,
    default: 'none',
    doc: 'Checks that judge, count and log but refuse nobody: their names, or all.',
    more: 'To try a check, observe it for some days. `spillway observe` then says whom it would have hurt, and which limit would fit: [observe.md](observe.md).',
    live: true,
  }),
  SPILLWAY_LOG_LEVEL: row({
    group: 'other',
    kind: oneOf({
      fatal: 'only what ends the program',
      error: 'also faults of Spillway itself',
      warn: 'also what an operator should look at',
      info: 'also one line per session',
      debug: 'also what goes on within a session',
      trace: 'everything',
    }),
    default: 'info',
    doc: 'How much is logged.',
    live: true,
  }),
  SPILLWAY_LOG_FORMAT: row({
    group: 'other',
    kind: oneOf({
      json: 'one JSON object a line, for programs; `spillway simulate` reads it',
      text: 'time, level, message and name=value, for people',
    }),
    default: 'json',
    doc: 'How a line of the log is written.',
  }),
  SPILLWAY_LOG_SAMPLE: row({
    group: 'other',
    kind: or(integer(1, 1_000_000), 'auto', 'auto'),
    default: 'auto',
    doc: 'Of the sessions that brought no mail, log one in this many; 1 logs all.',
    more: '`auto` logs all of them until a flood makes that too much. The field `sample` of a line says how many sessions it stands for. A session with a message that a mail server accepted, or may have accepted, is always logged.',
    live: true,
  }),
  SPILLWAY_LOG_LOCAL_PARTS: row({
    group: 'other',
    kind: flag,
    default: 'off',
    doc: 'Show the local parts of addresses (the part before the @) in the log.',
    more: 'They are personal data; domains are enough for most questions.',
    live: true,
  }),
  SPILLWAY_LOG_HMAC_KEY: row({
    group: 'other',
    kind: orNone(hmacKey),
    default: 'none',
    doc: 'A key, with which the log has an HMAC of each address beside the redacted text, so that an address can be looked for.',
    more: '`spillway hash user@example.org` says what to look for; [log.md](log.md#looking-for-an-address) has the rest. Whoever has the key and the log can try addresses, so give it as `SPILLWAY_LOG_HMAC_KEY_FILE` and keep it apart from the log. All nodes of a cluster should have the same one. With another key, lines of before are found with the old one only.',
    secret: true,
    live: true,
  }),
  SPILLWAY_SUPPORT_URL: row({
    group: 'other',
    kind: orNone(supportUrl),
    default: 'none',
    doc: 'Where a refused sender can ask for help; {id} is replaced by the id of the refusal.',
    more: 'It replaces the bare id in every refusal, and so in the bounces that follow.',
    live: true,
  }),
  SPILLWAY_REPLY_TEXT: row({
    group: 'other',
    kind: replyTexts,
    default: 'none',
    doc: 'What refused clients read in place of our words: reason=text, by the reasons of docs/refusals.md.',
    more: 'Code, enhanced code, the address of the client and the id stay, so no client behaves differently. Write ASCII, at most 160 characters. A comma separates entries, so texts with commas go into a file with one entry a line: `SPILLWAY_REPLY_TEXT=@/etc/spillway/replies`. Senders read this in their bounces: say what to do, and nothing that helps a spammer.',
    live: true,
  }),
} as const

export type SettingName = keyof typeof SETTINGS
export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[]
export const isSetting = (name: string): name is SettingName => Object.hasOwn(SETTINGS, name)

/** The variable that names a file of settings. It is read only from the process environment; `Settings` lacks it. */
export const ENV_FILE = {
  name: 'SPILLWAY_ENV_FILE',
  doc: 'A file with further settings, as KEY=VALUE lines; the same as --env-file PATH. The process environment wins.',
} as const

type PascalCase<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Capitalize<Lowercase<Head>>}${PascalCase<Tail>}`
  : Capitalize<Lowercase<S>>
/** SPILLWAY_LIMIT_IP_CONNECTIONS becomes `limitIpConnections`. */
export type KeyOf<N extends string> = N extends `SPILLWAY_${infer Rest}` ? Uncapitalize<PascalCase<Rest>> : never
export type SettingKey = KeyOf<SettingName>

/** The values the program is built from. Durations are in ms, sizes in bytes; what is off or absent is undefined. */
export type Settings = {
  readonly [N in SettingName as KeyOf<N>]: ValueOf<(typeof SETTINGS)[N]['kind']>
}

/** The lists of networks. They may be long, so they are compiled once, wherever the settings are read. */
export const NETWORK_LISTS = [
  'SPILLWAY_ALLOW',
  'SPILLWAY_DENY',
  'SPILLWAY_RELAYS',
  'SPILLWAY_PROXY_PROTOCOL_FROM',
] as const
export type NetworkList = KeyOf<(typeof NETWORK_LISTS)[number]>
export type PlainSettings = Omit<Settings, NetworkList>

export const settingOf = (name: SettingName): Setting<unknown> => SETTINGS[name]

export const keyOf = <N extends SettingName>(name: N): KeyOf<N> =>
  name
    .slice('SPILLWAY_'.length)
    .toLowerCase()
    .replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()) as KeyOf<N>

/** What an operator wrote, with secrets hidden, so that it can be shown and logged. */
export const repeated = (name: SettingName, text: string): string => {
  const { secret, kind } = settingOf(name)
  return secret ? HIDDEN : (kind.mask?.(text) ?? text)
}

/** A value as an operator would write it. A password within a URL is masked; a secret is not. */
export const show = (name: SettingName, settings: Settings): string => settingOf(name).kind.show(settings[keyOf(name)])
