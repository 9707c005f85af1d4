/**
 * Why a mail server's certificate does not do, in words for an operator. Whether it does is decided by OpenSSL (the chain) and by
 * `nameFault`. Only subjectAltName counts, not the subject (RFC 9525 section 6.3).
 */
import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { SYSTEM_CLOCK } from '../../core/clock.ts'
import { altNames, inSeconds } from '../../core/x509.ts'

/** A certificate may have hundreds of names, and long ones. */
const MOST_NAMES = 5
const MOST_TEXT = 200

/** What a certificate says of itself ends up in log lines and in a page of lines. */
const plain = (text: string): string => text.replace(/[^\x20-\x7e]+/g, ', ').slice(0, MOST_TEXT)

/** The names and addresses that it is for, in words. */
function namesIn(certificate: X509Certificate): string {
  const names = altNames(certificate, 'all')
  if (names.length === 0) return ''
  const more = names.length > MOST_NAMES ? `, and ${names.length - MOST_NAMES} more` : ''
  return plain(names.slice(0, MOST_NAMES).join(', ')) + more
}

/** @param raw DER @param name a host name, or an IP address, which must then be in the certificate as one */
export function nameFault(raw: Buffer, name: string): Error | undefined {
  const certificate = new X509Certificate(raw)
  const isFor =
    isIP(name) === 0
      ? certificate.checkHost(name, { subject: 'never', partialWildcards: false })
      : // OpenSSL throws at a zone (fe80::1%eth0), which is in no certificate.
        certificate.checkIP(name.replace(/%.*$/, ''))
  if (isFor !== undefined) return undefined
  const names = namesIn(certificate)
  return new Error(
    names === ''
      ? `its certificate has no name in its subjectAltName, so it is not for ${name}`
      : `its certificate is for other names (${names}), not for ${name}`,
  )
}

const UNTRUSTED: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'self-signed certificate',
  SELF_SIGNED_CERT_IN_CHAIN: 'the CA that it comes with is another',
  UNABLE_TO_GET_ISSUER_CERT: 'the CA above its issuer is not known',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its issuer is not known, and the server does not send its certificate',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its issuer is not known, and the server does not send its certificate',
}

/** Why this connection is not `authorized`. */
export function chainFault(secure: TLSSocket): string {
  // A string, whatever its type says: OpenSSL's word, or the message of nameFault().
  const why = String(secure.authorizationError)
  const certificate = secure.getPeerX509Certificate()
  if (certificate === undefined) return 'it has shown no certificate'
  const untrusted = UNTRUSTED[why]
  if (untrusted !== undefined) {
    const issuer = why === 'DEPTH_ZERO_SELF_SIGNED_CERT' ? '' : `; issuer: ${plain(certificate.issuer)}`
    return `its certificate is not signed by a CA that is trusted here (${untrusted}${issuer}). SPILLWAY_UPSTREAM_TLS_CA names whom to trust`
  }
  if (why === 'CERT_HAS_EXPIRED') {
    const { validToDate } = certificate
    const isOwn = validToDate.getTime() <= SYSTEM_CLOCK.now()
    return isOwn ? `its certificate has expired (${inSeconds(validToDate)})` : 'a CA above its certificate has expired'
  }
  if (why === 'CERT_NOT_YET_VALID') return `its certificate is not valid before ${inSeconds(certificate.validFromDate)}`
  if (why === 'INVALID_PURPOSE') return 'its certificate is not one for servers'
  return /^[A-Z0-9_]+$/.test(why) ? `its certificate cannot be verified (${why})` : why
}
