/** Connects to a mail server by TCP, unless that takes too long or the connection is no longer wanted. */
import { connect as connectTcp, type Socket } from 'node:net'
import { OUT_OF_OUR_OWN, UpstreamError } from './upstream-error.ts'

/**
 * @param signal aborted when the connection is no longer wanted; if its reason is an UpstreamError, that is thrown
 * @throws UpstreamError if not connected within `timeoutMs`
 */
export function connect(
  address: { readonly host: string; readonly port: number },
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ ...address, noDelay: true })
    const settled = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', giveUp)
    }
    const fail = (error: UpstreamError): void => {
      settled()
      socket.destroy()
      reject(error)
    }
    const giveUp = (): void =>
      fail(signal?.reason instanceof UpstreamError ? signal.reason : new UpstreamError('lost', 'given up'))
    const timer = setTimeout(() => fail(new UpstreamError('timeout', `no connection in ${timeoutMs} ms`)), timeoutMs)
    signal?.addEventListener('abort', giveUp)
    socket.once('error', (error: NodeJS.ErrnoException) =>
      fail(new UpstreamError(OUT_OF_OUR_OWN.includes(error.code) ? 'ours' : 'lost', error.message)),
    )
    socket.once('connect', () => {
      settled()
      // The new owner adds a listener of its own. Until then, an 'error' event that nobody listens to would be thrown.
      socket.removeAllListeners('error').on('error', () => undefined)
      resolve(socket)
    })
  })
}
