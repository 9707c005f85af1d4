// A real OpenSMTPD for one test: private, on loopback ports of its own, gone without a trace afterwards.
//
//     const opensmtpd = await startOpenSmtpd({ recipients: ['anna@example.test'] })
//     … 127.0.0.1, opensmtpd.port(), or opensmtpd.port('haproxy') behind a PROXY header of version 2 …
//     const [message] = await opensmtpd.waitForMessages('anna@example.test', 1)
//     await opensmtpd.stop()
//
// smtpd runs in the foreground (-d) in a mount namespace, where Debian's accounts for it exist, and where the folders that
// are compiled into it lie in the instance's own: /var/spool, /var/lib (its empty chroot) and /run (its socket).
//
// What OpenSMTPD changes in a message that it takes from an SMTP client and puts into a maildir (seen with 6.8.0p2):
// - CRLF becomes LF. A bare LF ends a line too, and LF.CRLF and CRLF.LF end the message. A bare CR stays as it is.
// - A line is cut at a NUL. A line of more than 65,535 bytes is refused with "500 5.0.0 Line too long" after the dot.
// - On top come Return-Path, Delivered-To and Received.
// - Of the header: Bcc is taken out; because the client is on a loopback address, a missing Date and a missing Message-ID
//   are added at its end, and an address without a domain gets its own. A message whose first line is neither empty nor a
//   header is refused with "550 5.7.1 … not RFC 2822 compliant" (a first `From …` is let pass).
// - Of the body nothing else: long lines, lines with `From `, blanks at the end and empty lines stay as they are.
//
// It offers neither PIPELINING nor SMTPUTF8 nor CHUNKING. Who sends it two commands at once hears "500 5.5.1 Invalid
// command: Pipelining not supported".

import { chmodSync, chownSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  byListener,
  lastLines,
  type MailServer,
  type MailServerOptions,
  onFreePorts,
  reading,
  taking,
} from './mail-server.ts'
import { maildir } from './maildir.ts'
import { makeNamespace } from './namespace.ts'
import { command } from './packages.ts'
import { freePorts, listening } from './ports.ts'
import { startServer } from './processes.ts'

/** What compiled-in accounts run: the daemons without privileges, and the one that keeps the queue. */
const ACCOUNTS = ['opensmtpd', 'opensmtpq'] as const
/** The uid and gid of `nobody`: who mailboxes belong to. */
const MAILBOX_ID = 65534

/** Starts an OpenSMTPD and resolves when it takes connections. Rejects with what it says is wrong. */
export function startOpenSmtpd(options: MailServerOptions = {}): Promise<MailServer> {
  return onFreePorts(() => startOnce(options))
}

async function startOnce(options: MailServerOptions): Promise<MailServer> {
  if (process.getuid?.() !== 0) throw new Error('OpenSMTPD is started by root only: run the tests as root')
  const { recipients = [] } = options
  for (const recipient of recipients)
    if (/[\s"#:,]/.test(recipient)) throw new Error(`a table of OpenSMTPD cannot hold the recipient ${recipient}`)
  const [plain, haproxy] = (await freePorts(2)) as [number, number]
  const directory = mkdtempSync(join(tmpdir(), 'opensmtpd-'))
  chmodSync(directory, 0o755)
  const packed = command('smtpd').root
  const folders = {
    '/var/spool': join(directory, 'spool'),
    '/var/lib': join(directory, 'lib'),
    '/run': join(directory, 'run'),
    ...(packed !== '/' && { '/usr/libexec': join(packed, 'usr/libexec') }),
  }
  const namespace = makeNamespace({ command: 'smtpd', directory, accounts: ACCOUNTS, folders })
  const make = (path: string, mode: number, id = 0) => {
    mkdirSync(join(directory, path), { recursive: true })
    chmodSync(join(directory, path), mode)
    chownSync(join(directory, path), id, id)
  }
  for (const path of ['run', 'spool', 'lib', 'lib/opensmtpd', 'lib/opensmtpd/empty']) make(path, 0o755)
  make('spool/smtpd', 0o711)
  make('mail', 0o700, MAILBOX_ID)
  // It looks for a .forward in them.
  for (const recipient of recipients) make(join('mail', maildir(recipient)), 0o700, MAILBOX_ID)
  for (const [name, text] of Object.entries(configure(options, { directory, plain, haproxy })))
    writeFileSync(join(directory, name), text)

  const args = ['-d', '-f', join(directory, 'smtpd.conf')]
  const daemon = startServer('smtpd', args, directory, namespace)
  let ready = 0
  const log = () => daemon.output().slice(ready)
  const tail = () => lastLines(daemon.output())
  const server = reading('OpenSMTPD', log, join(directory, 'mail'), tail)
  try {
    await taking('OpenSMTPD', daemon, () => listening(plain) > 0 && listening(haproxy) > 0, plain, tail)
    // What our own visit left in the log is kept out of what tests look at.
    await server.waitForLog(/smtp disconnected/)
    ready = daemon.output().length
  } catch (error) {
    await daemon.stop()
    throw error
  }
  return {
    directory,
    port: byListener('OpenSMTPD', { plain, haproxy }),
    ...server,
    pids: daemon.pids,
    cpuMs: daemon.cpuMs,
    stop: () => daemon.stop(),
  }
}

interface Places {
  readonly directory: string
  readonly plain: number
  readonly haproxy: number
}

/**
 * smtpd.conf(5) and the tables it refers to, by file name. Whoever is not among the recipients gets "550 Invalid
 * recipient", in its own domains as in others, which therefore need not be told.
 */
function configure(options: MailServerOptions, { directory, plain, haproxy }: Places): Record<string, string> {
  const { recipients = [], sizeLimit = 100 * 1024 * 1024 } = options
  const users = recipients.map((recipient, index) => ({
    recipient: recipient.toLowerCase(),
    name: `u${index}`,
    home: join(directory, 'mail', maildir(recipient)),
  }))
  const table = (name: string) => `table ${name} file:${join(directory, name)}\n`
  const rules = `${table('mailboxes')}${table('recipients')}${table('users')}
action mailbox maildir "%{user.directory}" virtual <mailboxes> userbase <users>
match from any for rcpt-to <recipients> action mailbox
`
  return {
    // Mail is given to a user of a table of ours: no account of the machine has to be there.
    mailboxes: users.map(({ recipient, name }) => `${recipient}: ${name}\n`).join(''),
    // With the table of mailboxes alone an unknown recipient would hear "524 5.2.4 Mailing list expansion problem".
    recipients: users.map(({ recipient }) => `${recipient}\n`).join(''),
    users: users.map(({ name, home }) => `${name}: ${MAILBOX_ID}:${MAILBOX_ID}:${home}\n`).join(''),
    // An empty table is an error to it, and so is to have no rule.
    'smtpd.conf': `smtp max-message-size ${sizeLimit}
smtp limit max-mails 1000000
smtp limit max-rcpt 100000
listen on 127.0.0.1 port ${plain} hostname mx.test.example
listen on 127.0.0.1 port ${haproxy} hostname mx.test.example proxy-v2
${users.length > 0 ? rules : 'match from any for any reject\n'}`,
  }
}
