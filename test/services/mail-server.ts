// What tests may ask of every real mail server that they run: Postfix, Exim, OpenSMTPD. A test that takes this interface
// runs against each of them.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { countMaildir, maildir, readMaildir } from './maildir.ts'
import { whyNoNamespace } from './namespace.ts'
import { greets } from './ports.ts'
import { type Server, waitUntil } from './processes.ts'

export interface MailServerOptions {
  /** Whom it has a mailbox for. All others, in its domains and outside, are refused with 5yz, wherever they come from. */
  readonly recipients?: readonly string[]
  /** Domains it takes mail for, besides those of `recipients`. */
  readonly domains?: readonly string[]
  /** The largest message, in bytes, that it takes and announces with SIZE. 100 MiB, unless told. */
  readonly sizeLimit?: number
}

export interface MailServer {
  /** The folder of its own, which goes when it stops. */
  readonly directory: string
  /** The port, on 127.0.0.1, of the listener of that name; of the only or first one where none is told. */
  port(listener?: string): number
  /** Its log since it was ready. */
  log(): string
  /** Resolves when a line of the log, old or new, matches; rejects after `ms` with the end of the log. */
  waitForLog(pattern: RegExp, ms?: number): Promise<RegExpExecArray>
  /** The messages delivered to a recipient, oldest first, as the server stores them: LF for CRLF, trace lines on top. */
  messages(recipient: string): Buffer[]
  /** Resolves with all of a recipient's messages when there are at least `count`. */
  waitForMessages(recipient: string, count: number, ms?: number): Promise<Buffer[]>
  /** Its processes that are there now. */
  pids(): number[]
  /** CPU time, user and system, that all its processes have used so far, those that have ended included. */
  cpuMs(): number
  /** Ends every process of it and removes its directory with all its mail. */
  stop(): Promise<void>
}

/** What can be read of a mail server and waited for. `tail`: the end of its log, for who waited in vain. */
export function reading(name: string, log: () => string, mail: string, tail: () => string) {
  const folder = (recipient: string) => join(mail, maildir(recipient))
  const messages = (recipient: string) => readMaildir(folder(recipient))
  return {
    log,
    messages,
    waitForLog: (pattern: RegExp, ms = 5_000) =>
      waitUntil(
        () => new RegExp(pattern, pattern.flags.replace(/[gy]/g, '')).exec(log()) ?? undefined,
        ms,
        () => `${name} has not logged ${pattern}, but:\n${tail()}`,
      ),
    waitForMessages: (recipient: string, count: number, ms = 5_000) =>
      waitUntil(
        () => (countMaildir(folder(recipient)) >= count ? messages(recipient) : undefined),
        ms,
        () => `${recipient} has ${countMaildir(folder(recipient))} messages, not ${count}:\n${tail()}`,
      ),
  }
}

/** The text of a log file; none where the server has not made it yet. */
export function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

export const lastLines = (text: string, count = 15): string => text.split('\n').slice(-count).join('\n')

/** Somebody else listens on a port that was free when it was looked up. */
export class PortTaken extends Error {}

/**
 * Resolves when a daemon in a namespace takes connections; rejects with the end of its log when it ends before.
 * `listens` is asked again and again, `port` is then tried.
 */
export async function taking(
  name: string,
  daemon: Server,
  listens: () => boolean,
  port: number,
  tail: () => string,
): Promise<void> {
  const probe = () => {
    if (daemon.running()) return listens() || undefined
    if (/Address already in use/.test(tail())) throw new PortTaken(`${name} cannot listen: ${tail()}`)
    throw new Error(`${name} has ended: ${whyNoNamespace() ?? tail()}`)
  }
  await waitUntil(probe, 10_000, () => `${name} has not started:\n${tail()}`)
  if (!(await greets(port))) throw new Error(`${name} does not greet:\n${tail()}`)
}

/** The ports by the names of their listeners; the first one where none is told. */
export const byListener =
  (name: string, ports: Readonly<Record<string, number>>) =>
  (listener: string = Object.keys(ports)[0] as string): number => {
    const port = ports[listener]
    if (port === undefined) throw new Error(`this ${name} has no listener ${listener}`)
    return port
  }

/** Starts again, on other ports, what found its port taken. */
export async function onFreePorts<T>(startOnce: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce()
    } catch (error) {
      if (!(error instanceof PortTaken) || attempt === 3) throw error
    }
  }
}
