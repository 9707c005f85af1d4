/** Everything that can go wrong with a connection to a mail server, as one kind of error. */

/**
 * lost: closed or reset. timeout: a deadline passed. protocol: not a reply, or a reply out of turn. ours: we had no file
 * descriptor or port left for a connection, which says nothing about the mail server.
 */
export type Fault = 'lost' | 'timeout' | 'protocol' | 'ours'

export class UpstreamError extends Error {
  readonly fault: Fault
  /** It was lost or timed out after the connection had been made, which may be because of the client it was made for. */
  connected = false
  constructor(fault: Fault, message: string) {
    super(message)
    this.name = 'UpstreamError'
    this.fault = fault
  }
}

/** errno of connect(2) if it is this node that has run out of something. */
export const OUT_OF_OUR_OWN: readonly (string | undefined)[] = ['EMFILE', 'ENFILE', 'EADDRNOTAVAIL']

/** Whether the connection failed because we have run out of something of our own. */
export const isOurs = (error: unknown): error is UpstreamError =>
  error instanceof UpstreamError && error.fault === 'ours'
