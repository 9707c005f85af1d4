/**
 * The MTA-STS policy of each domain of SPILLWAY_RCPT_DOMAINS (RFC 8461): whether senders that obey it can deliver to this host. A
 * policy is a file that somebody serves: it is read up to a bound, and nothing in it is followed.
 */
import { isIP } from 'node:net'
import { covers, type Pair } from '../../config/certificates.ts'
import type { PlainSettings } from '../../config/settings.ts'
import { within } from '../../core/deadline.ts'
import { messageOf } from '../../core/errors.ts'
import { resolverOf } from './dns.ts'
import type { Budget, Findings } from './finding.ts'

const MOST_DOMAINS = 10
const FETCH_MS = 5000
/** RFC 8461 section 3.3: 64 KB are enough. */
const LONGEST = 65_536

export async function aboutMtaSts(
  settings: PlainSettings,
  pairs: readonly Pair[],
  found: Findings,
  budget: Budget,
  fetchPolicy: FetchPolicy = fetchByHttps,
): Promise<void> {
  const { rcptDomains } = settings
  if (rcptDomains.length === 0)
    return found.ok('MTA-STS', 'not looked at: which domains are ours is not known (SPILLWAY_RCPT_DOMAINS)')
  const looked = rcptDomains.slice(0, MOST_DOMAINS)
  if (looked.length < rcptDomains.length)
    found.ok('MTA-STS', `the first ${MOST_DOMAINS} of ${rcptDomains.length} domains are looked at`)
  await Promise.all(looked.map((domain) => look(domain, settings, pairs, found, budget, fetchPolicy)))
}

/** @throws Error that says why there is no policy to be had */
export type FetchPolicy = (domain: string, ms: number) => Promise<string>

const fetchByHttps: FetchPolicy = async (domain, ms) => {
  // RFC 8461 section 3.3: redirects are not followed.
  const response = await fetch(`https://mta-sts.${domain}/.well-known/mta-sts.txt`, {
    redirect: 'error',
    signal: AbortSignal.timeout(Math.min(ms, FETCH_MS)),
  })
  if (response.status !== 200) throw new Error(`status ${response.status}`)
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true })
    if (text.length > LONGEST) throw new Error(`it is longer than ${LONGEST} bytes`)
  }
  return text
}

export interface Policy {
  readonly mode: string
  readonly mx: readonly string[]
}

/** RFC 8461 section 3.2. */
export function policyIn(text: string): Policy {
  const fields = text.split(/\r?\n/).map((row) => /^\s*([a-z_]+)\s*:\s*(.*?)\s*$/i.exec(row) ?? [])
  const valuesOf = (name: string): string[] =>
    fields.filter(([, key]) => key?.toLowerCase() === name).map(([, , value = '']) => value)
  return { mode: valuesOf('mode')[0] ?? 'none', mx: valuesOf('mx').map((each) => each.toLowerCase()) }
}

/** RFC 8461 section 4.1: a wildcard stands for one label, the first. */
export const fitsMx = (pattern: string, host: string): boolean =>
  pattern.startsWith('*.') ? host.slice(host.indexOf('.')) === pattern.slice(1) && host.includes('.') : pattern === host

async function look(
  domain: string,
  { hostname, dnsServers }: PlainSettings,
  pairs: readonly Pair[],
  found: Findings,
  budget: Budget,
  fetchPolicy: FetchPolicy,
): Promise<void> {
  const subject = `MTA-STS of ${domain}`
  const resolver = resolverOf(dnsServers)
  const records = await within(resolver.resolveTxt(`_mta-sts.${domain}`), budget.left()).catch(() => [])
  if (!records.some((parts) => /^v=STSv1\s*;/.test(parts.join('')))) return found.ok(subject, 'it has none')
  let policy: Policy
  try {
    policy = policyIn(await fetchPolicy(domain, budget.left()))
  } catch (error) {
    const cause = (error as { readonly cause?: unknown }).cause
    const why = cause === undefined ? messageOf(error) : `${messageOf(error)}: ${messageOf(cause)}`
    return found.warn(
      subject,
      `its record is there, and its policy cannot be read: ${why}`,
      `serve https://mta-sts.${domain}/.well-known/mta-sts.txt`,
    )
  }
  const tell = policy.mode === 'enforce' ? found.fail.bind(found) : found.warn.bind(found)
  const host = hostname.toLowerCase()
  if (policy.mode !== 'enforce' && policy.mode !== 'testing')
    return found.ok(subject, 'its policy asks for nothing (mode none)')
  const mode = `its policy (${policy.mode})`
  if (pairs.length === 0)
    return tell(subject, `${mode} wants TLS, and STARTTLS is not offered`, 'set SPILLWAY_TLS_CERT and SPILLWAY_TLS_KEY')
  if (isIP(host) === 0 && !policy.mx.some((pattern) => fitsMx(pattern, host)))
    return tell(
      subject,
      `${mode} does not name ${host}: only ${policy.mx.join(', ') || 'nobody'}`,
      `add mx: ${host} to it and change the id of _mta-sts.${domain}, or set SPILLWAY_HOSTNAME to the name of the MX record`,
    )
  if (!pairs.some((pair) => covers(pair, host)))
    return tell(subject, `${mode} names ${host}, and no certificate is for it`, `get a certificate for ${host}`)
  found.ok(subject, `${mode} names ${host}, and there is a certificate for it`)
}
