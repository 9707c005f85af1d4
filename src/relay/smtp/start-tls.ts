/**
 * Turns a TCP connection to a mail server into a TLS one. Certificates are not verified: this is encryption against listeners on
 * the way to our own servers, as SMTP has it by default (RFC 7435).
 */
import { isIP, type Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'

/** @param servername as the operator wrote it @throws Error with what went wrong; the connection is then closed */
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
      // Ours only: Node has one of its own, which frees what OpenSSL holds.
      secure.off('close', closed)
      secure.off('error', failed)
      // Whoever takes it over hears of the next one; until then nobody would.
      secure.on('error', () => undefined)
      resolve(secure)
    })
  })
}
