// main.cf and master.cf of a private Postfix for tests: what it is told, as pure functions of what a test asks for.
//
// It takes mail for its own recipients into maildirs, and never sends any mail out: there is no service that could. Only
// one that is told to be a sender has that service, for one port of this machine.
// Nothing in it asks the DNS, reads /etc/postfix, or touches /var/spool/postfix. See postconf(5) and master(5).
//
// What Postfix changes in a message that it takes from an SMTP client and puts into a maildir (seen with 3.7.11):
// - CRLF becomes LF; so does CR CRLF. A bare LF ends a line too, and LF.CRLF and CRLF.LF end the message. Another bare CR
//   becomes a space.
// - On top come Return-Path, X-Original-To, Delivered-To and Received.
// - Of the header: a line is cut at a NUL; Return-Path, Bcc and Content-Length are taken out; a first line `From …` becomes
//   X-Mailbox-Line; before the first line that is no header an empty one is put, if it has none.
// - Of the body nothing else: NULs, long lines, lines with `From `, blanks at the end and empty lines stay as they are.

import { join } from 'node:path'
import type { MailServerOptions } from './mail-server.ts'
import { maildir, ownDomains } from './maildir.ts'

export type ListenerKind = 'plain' | 'xclient' | 'haproxy' | 'postscreen' | 'proxy-filter'

interface AnyListener {
  /** What `postfix.port()` knows it by; its kind, unless told. Needed for two listeners of one kind. */
  readonly name?: string
  /** Parameters for this listener alone: `-o` in master.cf. */
  readonly params?: Params
}

/** A port of Postfix, and what listens there. */
export type Listener = AnyListener &
  (
    | { readonly kind: 'plain' }
    /** smtpd that takes XCLIENT from loopback addresses. */
    | { readonly kind: 'xclient' }
    /** smtpd that wants a PROXY header, version 1 or 2, first. */
    | { readonly kind: 'haproxy' }
    /** postscreen that drops clients from the networks in `deny` (addresses or CIDR) and hands all others to smtpd. */
    | { readonly kind: 'postscreen'; readonly deny: readonly string[] }
    /** smtpd that relays live, before the queue, to `filter` (host:port). */
    | { readonly kind: 'proxy-filter'; readonly filter: string }
  )

export type Params = Readonly<Record<string, string | number>>

/** Whom it does not know gets "550 5.1.1 … User unknown" in its domains, and "554 5.7.1 … Relay access denied" outside. */
export interface PostfixOptions extends MailServerOptions {
  /**
   * Makes it a sender: whatever it takes goes to this port of 127.0.0.1. It keeps all mail on hold until `release()`.
   */
  readonly sendTo?: number
  /** PEM files; STARTTLS is offered where they are given. */
  readonly tls?: { readonly cert: string; readonly key: string }
  /** One `plain` listener, unless told. */
  readonly listeners?: readonly Listener[]
  /** More parameters of main.cf, which have the last word. */
  readonly params?: Params
}

/** Where it lives: `binaries` is the root its package lies under (see packages.ts), `directory` a folder of its own. */
export interface Places {
  readonly binaries: string
  readonly directory: string
}

/**
 * Postfix wants three identities that share no uid or gid (mail_params.c). These are on every Debian, so that no account
 * has to be made; they own nothing and run nothing elsewhere.
 */
export const ACCOUNTS = { owner: 'daemon', submitGroup: 'games', mailbox: 'nobody' } as const
/** The uid and gid of `nobody`: who mailboxes belong to. */
export const MAILBOX_ID = 65534

