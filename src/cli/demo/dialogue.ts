/** All connections of the demo's senders, so that the flood can be bounded and all of them can be closed. */
import type { Socket } from 'node:net'
import { type Answer, perform, type Server, type Visit } from '../senders/visit.ts'

/** How long a server may be silent before the connection is given up. */
const PATIENCE_MS = 40_000

export class Lines {
  readonly #to: Server
  readonly #open = new Set<Socket>()
  #closed = false

  constructor({ host, port }: Server) {
    this.#to = { host, port }
  }

  get open(): number {
    return this.#open.size
  }

  /** @returns what became of each letter; 0 where the connection was lost */
  visit(visit: Omit<Visit, 'patienceMs'>): Promise<readonly Answer[]> {
    return new Promise((resolve) => {
      const socket = perform(this.#to, { ...visit, patienceMs: PATIENCE_MS }, resolve)
      this.#open.add(socket)
      socket.on('close', () => this.#open.delete(socket))
      if (this.#closed) socket.destroy()
    })
  }

  /** Closes every connection; later ones are closed at once. */
  close(): void {
    this.#closed = true
    for (const socket of this.#open) socket.destroy()
  }
}
