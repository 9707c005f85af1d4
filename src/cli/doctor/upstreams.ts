/**
 * Each address of each mail server, asked in the way that Spillway reaches it: whether it can be reached, what it says, whether it
 * learns who the client is, whether it would relay for a stranger through us, and how many connections it takes from us at once.
 * No message is sent: what goes furthest is one RCPT, which the relay guard of a node that serves sends as well.
 */
import { readFileSync } from 'node:fs'
import { createCompiler } from '../../build/relay.ts'
import { type HostPort, hostPortsText, type UpstreamAddress } from '../../config/address-kinds.ts'
import type { Loaded } from '../../config/load.ts'
import { readingWith } from '../../config/reload.ts'
import { SYSTEM_CLOCK } from '../../core/clock.ts'
import { within } from '../../core/deadline.ts'
import { messageOf } from '../../core/errors.ts'
import { systemResolve } from '../../relay/pool/resolution.ts'
import type { DialSettings, Target } from '../../relay/smtp/dial.ts'
import type { Budget, Findings } from './finding.ts'
import { examine } from './upstream.ts'

const RESOLVE_MS = 4000
const CONNECT_MS = 4000
/** Addresses of one name that are looked at. */
const MOST_ADDRESSES = 8

export async function aboutUpstreams(loaded: Loaded, found: Findings, budget: Budget): Promise<void> {
  const { settings } = loaded
  const dial = dialSettingsOf(loaded, budget)
  const seen = settings.upstreams.map(async (server) => {
    const targets = await targetsOf(server, found, budget)
    await Promise.all(targets.map((target) => examine(target, { settings, dial, budget }, found)))
  })
  await Promise.all(seen)
}

const subjectOf = ({ host, port }: HostPort): string => hostPortsText([{ host, port }])

async function targetsOf(
  server: UpstreamAddress,
  found: Findings,
  budget: Budget,
): Promise<(Target & { label: string })[]> {
  const { host, port, label } = server
  const subject = subjectOf(server)
  let addresses: readonly string[]
  try {
    addresses = [...new Set(await within(systemResolve(host), budget.left(RESOLVE_MS)))]
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const why = code === undefined ? 'nobody has answered in time' : `${messageOf(error)}`
    found.fail(
      subject,
      `the name does not resolve (${why})`,
      `getent ahosts ${host} asks as Spillway does: correct SPILLWAY_UPSTREAMS, the DNS, or /etc/hosts`,
    )
    return []
  }
  if (addresses.length > MOST_ADDRESSES)
    found.ok(subject, `it has ${addresses.length} addresses; the first ${MOST_ADDRESSES} are looked at`)
  return addresses.slice(0, MOST_ADDRESSES).map((address) => {
    const at = hostPortsText([{ host: address, port }])
    return { host: address, port, name: host, label: at === label ? label : `${label} (${at})` }
  })
}

/** As a node that serves has them, with what time there is. @throws Error if the file of CAs cannot be used */
function dialSettingsOf(loaded: Loaded, budget: Budget): DialSettings {
  const compile = createCompiler(SYSTEM_CLOCK, async () => ({ kind: 'none' }))
  const { dial } = compile(readingWith(loaded, (path) => readFileSync(path, 'utf8'))).pool
  const connectTimeoutMs = Math.min(dial.connectTimeoutMs, budget.left(CONNECT_MS))
  return { ...dial, connectTimeoutMs, replyTimeoutMs: Math.min(dial.replyTimeoutMs, budget.left()) }
}
