/** What a client that has a connection to a mail server holds. */
import type { Dialed } from '../smtp/dial.ts'
import type { Server } from './server.ts'

/** The right to hold one connection to `server`. */
export interface Slot {
  readonly server: Server
  /** An idle connection of an earlier client, if there is one. */
  readonly idle: Dialed | undefined
  /** Frees the slot. A second call does nothing. */
  free(): void
  /** Leaves an open connection to the next client. The slot is freed if no client takes it in time. */
  handOn(dialed: Dialed): void
}
