/**
 * Finds clients that send TLS records with next to nothing in them: key updates without end (RFC 8446 section 4.6.3), records of one
 * octet, padding. Each costs us more than it costs its client, and OpenSSL deals with key updates by itself, so that no timer and no
 * rate of ours sees them. What can be seen is how much has been read of the connection, and how much of that was text.
 *
 * One timer serves all clients with TLS, and runs only while there are any.
 */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'

/**
 * How often each client is looked at, in milliseconds. Until then it may keep us busy. To look more often would not help: a flood
 * of key updates fills a turn of the event loop for about as long, and nobody can look in between.
 */
const EVERY_MS = 100
/** How many octets may be read for each one of text. A record adds 22: RSET by itself needs 5, most commands 2. */
const MOST_FOR_EACH = 8
/** And beyond that, in octets, the handshake included. */
const SPARE = 64 * 1024

/** Why a client is cut off, as its session is told. */
export const EMPTY_RECORDS = 'empty records'

interface Watched {
  readonly plain: Pick<Socket, 'bytesRead'>
  readonly secure: Pick<TLSSocket, 'bytesRead'>
  /** Ends the connection. */
  readonly end: () => void
}

export class TlsRecords {
  readonly #clients = new Set<Watched>()
  #timer: NodeJS.Timeout | undefined

  /** The handshake is done. @returns to be called when the connection is gone */
  watch(client: Watched): () => void {
    this.#clients.add(client)
    this.#timer ??= setInterval(() => this.#look(), EVERY_MS).unref()
    return () => this.#clients.delete(client)
  }

  #look(): void {
    for (const { plain, secure, end } of this.#clients) {
      if (plain.bytesRead > MOST_FOR_EACH * secure.bytesRead + SPARE) end()
    }
    if (this.#clients.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