/** Files beside main.cf that it refers to, by name: the tables. */
export function tables({ recipients = [], listeners = [] }: PostfixOptions): Record<string, string> {
  const mailboxes = recipients.map((recipient) => {
    if (/[\s"#]/.test(recipient)) throw new Error(`a table of Postfix cannot hold the recipient ${recipient}`)
    return `${recipient} ${maildir(recipient)}\n`
  })
  const denied = listeners.flatMap((listener) => {
    if (listener.kind !== 'postscreen') return []
    // The last two rows spare everybody else the greet wait: they go to smtpd at once.
    const rows = [...listener.deny.map((net) => `${net} reject`), '0.0.0.0/0 permit', '::/0 permit']
    return [[`deny-${nameOf(listener)}.cidr`, `${rows.join('\n')}\n`]]
  })
  return { mailboxes: mailboxes.join(''), ...Object.fromEntries(denied) }
}

export const nameOf = (listener: Listener) => listener.name ?? listener.kind

export function mainCf(options: PostfixOptions, { binaries, directory }: Places): string {
  const { recipients = [], domains = [], sizeLimit, sendTo, tls, params } = options
  const all: Params = {
    compatibility_level: '3.6',
    // Daemons are run from where the package lies. Those of a package in the cache find their libraries by
    // LD_LIBRARY_PATH, which Postfix drops from the environment unless told to keep it.
    daemon_directory: join(binaries, 'usr/lib/postfix/sbin'),
    command_directory: join(binaries, 'usr/sbin'),
    shlib_directory: join(binaries, 'usr/lib/postfix'),
    meta_directory: join(directory, 'config'),
    import_environment: 'MAIL_CONFIG TZ LANG=C LD_LIBRARY_PATH',
    export_environment: 'TZ PATH LD_LIBRARY_PATH',
    queue_directory: join(directory, 'queue'),
    data_directory: join(directory, 'data'),
    maillog_file: join(directory, 'maillog'),
    maillog_file_prefixes: directory,
    mail_owner: ACCOUNTS.owner,
    setgid_group: ACCOUNTS.submitGroup,
    default_privs: ACCOUNTS.mailbox,

    myhostname: 'mx.test.example',
    inet_interfaces: 'loopback-only',
    inet_protocols: 'all',
    mydestination: '',
    mynetworks: '127.0.0.0/8 [::1]/128',
    smtp_dns_support_level: 'disabled',
    smtpd_peername_lookup: 'no',
    // Headers are left alone, whoever the client is: a loopback address must not get it a Date, a From or a domain.
    local_header_rewrite_clients: '',

    virtual_mailbox_domains: ownDomains(recipients, domains).join(' '),
    virtual_mailbox_maps: `texthash:${join(directory, 'config/mailboxes')}`,
    virtual_mailbox_base: join(directory, 'mail'),
    virtual_uid_maps: `static:${MAILBOX_ID}`,
    virtual_gid_maps: `static:${MAILBOX_ID}`,
    virtual_mailbox_limit: 0,
    virtual_alias_maps: '',
    alias_maps: '',
    local_recipient_maps: '',

    // Nothing leaves this machine, and nobody is told of what cannot.
    smtpd_relay_restrictions: 'reject_unauth_destination',
    default_transport: 'error:5.4.0 this Postfix sends no mail out',
    relay_transport: 'error:5.4.0 this Postfix sends no mail out',
    local_transport: 'error:5.4.0 this Postfix has no local users',
    relay_domains: '',
    notify_classes: '',

    // A test's clients all come from one address, and many at once.
    smtpd_client_connection_count_limit: 0,
    message_size_limit: sizeLimit ?? 100 * 1024 * 1024,
    queue_minfree: 0,
    ...(tls && { smtpd_tls_security_level: 'may', smtpd_tls_cert_file: tls.cert, smtpd_tls_key_file: tls.key }),
    ...(sendTo !== undefined && {
      virtual_mailbox_domains: '',
      smtpd_relay_restrictions: 'permit_mynetworks, reject',
      smtpd_sender_restrictions: 'static:HOLD',
      default_transport: `smtp:[127.0.0.1]:${sendTo}`,
      queue_run_delay: '1s',
      minimal_backoff_time: '1s',
      // A connection is kept for more mail only where a test asks for it, so that sessions last as long as their mail.
      smtp_connection_cache_on_demand: 'no',
    }),
    ...params,
  }
  return Object.entries(all)
    .map(([name, value]) => `${name} = ${value}\n`)
    .join('')
}

/** The services behind every listener; nothing in a chroot, and no smtp and no lmtp client among them but in a sender. */
const SERVICES = `
postlog    unix-dgram n - n - 1 postlogd
pickup     unix n - n 60 1 pickup
cleanup    unix n - n - 0 cleanup
qmgr       unix n - n 300 1 qmgr
tlsmgr     unix - - n 1000? 1 tlsmgr
rewrite    unix - - n - - trivial-rewrite
bounce     unix - - n - 0 bounce
defer      unix - - n - 0 bounce
trace      unix - - n - 0 bounce
verify     unix - - n - 1 verify
flush      unix n - n 1000? 0 flush
proxymap   unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
anvil      unix - - n - 1 anvil
showq      unix n - n - - showq
error      unix - - n - - error
retry      unix - - n - - error
discard    unix - - n - - discard
virtual    unix - n n - - virtual
smtpd      pass - - n - - smtpd
tlsproxy   unix - - n - 0 tlsproxy
dnsblog    unix - - n - 0 dnsblog
`

/** `ports` are those of the listeners, in their order; all on 127.0.0.1. */
export function masterCf(
  listeners: readonly Listener[],
  ports: readonly number[],
  { directory }: Places,
  sends = false,
): string {
  const lines = listeners.map((listener, index) => {
    const [program, limit] = listener.kind === 'postscreen' ? ['postscreen', '1'] : ['smtpd', '-']
    const params = Object.entries({ ...paramsOf(listener, directory), ...listener.params })
    const overrides = params.map(([name, value]) => `  -o { ${name} = ${value} }\n`).join('')
    return `127.0.0.1:${ports[index]} inet n - n - ${limit} ${program}\n${overrides}`
  })
  return (
    lines.join('') + SERVICES.trimStart() + (sends ? 'smtp unix - - n - - smtp\nscache unix - - n - 1 scache\n' : '')
  )
}

function paramsOf(listener: Listener, directory: string): Params {
  switch (listener.kind) {
    case 'plain':
      return {}
    case 'xclient':
      return { smtpd_authorized_xclient_hosts: '127.0.0.0/8 [::1]/128' }
    case 'haproxy':
      return { smtpd_upstream_proxy_protocol: 'haproxy' }
    case 'postscreen':
      return {
        postscreen_access_list: `cidr:${join(directory, 'config', `deny-${nameOf(listener)}.cidr`)}`,
        postscreen_denylist_action: 'drop',
        postscreen_cache_map: `btree:${join(directory, 'data', `postscreen-${nameOf(listener)}`)}`,
      }
    case 'proxy-filter':
      return { smtpd_proxy_filter: listener.filter }
  }
}
