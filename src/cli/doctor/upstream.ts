/** One address of a mail server. upstreams.ts says what is asked. */
import type { PlainSettings } from '../../config/settings.ts'
import { messageOf } from '../../core/errors.ts'
import { askWhetherRelay } from '../../relay/pool/relay-guard.ts'
import { dialAsStranger } from '../../relay/pool/stranger.ts'
import {
  type Dialed,
  type DialSettings,
  dial,
  NotOffered,
  type Target,
  UpstreamRefusal,
} from '../../relay/smtp/dial.ts'
import { SmtpClient } from '../../relay/smtp/smtp-client.ts'
import { UpstreamError } from '../../relay/smtp/upstream-error.ts'
import type { Budget, Findings } from './finding.ts'
import { kindOf, type ServerKind, softwareOf } from './software.ts'

export type NamedTarget = Target & { readonly label: string }

export interface Examination {
  readonly settings: Pick<PlainSettings, 'relayGuard' | 'upstreamMaxConnections'>
  readonly dial: DialSettings
  readonly budget: Budget
}

/** Connections opened at once to see whether the server has a limit for one client. */
const BURST = 10
/** A server that greets nobody who has not sent a PROXY header is waited for so long. */
const UNASKED_MS = 1500
const BANNER_MS = 7000
const SLOW = 'see why it is slow to greet: its DNS, or a delay that must not hold for Spillway'

export async function examine(target: NamedTarget, parts: Examination, found: Findings): Promise<void> {
  const { label } = target
  const isProxied = parts.dial.clientIp === 'proxy-v1' || parts.dial.clientIp === 'proxy-v2'
  const text = isProxied ? await bannerOf(target, parts) : undefined
  if (text !== undefined)
    return found.fail(
      `${label} client address`,
      'it greets before it has read a PROXY header, so it expects none, and takes us for the client',
      softwareOf(kindOf(text)).proxy,
    )
  const [dialed, banner = ''] = await Promise.all([
    reach(target, parts, found),
    isProxied ? undefined : bannerOf(target, parts),
  ])
  if (dialed === undefined) return
  const local = dialed.smtp.local.ip
  dialed.smtp.quit()
  const kind = kindOf(banner)
  if (banner.includes('\n') && kind === 'postfix')
    found.warn(
      `${label} banner`,
      'it greets in several lines, as postscreen does, which judges by the address that connects: ours, for everybody',
      'let Spillway talk to smtpd itself, on a port of its own in master.cf',
    )
  const side = { kind, local }
  await Promise.all([seesClient(target, parts, side, found), relaysForStrangers(target, parts, side, found)])
  // Behind the others, so that they do not count among these.
  await takesMany(target, parts, side, found)
}

interface Side {
  readonly kind: ServerKind
  /** The address that the server sees us by. */
  readonly local: string
}

/** The greeting; undefined where it greets only behind a PROXY header, or not at all. */
async function bannerOf({ host, port }: Target, { dial: settings, budget }: Examination): Promise<string | undefined> {
  const { elapsed, connectTimeoutMs: timeoutMs, clientIp } = settings
  const isProxied = clientIp === 'proxy-v1' || clientIp === 'proxy-v2'
  try {
    const smtp = await SmtpClient.open({ host, port }, { timeoutMs, elapsed })
    try {
      const { lines } = await smtp.reply(budget.left(isProxied ? UNASKED_MS : BANNER_MS))
      return lines.join('\n')
    } finally {
      smtp.quit()
    }
  } catch {
    return undefined
  }
}

/** As a health check does. @returns the connection, which is the caller's to end */
async function reach(
  target: NamedTarget,
  { dial: settings, budget }: Examination,
  found: Findings,
): Promise<Dialed | undefined> {
  const { label } = target
  const begun = performance.now()
  try {
    const dialed = await dial(target, settings, undefined, budget.deadline)
    const ms = Math.round(performance.now() - begun)
    found.ok(label, `it greets and takes EHLO, in ${ms} ms`)
    tellTls(label, settings, dialed, found)
    return dialed
  } catch (error) {
    found.fail(label, wordsOf(error), cureOf(error, target, settings))
    return undefined
  }
}

