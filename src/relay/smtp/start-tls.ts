/**
 * Upgrades a TCP connection to a mail server to TLS. Where the operator has not asked for more, certificates are not verified: the
 * encryption then protects against eavesdroppers on the way to our own servers, as SMTP's does by default (RFC 7435).
 */
import { isIP, type Socket } from 'node:net'
import { connect, type SecureContext, type TLSSocket } from 'node:tls'
import { chainFault, nameFault } from './peer-certificate.ts'

export interface TlsPeer {
  /** As the operator wrote it: a name or an address. */
  readonly name: string
  /** Whether its certificate must be for `name` and signed by a CA that is trusted. */
  readonly verified: boolean
  /** The CAs that are trusted; undefined: those that Node brings. */
  readonly trusted?: SecureContext | undefined
}

/** @throws Error that says what went wrong; the connection is then closed */
export function upgrade(plain: Socket, { name, verified, trusted }: TlsPeer, timeoutMs: number): Promise<TLSSocket> {
  plain.removeAllListeners()
  plain.on('error', () => undefined)
  return new Promise((resolve, reject) => {
    const secure = connect({
      socket: plain,
      // RFC 6066 section 3: a name, never an address.
      ...(isIP(name) === 0 && { servername: name }),
      ...(trusted !== undefined && { secureContext: trusted }),
      // Judged below instead, while the certificate can still be read. Nobody writes before.
      rejectUnauthorized: false,
      checkServerIdentity: (_, { raw }) => (verified ? nameFault(raw, name) : undefined),
    })
    const fail = (why: string): void => {
      clearTimeout(timer)
      secure.on('error', () => undefined)
      secure.destroy()
      reject(new Error(why))
    }
    const timer = setTimeout(() => fail(`no handshake in ${timeoutMs} ms`), timeoutMs)
    const failed = (error: Error): void => fail(error.message)
    const closed = (): void => fail('closed')
    secure.once('error', failed)
    secure.once('close', closed)
    secure.once('secureConnect', () => {
      // Only our listeners: Node has one of its own, which frees what OpenSSL holds.
      secure.off('close', closed)
      secure.off('error', failed)
      if (verified && !secure.authorized) {
        fail(chainFault(secure))
        return
      }
      clearTimeout(timer)
      // The new owner adds a listener of its own. Until then, an 'error' event that nobody listens to would be thrown.
      secure.on('error', () => undefined)
      resolve(secure)
    })
  })
}
