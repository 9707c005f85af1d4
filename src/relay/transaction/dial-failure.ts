import { messageOf } from '../../core/errors.ts'
import type { Server } from '../pool/server.ts'

/** No connection came about. `cause`: UpstreamError or UpstreamRefusal. */
export class DialFailure extends Error {
  override readonly cause: unknown
  readonly server: Server
  constructor(cause: unknown, server: Server) {
    super(messageOf(cause))
    this.cause = cause
    this.server = server
  }
}
