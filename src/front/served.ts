/** What clients are shown at STARTTLS: certificates that belong together, for the names that clients ask for. */
import { constants } from 'node:crypto'
import { createSecureContext, type SecureContext, type TLSSocketOptions } from 'node:tls'
import { covers, type Pair } from '../config/certificates.ts'

/** Certificates that belong together. It never changes: a handshake sees either the old ones or the new ones. */
export class Served {
  readonly #pairs: readonly { readonly pair: Pair; readonly context: SecureContext }[]
  /** For clients that name no server: that of the first pair. */
  readonly context: SecureContext
  /** Of the server's side of a connection. */
  readonly options: TLSSocketOptions

  constructor(pairs: readonly [Pair, ...Pair[]], common: Common) {
    const [first, ...others] = pairs
    const own = (pair: Pair) => ({ pair, context: contextOf(pair, common) })
    const head = own(first)
    this.#pairs = [head, ...others.map(own)]
    this.context = head.context
    this.options = {
      isServer: true,
      secureContext: this.context,
      // OpenSSL stops each handshake to ask. One certificate is for all names.
      ...(others.length > 0 && { SNICallback: (name, done) => done(null, this.contextFor(name)) }),
    }
  }

  get pairs(): readonly Pair[] {
    return this.#pairs.map(({ pair }) => pair)
  }

  /** @param name as the client wrote it (RFC 6066 section 3), in ASCII */
  contextFor(name: string): SecureContext {
    const isFor = (wildcards: boolean) => this.#pairs.find(({ pair }) => covers(pair, name, wildcards))
    return (isFor(false) ?? isFor(true))?.context ?? this.context
  }
}

/** What all contexts share: with the tickets of one, a session is resumed under any, here or at another node. */
export interface Common {
  /** Of TLS. */
  readonly minVersion: '1.2' | '1.3'
  readonly ticketKey: Buffer
}

const contextOf = ({ cert, key }: Pair, { minVersion, ticketKey }: Common): SecureContext =>
  createSecureContext({
    cert,
    key,
    minVersion: `TLSv${minVersion}`,
    honorCipherOrder: true,
    ticketKeys: ticketKey,
    // Each would be a handshake that nobody has counted. TLS 1.3 has none.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    sessionIdContext: 'spillway',
  })
