import { messageOf } from '../../core/errors.ts'
import type { Server } from '../pool/server.ts'
import type { Slot } from '../pool/slot.ts'

/** No connection could be made. `cause`: UpstreamError or UpstreamRefusal. */
export class DialFailure extends Error {
  override readonly cause: unknown
  readonly server: Server
  /** A slot at another server, if the client left this one for it. */
  readonly to: Slot | undefined
  constructor(cause: unknown, server: Server, to?: Slot) {
    super(messageOf(cause))
    this.cause = cause
    this.server = server
    this.to = to
  }
}
