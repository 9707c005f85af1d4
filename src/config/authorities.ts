/**
 * Reads the CAs that certificates of mail servers are verified against. It is pure except for the file it reads through `read`:
 * `check` and the start judge alike.
 */
import type { X509Certificate } from 'node:crypto'
import { inSeconds } from '../core/x509.ts'
import { certificatesIn } from './certificates.ts'
import type { ReadText } from './entries.ts'

export interface Authorities {
  /** PEM, one certificate each. */
  readonly pems: readonly string[]
  /** What is allowed but will not do, each in a sentence. */
  readonly doubts: readonly string[]
}

export const AUTHORITIES_EXPECTED = 'the path of a PEM file with the CAs that sign the certificates of the mail servers'

const expired = (path: string, { subject, validToDate }: X509Certificate): string =>
  `the CA ${subject.replaceAll('\n', ', ')} in ${path} expired at ${inSeconds(validToDate)}: nothing it has signed is trusted`

/** The CAs in the operator's file, PEM, one each; undefined if there is no file. @throws Error if it cannot be used */
export function authoritiesIn(path: string | undefined, read: ReadText, now: number): readonly string[] | undefined {
  if (path === undefined) return undefined
  const found = readAuthorities(path, read, now)
  if ('hint' in found) throw new Error(`SPILLWAY_UPSTREAM_TLS_CA: ${AUTHORITIES_EXPECTED}; ${path}: ${found.hint}`)
  return found.pems
}

/** @param now milliseconds since the epoch @returns a hint where the file cannot be used */
export function readAuthorities(path: string, read: ReadText, now: number): Authorities | { readonly hint: string } {
  const content = read(path)
  if ('hint' in content) return content
  const begun = content.text.match(/-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/g)?.length ?? 0
  if (content.text.trim() === '') return { hint: 'it is empty' }
  if (begun === 0) return { hint: 'it holds no block that begins with -----BEGIN CERTIFICATE-----' }
  try {
    const certificates = certificatesIn(content.text)
    if (certificates.length < begun) return { hint: 'one of its certificates is cut off' }
    const past = certificates.filter(({ validToDate }) => validToDate.getTime() <= now)
    return { pems: certificates.map(String), doubts: past.map((each) => expired(path, each)) }
  } catch (error) {
    return { hint: `OpenSSL says: ${(error as Error).message}` }
  }
}