function tellTls(label: string, { tls }: DialSettings, { extensions }: Dialed, found: Findings): void {
  if (tls === 'required') found.ok(`${label} TLS`, 'its certificate is verified')
  else if (tls === 'off') found.ok(`${label} TLS`, 'not used (SPILLWAY_UPSTREAM_TLS=off)')
  // Inside TLS no server offers it any more.
  else if (extensions.has('STARTTLS'))
    found.warn(
      `${label} TLS`,
      'it offers STARTTLS, and the handshake fails: mail goes to it in the clear',
      `openssl s_client -starttls smtp -connect … shows why; SPILLWAY_UPSTREAM_TLS=off asks no more`,
    )
  else
    found.ok(
      `${label} TLS`,
      'as far as it offers it; its certificate is not verified (SPILLWAY_UPSTREAM_TLS=opportunistic)',
    )
}

/** What went wrong, in words. What a server said stands in them. */
function wordsOf(error: unknown): string {
  if (error instanceof NotOffered) return error.message
  if (error instanceof UpstreamRefusal) {
    const { phase, reply } = error
    const step = { greeting: 'it greets us', ehlo: 'it answers EHLO', client: 'it answers the client' }[phase as string]
    return `${step ?? `it answers ${phase.toUpperCase()}`} with ${reply.code} ${reply.lines.join(' / ')}`
  }
  if (error instanceof UpstreamError && error.fault === 'timeout' && error.connected)
    return 'it takes the connection, and then says nothing'
  return messageOf(error)
}

function cureOf(error: unknown, { host, port }: Target, { clientIp, tls }: DialSettings): string {
  const words = messageOf(error)
  if (words.startsWith('TLS:')) {
    if (/expired/.test(words)) return 'renew the certificate of the mail server'
    if (/for other names|no name/.test(words))
      return 'write the name that its certificate is for in SPILLWAY_UPSTREAMS, or give the server a certificate for this one'
    return tls === 'required'
      ? 'correct its certificate, name its CA in SPILLWAY_UPSTREAM_TLS_CA, or set SPILLWAY_UPSTREAM_TLS=opportunistic'
      : 'openssl s_client -starttls smtp shows why'
  }
  if (error instanceof UpstreamRefusal)
    return error.reply.code < 500
      ? 'its log says why it puts us off: often a limit on connections of one client, which must not hold for Spillway'
      : 'its log says why it refuses us: Spillway must be let in by its access lists'
  if (!(error instanceof UpstreamError)) return 'see docs/doctor.md'
  if (error.connected || /no reply/.test(words)) {
    return clientIp === 'proxy-v1' || clientIp === 'proxy-v2'
      ? `see whether it expects a PROXY header on port ${port}; otherwise it hangs, or its DNS does: see its log`
      : `it hangs, its DNS does, or it waits for a PROXY header (then SPILLWAY_UPSTREAM_CLIENT_IP=proxy-v2): see its log`
  }
  if (error.fault === 'timeout') return `a firewall drops what goes to ${host} port ${port}, or the machine is off`
  if (/ECONNREFUSED/.test(words)) return `start the mail server, or correct the port in SPILLWAY_UPSTREAMS`
  if (error.fault === 'protocol')
    return 'what listens there does not speak SMTP as Spillway reaches it: is it the right port?'
  return `see whether ${host} port ${port} can be reached from here: nc -vz ${host} ${port}`
}

