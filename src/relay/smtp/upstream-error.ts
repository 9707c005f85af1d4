/** What goes wrong with a connection to a mail server, told in one way for all of them. */

/**
 * lost: closed or reset. timeout: a deadline passed. protocol: an answer that is none, or out of turn. ours: we had no
 * file descriptor or port left for a connection, which says nothing about the upstream.
 */
export type Fault = 'lost' | 'timeout' | 'protocol' | 'ours'

export class UpstreamError extends Error {
  readonly fault: Fault
  /** Lost, or out of time, when the connection had been made: it may have been about the client it was made for. */
  connected = false
  constructor(fault: Fault, message: string) {
    super(message)
    this.name = 'UpstreamError'
    this.fault = fault
  }
}

/** errno of connect(2) where it is this node that has run out. */
export const OUT_OF_OUR_OWN: readonly (string | undefined)[] = ['EMFILE', 'ENFILE', 'EADDRNOTAVAIL']

/** Whether no connection came about for want of something of our own. */
export const isOurs = (error: unknown): error is UpstreamError =>
  error instanceof UpstreamError && error.fault === 'ours'
