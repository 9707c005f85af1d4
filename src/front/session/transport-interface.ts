/** The connection to one client, as a session sees it; transport.ts has it made by smtp-server. */
import type { BodySink, WireEvents } from './wire-stream.ts'

/** What a session does with its connection. Text is latin1. Everything may be called at any time. */
export interface Transport {
  /** Protocol and cipher; undefined: TLS is not in use. */
  readonly tls: { readonly protocol: string; readonly cipher: string } | undefined
  /** Whether a TLS session of before was resumed, so that no key was used. */
  readonly isResumed: boolean
  /** Whether everything that was read has been dealt with, except for the beginning of a command. */
  readonly isIdle: boolean
  /** Whether the client has finished sending, and nothing is left after what is being dealt with. */
  readonly isFinished: boolean
  /** Whether more has come after what is being dealt with. */
  readonly hasMore: boolean
  /** Whether nothing is being read, so that a reset would go unnoticed. */
  readonly isPaused: boolean
  /** Begins to read. Until then only the end of the connection is noticed. */
  listen(): void
  /** Calls `silent` once when neither side has sent anything for `ms`. */
  arm(ms: number): void
  /** Does nothing during a TLS handshake. */
  write(text: string): void
  /** Calls `next` when the system has taken what was written, so that a client that never reads costs no memory. */
  whenWritten(next: () => void): void
  /**
   * Begins a TLS handshake after what was written. What the client sent in the clear after STARTTLS is discarded.
   * @param arrived called when the client's first octets are here; the handshake goes on when `start` is called
   */
  startTls(arrived: (start: () => void) => void): void
  /** From the next octet on, what comes is the text of a message. */
  startText(sink: BodySink): void
  /** Writes nothing at all, which shows whether the client has reset the connection. */
  touch(): void
  /** Closes our side and discards what still comes. If the client does not close within some seconds, the socket is destroyed. */
  close(): void
  /** Closes as soon as the system has taken what was written. */
  cut(): void
  destroy(): void
}

/** What a session hears of its connection. */
export interface TransportEvents extends WireEvents {
  /** See Transport.arm. Also called if the client has not read our replies for as long as it may be silent. */
  silent(): void
  /** The handshake is done. */
  secured(): void
  /** The client has closed its side. Some of what it sent may not have been dealt with yet. */
  ended(): void
  /** The connection is gone. @param error its error code, if there was an error, or EMPTY_RECORDS */
  closed(error: string | undefined): void
}
