/**
 * Opens a connection to a mail server and takes it to the point where MAIL may be sent: PROXY header, greeting, EHLO, STARTTLS,
 * XCLIENT, as the settings and the server require. Used for clients, for health checks and for the relay guard alike.
 */
import type { SecureContext } from 'node:tls'
import type { Clock } from '../../core/clock.ts'
import type { NameOf } from '../../dns/names.ts'
import { type ClientAddressMode, type ClientAttributes, xclientCommand } from './client-attributes.ts'
import { proxyV1, proxyV2, proxyV2Local } from './proxy-header.ts'
import type { Reply } from './reply.ts'
import { SmtpClient } from './smtp-client.ts'
import { UpstreamError } from './upstream-error.ts'

/** What EHLO offered: keywords in upper case, with their parameters. */
export type Extensions = ReadonlyMap<string, string>

/** Extensions that pass through us unchanged, and so may be offered if every server in use offers them. */
export const RELAYABLE = ['SIZE', '8BITMIME', 'SMTPUTF8', 'DSN', 'ENHANCEDSTATUSCODES', 'REQUIRETLS']

/** The server refused a step that we cannot do without. */
export class UpstreamRefusal extends Error {
  /** ehlo: it refused the client's name. client: after XCLIENT, it refused the client whatever its name. */
  readonly phase: 'greeting' | 'ehlo' | 'client' | 'starttls' | 'xclient' | 'mail'
  readonly reply: Reply
  constructor(phase: UpstreamRefusal['phase'], reply: Reply) {
    super(`${phase}: ${reply.code} ${reply.lines.join(' / ')}`)
    this.name = 'UpstreamRefusal'
    this.phase = phase
    this.reply = reply
  }
}

/** The server does not offer an extension that we cannot do without, so it had nothing to refuse. */
export class NotOffered extends UpstreamRefusal {
  /** What is not offered, in words. */
  readonly what: string
  /** @param cure what to do about it, behind that in the message */
  constructor(phase: 'starttls' | 'xclient', what: string, cure?: string) {
    super(phase, { code: 550, lines: [what] })
    this.message = cure === undefined ? what : `${what}; ${cure}`
    this.what = what
  }
}

export interface DialSettings {
  readonly clientIp: ClientAddressMode
  /** required: with a certificate that is verified. */
  readonly tls: 'opportunistic' | 'required' | 'off'
  /** Whose signatures are trusted where TLS is required; undefined: those of the CAs that Node brings. */
  readonly trusted?: SecureContext | undefined
  /** Our own name, used on connections of our own (health checks). */
  readonly hostname: string
  readonly connectTimeoutMs: number
  readonly replyTimeoutMs: number
  readonly names: NameOf
  /** All deadlines are times of this clock. */
  readonly elapsed: Clock['elapsed']
}

/**
 * Whether a connection opened under the one is as good as a connection opened under the other: for the mail server, which learns
 * who the client is, and for whoever listens in.
 */
export const isSameWay = (one: DialSettings, other: DialSettings): boolean =>
  one.clientIp === other.clientIp && one.tls === other.tls && one.trusted === other.trusted

export interface Dialed {
  readonly smtp: SmtpClient
  readonly extensions: Extensions
  /** The name that we gave in EHLO. */
  readonly helo: string
  /** What it was opened under. */
  readonly settings: DialSettings
}

export interface Target {
  readonly host: string
  readonly port: number
  /** As the operator wrote it, a name or an address: what its certificate must be for. */
  readonly name: string
}

/** Whole milliseconds from `now` to `deadline`, at most `most`. @throws UpstreamError if there are none */
export function timeLeft(deadline: number, now: number, most: number): number {
  const remaining = Math.floor(deadline - now)
  if (remaining <= 0) throw new UpstreamError('timeout', 'no time left for this reply')
  return Math.min(remaining, most)
}

/**
 * Where certificates are not verified, REQUIRETLS counts as not offered: such a connection cannot be given what requires it (RFC 8689
 * section 4.2.1). Where they are, the last EHLO is always inside TLS.
 */
function extensionsOf(reply: Reply, { tls }: DialSettings): Extensions {
  const extensions = new Map(
    reply.lines.slice(1).map((line) => {
      const [keyword = '', ...rest] = line.trim().split(/[ =]/)
      return [keyword.toUpperCase(), rest.join(' ')]
    }),
  )
  if (tls !== 'required') extensions.delete('REQUIRETLS')
  return extensions
}

/**
 * @param attributes the client that it is for; undefined: our own health check, which names no client
 * @param deadline a time of `settings.elapsed`, for all phases together
 * @param signal aborted when the connection is no longer wanted; if its reason is an UpstreamError, that is thrown
 * @param plain without TLS, which has failed before
 * @throws UpstreamError, UpstreamRefusal
 */
