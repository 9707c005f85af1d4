/**
 * Reads the certificates for STARTTLS with their keys, and judges them: what cannot be used is a fault, and what can be used but
 * keeps senders away is a doubt. It is pure except for the files it reads through `read`: `check`, the start and every later look
 * at the files judge alike.
 */
import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { altNames, inSeconds } from '../core/x509.ts'
import type { ReadText } from './entries.ts'

/** A certificate with its chain and its private key. */
export interface Pair {
  /** The path of the certificate. */
  readonly path: string
  /** PEM, with the chain. */
  readonly cert: string
  /** PEM. */
  readonly key: string
  /** The first certificate in the file, which is our own. */
  readonly leaf: X509Certificate
  /** The others in the file. */
  readonly chain: readonly X509Certificate[]
}

/** Why a file cannot be used. */
export interface Fault {
  readonly setting: 'SPILLWAY_TLS_CERT' | 'SPILLWAY_TLS_KEY' | 'SPILLWAY_TLS_TICKET_KEY'
  /** The file; undefined where none is named. */
  readonly path?: string
  /** What would be right. */
  readonly expected: string
  /** What is wrong with it, and what to do. */
  readonly hint: string
}

export interface Judged {
  /** Only with `faults` empty are these all. */
  readonly pairs: readonly Pair[]
  readonly faults: readonly Fault[]
}

const SET_BOTH = 'set both of SPILLWAY_TLS_CERT and SPILLWAY_TLS_KEY, or neither'
const CERT_EXPECTED = 'the path of a certificate in PEM form'
const KEY_EXPECTED = 'the path of a private key in PEM form, without a passphrase'
const PEM = /-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[^-]+-----END \1-----/g

/** Why OpenSSL rejects these options; undefined where it accepts them. */
function objection(options: SecureContextOptions): string | undefined {
  try {
    createSecureContext(options)
    return undefined
  } catch (error) {
    return `OpenSSL says: ${(error as Error).message}`
  }
}

type Text = { readonly text: string } | { readonly hint: string }

/** A file, or why its content will not do. */
function usable(path: string, read: ReadText, options: (text: string) => SecureContextOptions): Text {
  const content = read(path)
  // OpenSSL would not be asked: to Node an empty text is no option at all.
  if ('text' in content && content.text.trim() === '') return { hint: 'it is empty' }
  const hint = 'hint' in content ? content.hint : objection(options(content.text))
  if (hint === undefined || !('text' in content)) return hint === undefined ? content : { hint }
  const isLocked = content.text.includes('ENCRYPTED')
  return { hint: isLocked ? 'this one has a passphrase: openssl pkey -in old.key -out new.key' : hint }
}

/** Every certificate in a PEM text. Throws at one that cannot be read. */
export const certificatesIn = (text: string): X509Certificate[] =>
  [...text.matchAll(PEM)].map(([block]) => new X509Certificate(block))

/** The pair of these files, where each of them can be used and they belong together. */
function pairOf(path: string, keyPath: string, cert: Text, key: Text): Pair | Fault | undefined {
  if ('hint' in cert || 'hint' in key) return undefined
  const mismatch = objection({ cert: cert.text, key: key.text })
  if (mismatch !== undefined) {
    const expected = `the private key of the first certificate in ${path}`
    return { setting: 'SPILLWAY_TLS_KEY', path: keyPath, expected, hint: `this is another. ${mismatch}` }
  }
  const wrong = { setting: 'SPILLWAY_TLS_CERT', path, expected: CERT_EXPECTED } as const
  try {
    const [leaf, ...chain] = certificatesIn(cert.text)
    if (leaf !== undefined) return { path, cert: cert.text, key: key.text, leaf, chain }
    return { ...wrong, hint: 'it holds no block that begins with -----BEGIN CERTIFICATE-----' }
  } catch (error) {
    return { ...wrong, hint: `OpenSSL says: ${(error as Error).message}` }
  }
}

