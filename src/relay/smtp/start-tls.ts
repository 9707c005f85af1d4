/**
 * Upgrades a TCP connection to a mail server to TLS. Certificates are not verified: the encryption protects against eavesdroppers
 * on the way to our own servers, as SMTP's does by default (RFC 7435).
 */
import { isIP, type Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'

/** @param servername as the operator wrote it @throws Error that says what went wrong; the connection is then closed */
export function upgrade(plain: Socket, servername: string, timeoutMs: number): Promise<TLSSocket> {
  plain.removeAllListeners()
  plain.on('error', () => undefined)
  return new Promise((resolve, reject) => {
    const secure = connect({
      socket: plain,
      // RFC 6066 section 3: a name, never an address.
      ...(isIP(servername) === 0 && { servername }),
      rejectUnauthorized: false,
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
      clearTimeout(timer)
      // Only our listeners: Node has one of its own, which frees what OpenSSL holds.
      secure.off('close', closed)
      secure.off('error', failed)
      // The new owner adds a listener of its own. Until then, an 'error' event that nobody listens to would be thrown.
      secure.on('error', () => undefined)
      resolve(secure)
    })
  })
}