export async function dial(
  target: Target,
  settings: DialSettings,
  attributes: ClientAttributes | undefined,
  deadline: number,
  signal?: AbortSignal,
  plain = false,
): Promise<Dialed> {
  const { clientIp, tls, replyTimeoutMs, elapsed } = settings
  // Looked up while we connect: either takes a round trip or more.
  const name = clientIp === 'xclient' && attributes !== undefined ? settings.names(attributes.client.ip) : undefined
  const smtp = await open(target, settings, attributes, deadline, signal)
  const giveUp = (): void => smtp.destroy('given up')
  signal?.addEventListener('abort', giveUp)
  try {
    if (signal?.aborted) giveUp()
    const remaining = (): number => timeLeft(deadline, elapsed(), replyTimeoutMs)
    const greeting = await smtp.reply(remaining())
    if (greeting.code !== 220) throw new UpstreamRefusal('greeting', greeting)
    let extensions = await hello(smtp, settings, attributes, remaining)
    if (tls !== 'off' && !plain && extensions.has('STARTTLS')) {
      await secure(smtp, target, settings, remaining)
      extensions = await hello(smtp, settings, attributes, remaining)
    } else if (tls === 'required') {
      throw new NotOffered('starttls', 'TLS: STARTTLS is not offered, and SPILLWAY_UPSTREAM_TLS=required')
    }
    if (attributes !== undefined && name !== undefined) {
      const offered = (extensions.get('XCLIENT') ?? '').toUpperCase().split(' ')
      await introduce(smtp, xclientCommand(attributes, await name, offered), remaining)
      extensions = await hello(smtp, settings, attributes, remaining, 'client')
    }
    return { smtp, extensions, helo: attributes?.helo ?? settings.hostname, settings }
  } catch (error) {
    smtp.destroy('not usable')
    if (signal?.aborted && signal.reason instanceof UpstreamError) throw signal.reason
    if (error instanceof UpstreamError && error.fault !== 'protocol') error.connected = true
    // RFC 3207 section 4: if TLS is optional, a failed handshake must not cost us the mail.
    if (tls === 'opportunistic' && !plain && !signal?.aborted && isOfTls(error)) {
      return dial(target, settings, attributes, deadline, signal, true)
    }
    throw error
  } finally {
    signal?.removeEventListener('abort', giveUp)
  }
}

const isOfTls = (error: unknown): boolean =>
  (error instanceof UpstreamError && error.message.startsWith('TLS:')) ||
  (error instanceof UpstreamRefusal && error.phase === 'starttls')

/** STARTTLS and its handshake. */
async function secure(
  smtp: SmtpClient,
  { name }: Target,
  { tls, trusted, connectTimeoutMs }: DialSettings,
  remaining: () => number,
): Promise<void> {
  const reply = await smtp.command('STARTTLS', remaining())
  if (reply.code !== 220) throw new UpstreamRefusal('starttls', reply)
  // A handshake takes a few round trips, as connecting does. If it stalls, there must be time left to go on without TLS.
  await smtp.startTls({ name, verified: tls === 'required', trusted }, Math.min(remaining(), 2 * connectTimeoutMs))
}

/** Says who the client is. @param command undefined: the server does not offer what is needed for it */
async function introduce(smtp: SmtpClient, command: string | undefined, remaining: () => number): Promise<void> {
  if (command === undefined) throw new NotOffered('xclient', 'XCLIENT with ADDR and NAME is not offered to us')
  const reply = await smtp.command(command, remaining())
  if (reply.code !== 220) throw new UpstreamRefusal('xclient', reply)
}

/** Says EHLO for another client on a connection kept between clients. @throws UpstreamError, UpstreamRefusal */
export async function greetAgain(
  { smtp }: Dialed,
  settings: DialSettings,
  attributes: ClientAttributes,
  deadline: number,
  signal: AbortSignal,
): Promise<Extensions> {
  const giveUp = (): void => smtp.destroy('given up')
  signal.addEventListener('abort', giveUp)
  try {
    return await hello(smtp, settings, attributes, () =>
      timeLeft(deadline, settings.elapsed(), settings.replyTimeoutMs),
    )
  } finally {
    signal.removeEventListener('abort', giveUp)
  }
}

async function open(
  target: Target,
  settings: DialSettings,
  attributes: ClientAttributes | undefined,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<SmtpClient> {
  const { clientIp, connectTimeoutMs, elapsed } = settings
  const timeoutMs = timeLeft(deadline, elapsed(), connectTimeoutMs)
  const { host, port } = target
  const connect = (first?: Buffer): Promise<SmtpClient> =>
    SmtpClient.open({ host, port }, { timeoutMs, elapsed, first, signal })
  if (clientIp !== 'proxy-v1' && clientIp !== 'proxy-v2') return connect()
  if (attributes !== undefined) {
    const ends = { source: attributes.client, destination: attributes.client.local }
    return connect(clientIp === 'proxy-v1' ? proxyV1(ends) : proxyV2(ends))
  }
  if (clientIp === 'proxy-v2') return connect(proxyV2Local())
  // Postfix answers `PROXY UNKNOWN` with 421, so a version 1 header for a health check gives our own, true addresses.
  const smtp = await connect()
  smtp.send(proxyV1({ source: smtp.local, destination: smtp.remote }))
  return smtp
}

/** @param whoever phase of the refusal if the server takes neither the client's name nor our own */
async function hello(
  smtp: SmtpClient,
  settings: DialSettings,
  attributes: ClientAttributes | undefined,
  remaining: () => number,
  whoever: 'greeting' | 'client' = 'greeting',
): Promise<Extensions> {
  // Always EHLO, even for a client that said HELO: the extensions are offered to us. XCLIENT says which of the two it was.
  const name = attributes?.helo ?? settings.hostname
  const reply = await smtp.command(`EHLO ${name}`, remaining())
  if (reply.code === 250) return extensionsOf(reply, settings)
  if (reply.code < 500) throw new UpstreamRefusal('ehlo', reply)
  // RFC 5321 section 3.2: a server that does not know EHLO may know HELO.
  const old = await smtp.command(`HELO ${name}`, remaining())
  if (old.code === 250) return new Map()
  if (attributes !== undefined && old.code >= 500) {
    // Only if the server takes another name is its refusal about the client's name, and permanent.
    const ours = await smtp.command(`EHLO ${settings.hostname}`, remaining())
    if (ours.code !== 250) throw new UpstreamRefusal(whoever, ours)
  }
  throw new UpstreamRefusal('ehlo', old)
}