/** Reads the files. @param keys in the order of `certs` */
export function readPairs(certs: readonly string[], keys: readonly string[], read: ReadText): Judged {
  const faults: Fault[] = []
  const pairs: Pair[] = []
  const certTexts = certs.map((path) => usable(path, read, (cert) => ({ cert })))
  const keyTexts = keys.map((path) => usable(path, read, (key) => ({ key })))
  const tell = (
    setting: Fault['setting'],
    expected: string,
    paths: readonly string[],
    texts: readonly Text[],
  ): void => {
    if (paths.length === 0) faults.push({ setting, expected, hint: SET_BOTH })
    for (const [index, text] of texts.entries()) {
      if ('hint' in text) faults.push({ setting, path: paths[index] as string, expected, hint: text.hint })
    }
  }
  tell('SPILLWAY_TLS_CERT', CERT_EXPECTED, certs, certTexts)
  tell('SPILLWAY_TLS_KEY', KEY_EXPECTED, keys, keyTexts)
  if (certs.length > 0 && keys.length > 0 && certs.length !== keys.length) {
    const expected = 'the key of each certificate, in the same order'
    const hint = `SPILLWAY_TLS_CERT names ${certs.length}, this names ${keys.length}`
    return { pairs, faults: [...faults, { setting: 'SPILLWAY_TLS_KEY', expected, hint }] }
  }
  for (const [index, path] of certs.entries()) {
    const found = pairOf(path, keys[index] ?? '', certTexts[index] as Text, keyTexts[index] ?? { hint: SET_BOTH })
    if (found === undefined) continue
    if ('leaf' in found) pairs.push(found)
    else faults.push(found)
  }
  return { pairs, faults }
}

/** The certificate's first DNS name, or its path if it has none. */
export const nameOf = (pair: Pair): string => altNames(pair.leaf, 'names')[0] ?? pair.path

/** In milliseconds since the epoch. */
export const expiryOf = ({ leaf }: Pair): number => leaf.validToDate.getTime()

/** What can be the name of a host. OpenSSL gives others, such as `.example.net`, a meaning of their own. */
const HOST = /^[a-z0-9_](?:[a-z0-9._-]{0,252}[a-z0-9_])?$/i

/**
 * Whether the certificate is for this name, or for this address if it is an address literal. Only subjectAltName counts, as it
 * does for senders (RFC 8461 section 4.1, RFC 9525).
 */
export function covers({ leaf }: Pair, name: string, wildcards = true): boolean {
  const address = /^\[(?:IPv6:)?(.+)\]$/i.exec(name)?.[1]
  // OpenSSL throws at what is no address.
  if (address !== undefined) return isIP(address) !== 0 && leaf.checkIP(address) !== undefined
  return HOST.test(name) && leaf.checkHost(name, { subject: 'never', wildcards }) !== undefined
}

const STAY_AWAY = 'senders that verify it (MTA-STS) stay away'

/** What keeps senders away. name: no certificate is for our own name. */
export interface Doubt {
  readonly kind: 'expired' | 'early' | 'chain' | 'name'
  readonly what: string
  /** What to do, in the imperative, or what to ask oneself; undefined: the settings say it. */
  readonly cure?: string
}

/** @param now milliseconds since the epoch */
export function doubtsAbout(pair: Pair, now: number): Doubt[] {
  const { path, leaf, chain } = pair
  const doubts: Doubt[] = []
  if (expiryOf(pair) <= now) {
    const what = `the certificate in ${path} expired at ${inSeconds(leaf.validToDate)}: ${STAY_AWAY}`
    doubts.push({ kind: 'expired', what, cure: 'Renew it' })
  }
  if (leaf.validFromDate.getTime() > now) {
    const from = inSeconds(leaf.validFromDate)
    const what = `the certificate in ${path} is not valid before ${from}: ${STAY_AWAY}`
    doubts.push({ kind: 'early', what, cure: 'Is the clock of this machine right?' })
  }
  if (!leaf.checkIssued(leaf) && !chain.some((other) => leaf.checkIssued(other))) {
    const issuer = leaf.issuer.replaceAll('\n', ', ')
    const what = `${path} has a certificate but not that of its issuer (${issuer}): ${STAY_AWAY}`
    const cure = 'Put the whole chain into the file, its own certificate first (certbot: fullchain.pem)'
    doubts.push({ kind: 'chain', what, cure })
  }
  return doubts
}

/** Whether no certificate is for our own name; undefined where one is. */
export function uncovered(pairs: readonly Pair[], hostname: string): Doubt | undefined {
  if (pairs.some((pair) => covers(pair, hostname))) return undefined
  const names = pairs.flatMap(({ leaf }) => altNames(leaf, 'names'))
  const known = names.length === 0 ? 'no name at all' : names.slice(0, 5).join(', ')
  const what = `no certificate is for SPILLWAY_HOSTNAME (${hostname}), only for ${known}: if the MX record has that name, ${STAY_AWAY}`
  return { kind: 'name', what }
}
