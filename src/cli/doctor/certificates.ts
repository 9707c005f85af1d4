/**
 * The certificates that clients are shown, against what senders hold them to: their dates and names, the TLSA records of our name
 * (DANE, RFC 7672), and the MTA-STS policies of our domains (RFC 8461).
 */
import { createHash, type X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import {
  type Doubt,
  doubtsAbout,
  expiryOf,
  nameOf,
  type Pair,
  readPairs,
  uncovered,
} from '../../config/certificates.ts'
import { reader } from '../../config/entries.ts'
import type { PlainSettings } from '../../config/settings.ts'
import { within } from '../../core/deadline.ts'
import { messageOf } from '../../core/errors.ts'
import { DAY_MS } from '../../core/time.ts'
import { resolverOf } from './dns.ts'
import type { Budget, Findings } from './finding.ts'
import { aboutMtaSts } from './mta-sts.ts'

const SOON_MS = 14 * 86_400_000

export async function aboutCertificates(settings: PlainSettings, found: Findings, budget: Budget): Promise<void> {
  const pairs = inFiles(settings, found)
  await Promise.all([aboutTlsa(settings, pairs, found, budget), aboutMtaSts(settings, pairs, found, budget)])
}

/** That they can be read, the settings have seen to. */
function inFiles({ tlsCert, tlsKey, hostname }: PlainSettings, found: Findings): readonly Pair[] {
  if (tlsCert.length === 0) {
    found.warn(
      'STARTTLS',
      'it is not offered, so mail arrives in the clear',
      'set SPILLWAY_TLS_CERT and SPILLWAY_TLS_KEY',
    )
    return []
  }
  const { pairs } = readPairs(
    tlsCert,
    tlsKey,
    reader((path) => readFileSync(path, 'utf8')),
  )
  const now = Date.now()
  for (const pair of pairs) {
    const doubts = doubtsAbout(pair, now)
    const expired = doubts.find(({ kind }) => kind === 'expired')
    const left = expiryOf(pair) - now
    const days = Math.floor(left / DAY_MS)
    const renew = 'renew it; Spillway reads the files again by itself'
    if (left <= 0) found.fail(nameOf(pair), expired?.what ?? 'it has expired', renew)
    else for (const doubt of doubts) found.warn(nameOf(pair), doubt.what, cureOf(doubt))
    if (left > 0 && left < SOON_MS) found.warn(nameOf(pair), `it expires in ${days} days`, renew)
    else if (left > 0 && doubts.length === 0) found.ok(nameOf(pair), `it is good for ${days} days`)
  }
  const doubt = uncovered(pairs, hostname)
  if (doubt === undefined) found.ok('name', `there is a certificate for ${hostname}`)
  else
    found.warn('name', doubt.what, 'set SPILLWAY_HOSTNAME to the name of the MX record, and get a certificate for it')
  return pairs
}

/** As cures are written here. */
const cureOf = ({ kind, cure = 'Correct the file' }: Doubt): string =>
  `${cure.charAt(0).toLowerCase()}${cure.slice(1)}${kind === 'early' ? '' : '; Spillway reads it again by itself'}`

export interface Tlsa {
  readonly certUsage: number
  readonly selector: number
  readonly match: number
  readonly data: ArrayBuffer
}

/** Whether a record is about this certificate (RFC 6698 section 2.1). */
export function fitsTlsa({ selector, match, data }: Tlsa, certificate: X509Certificate): boolean {
  const whole = selector === 0 ? certificate.raw : certificate.publicKey.export({ type: 'spki', format: 'der' })
  const wanted = Buffer.from(data)
  if (match === 0) return wanted.equals(whole)
  if (match !== 1 && match !== 2) return false
  return wanted.equals(
    createHash(match === 1 ? 'sha256' : 'sha512')
      .update(whole)
      .digest(),
  )
}

async function aboutTlsa(
  { hostname, dnsServers }: PlainSettings,
  pairs: readonly Pair[],
  found: Findings,
  budget: Budget,
): Promise<void> {
  const name = `_25._tcp.${hostname}`
  const resolver = resolverOf(dnsServers)
  // Node has it since 22.15.
  if (typeof resolver.resolveTlsa !== 'function')
    return found.ok('TLSA', 'this Node cannot ask for it: look with dig TLSA')
  let records: readonly Tlsa[]
  try {
    records = (await within(resolver.resolveTlsa(name), budget.left())) as readonly Tlsa[]
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOTFOUND' || code === 'ENODATA') return found.ok('TLSA', `there is none at ${name}`)
    return found.warn(
      'TLSA',
      `whether there is one at ${name} cannot be told (${code ?? messageOf(error)})`,
      'mend the DNS: senders with DANE put their mail off',
    )
  }
  if (pairs.length === 0)
    return found.fail(
      'TLSA',
      `there is one at ${name}, and STARTTLS is not offered: senders with DANE stay away`,
      'offer STARTTLS, or take the record away',
    )
  // RFC 7672 section 3.1: usages 2 (a CA of the chain) and 3 (the certificate itself) count in SMTP.
  const unfit = pairs.filter(
    ({ leaf, chain }) =>
      !records.some((record) =>
        record.certUsage === 3
          ? fitsTlsa(record, leaf)
          : record.certUsage === 2 && chain.some((each) => fitsTlsa(record, each)),
      ),
  )
  if (unfit.length === 0)
    found.ok('TLSA', `the records at ${name} fit the certificates (whether they are signed, DNSSEC, is not looked at)`)
  else
    found.fail(
      'TLSA',
      `no record at ${name} fits the certificate for ${unfit.map(nameOf).join(', ')}: senders with DANE stay away`,
      'publish a record for the new certificate before it is used (3 1 1: the SHA-256 of its key), and keep the key when it is renewed',
    )
}