/** Whether it learns who the client is, in the way of SPILLWAY_UPSTREAM_CLIENT_IP. */
async function seesClient(target: NamedTarget, parts: Examination, side: Side, found: Findings): Promise<void> {
  const { dial: settings, budget } = parts
  const subject = `${target.label} client address`
  const { clientIp } = settings
  if (clientIp === 'received')
    return found.ok(subject, `it connects to ${side.local} for everybody, and the client stands in a Received line`)
  if (clientIp === 'none')
    return found.warn(
      subject,
      `it takes ${side.local} for the client of all mail (SPILLWAY_UPSTREAM_CLIENT_IP=none)`,
      'xclient or proxy-v2 tell it who the client is; if it can do neither, take that address out of its own limits, lists and mynetworks',
    )
  try {
    const { smtp } = await dialAsStranger(target, settings, budget.deadline)
    const hello = await smtp.command('EHLO relay-test.example.net', budget.left())
    smtp.quit()
    const [said = ''] = hello.lines
    if (said.includes(side.local) && !said.includes('192.0.2.1'))
      return found.fail(subject, `it was told of 192.0.2.1 and answers: ${said}`, softwareOf(side.kind).proxy)
    found.ok(subject, `it takes what we say by ${clientIp}${said.includes('192.0.2.1') ? ', and repeats it' : ''}`)
  } catch (error) {
    // It has just taken our own EHLO, so what it refuses here is the stranger.
    if (error instanceof UpstreamRefusal && ['greeting', 'ehlo', 'client'].includes(error.phase))
      return found.ok(subject, `it takes what we say by ${clientIp}, and turns the stranger 192.0.2.1 away`)
    if (error instanceof UpstreamError && error.fault === 'timeout')
      return found.warn(subject, `a stranger was not answered in time: ${wordsOf(error)}`, SLOW)
    const cure = clientIp === 'xclient' ? softwareOf(side.kind).xclient(side.local) : softwareOf(side.kind).proxy
    found.fail(subject, wordsOf(error), cure)
  }
}

async function relaysForStrangers(target: NamedTarget, parts: Examination, side: Side, found: Findings): Promise<void> {
  const { dial: settings, budget } = parts
  const subject = `${target.label} open relay`
  const isTold = settings.clientIp !== 'none' && settings.clientIp !== 'received'
  const guard = parts.settings.relayGuard
    ? 'Spillway does not use it'
    : 'SPILLWAY_RELAY_GUARD is off, so Spillway would use it'
  try {
    const answer = await askWhetherRelay(target, settings, budget.deadline)
    if (answer === 'refuses') found.ok(subject, 'it refuses a stranger who wants mail relayed elsewhere')
    else if (answer === 'relays')
      found.fail(
        subject,
        `through us it relays anybody's mail anywhere: it has taken RCPT TO:<relay-test@relay-test.example.net> of 192.0.2.1. ${guard}`,
        isTold ? softwareOf(side.kind).relayAll : softwareOf(side.kind).relay(side.local),
      )
    else
      found.warn(
        subject,
        'it puts the stranger off (greylisting?), so it cannot be told; a node that serves asks again',
        'take 192.0.2.1 out of its greylisting, or see /readyz?verbose some minutes later',
      )
  } catch (error) {
    // Why it does not answer a stranger is told as its own finding.
    found.warn(subject, `it could not be asked: ${wordsOf(error)}`, 'first mend what else is told of this server')
  }
}

/** Whether it turns us away when a few connections of ours are open at once. */
async function takesMany(target: NamedTarget, parts: Examination, side: Side, found: Findings): Promise<void> {
  const { dial: settings, budget } = parts
  const subject = `${target.label} limit per client`
  const { ceiling } = parts.settings.upstreamMaxConnections
  const many = Math.min(BURST, ceiling)
  const { look, lift } = softwareOf(side.kind).limit(side.local)
  const open: SmtpClient[] = []
  const refusals: string[] = []
  await Promise.all(
    Array.from({ length: many }, async () => {
      try {
        const { smtp } = await dial(target, { ...settings, tls: 'off' }, undefined, budget.deadline)
        open.push(smtp)
      } catch (error) {
        // Whoever is slow has refused nothing.
        if (!(error instanceof UpstreamError && error.fault === 'timeout')) refusals.push(wordsOf(error))
      }
    }),
  )
  for (const smtp of open) smtp.quit()
  const [first] = refusals
  if (first !== undefined)
    return found.fail(subject, `of ${many} connections at once it took ${open.length}; ${first}`, lift)
  if (open.length < many)
    return found.ok(
      subject,
      `cannot be seen: of ${many} connections at once it greeted ${open.length} in time. Look at ${look}`,
    )
  const more =
    ceiling > many
      ? `; whether it takes ${ceiling} (SPILLWAY_UPSTREAM_MAX_CONNECTIONS) cannot be seen from here: look at ${look}`
      : ''
  found.ok(subject, `it takes ${many} connections of ours at once${more}`)
}
