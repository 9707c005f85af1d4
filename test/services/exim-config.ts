// Configuration of a private Exim for tests, as a pure function of what a test asks for: see chapters 14, 15, 24 and 30 of
// the Exim specification.
//
// It takes mail for its own recipients into maildirs and never sends any out, unless it is told to be a sender: then all
// its mail goes to one port. It asks no DNS and knows no user of the machine. What it offers and how much it bears
// (synchronization, errors, commands that send no mail) is as Exim has it by default; Debian's own configuration would
// take away SMTPUTF8 (`smtputf8_advertise_hosts`).
//
// What Exim changes in a message that it takes from an SMTP client and puts into a maildir (seen with 4.96-15+deb12u10):
// - CRLF becomes LF. In the body a bare LF becomes a space and a bare CR becomes LF; in the header a bare LF ends a line.
//   Only CRLF.CRLF ends the message; where CRLF.LF stands, the dot is taken away and the LF becomes a space.
// - On top come Return-path, Envelope-to, Delivery-date and Received.
// - Of the header: a NUL becomes `?`; Return-path, Envelope-to and Delivery-date are taken out, in any case; a continuation
//   line of nothing but blanks is dropped; before the first line that is no header (a first `From …` is let pass) an empty
//   one is put, and an empty one is added where there is no body.
// - Of the body nothing else: NULs, long lines, lines with `From `, blanks at the end and empty lines stay as they are.

import { join } from 'node:path'
import type { MailServerOptions } from './mail-server.ts'
import { maildir, ownDomains } from './maildir.ts'

export interface EximOptions extends MailServerOptions {
  /** Makes it a sender: all its mail goes to this port of 127.0.0.1 when its queue is run, and none is delivered. */
  readonly sendTo?: number
  /** More options of the main section, which have the last word. */
  readonly params?: Readonly<Record<string, string | number>>
}

/** Where it lives, and who it runs as. */
export interface EximPlaces {
  readonly directory: string
  readonly program: string
  readonly account: string
  /** Ports of 127.0.0.1. */
  readonly plain: number
  /** Wants a PROXY header, version 1 or 2, first. */
  readonly haproxy: number
}

/** Files beside the configuration that it refers to, by name. */
export function tables({ recipients = [] }: EximOptions): Record<string, string> {
  const rows = recipients.map((recipient) => {
    if (/[\s"#:]/.test(recipient)) throw new Error(`a table of Exim cannot hold the recipient ${recipient}`)
    return `${recipient.toLowerCase()}: ${maildir(recipient)}\n`
  })
  return { mailboxes: rows.join('') }
}

export function configure(options: EximOptions, { directory, program, account, plain, haproxy }: EximPlaces): string {
  const { recipients = [], domains = [], sizeLimit, sendTo, params } = options
  const main = {
    exim_path: program,
    spool_directory: join(directory, 'spool'),
    log_file_path: join(directory, 'log/%slog'),
    // A package in the cache finds its libraries by this.
    keep_environment: 'LD_LIBRARY_PATH',
    // Deliveries run as this account, for the program need not be setuid; mailboxes belong to it.
    deliver_drop_privilege: 'true',
    exim_user: account,
    primary_hostname: 'mx.test.example',
    local_interfaces: `<; [127.0.0.1]:${plain} ; [127.0.0.1]:${haproxy}`,
    // A port that is taken ends it at once.
    daemon_startup_retries: 0,
    hosts_proxy: `\${if eq{$received_port}{${haproxy}}{*}{}}`,
    tls_advertise_hosts: '',
    message_size_limit: sizeLimit ?? 100 * 1024 * 1024,
    // No question about a client to the DNS or to itself.
    host_lookup: '',
    rfc1413_hosts: '',

    // A test's clients all come from one address, and many at once.
    smtp_accept_max: 0,
    smtp_accept_queue_per_connection: 0,
    smtp_connect_backlog: 512,
    acl_smtp_rcpt: 'rcpt',
    // Nobody is told of what cannot be delivered.
    ignore_bounce_errors_after: '0s',
    ...params,
  }
  const set = Object.entries(main).map(([name, value]) => `${name} = ${value}\n`)
  return `${set.join('')}
domainlist own = ${ownDomains(recipients, domains).join(' : ')}

begin acl
rcpt:
  deny    domains = !+own
          message = relay not permitted
  accept  verify  = recipient

begin routers
${sendTo === undefined ? MAILBOXES(directory) : SENDER}

begin transports
mailbox:
  driver = appendfile
  directory = $address_data
  maildir_format
  create_directory
  delivery_date_add
  envelope_to_add
  return_path_add
smtp:
  driver = smtp
  allow_localhost
  port = ${sendTo ?? 0}
  hosts_try_fastopen =

begin retry
* * F,1h,1m
`
}

const MAILBOXES = (directory: string) => `
mailboxes:
  driver = accept
  domains = +own
  address_data = \${lookup{$local_part@$domain}lsearch{${directory}/mailboxes}{${directory}/mail/$value}fail}
  transport = mailbox
nowhere:
  driver = redirect
  domains = !+own
  data = :blackhole:
`
const SENDER = `
out:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  self = send
  transport = smtp
`
