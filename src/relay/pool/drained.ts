/**
 * Mail servers that the operator has taken out for a while (`spillway drain`). They get no new mail, and what they have goes on to its
 * end. They are checked all the while, so that it is known how they are before they are used again.
 */
import type { Server } from './server.ts'

export interface DrainedOptions {
  readonly servers: () => readonly Server[]
  /** Called with each that gets nothing from now on. */
  readonly taken: (server: Server) => void
  /** Called after a change. */
  readonly changed: () => void
}

export class Drained {
  readonly #options: DrainedOptions
  #labels: ReadonlySet<string> = new Set()

  constructor(options: DrainedOptions) {
    this.#options = options
  }

  has(label: string): boolean {
    return this.#labels.has(label)
  }

  /** From now on these and no others. @param labels also such as are not among the settings: they count when they are */
  set(labels: readonly string[]): void {
    this.#labels = new Set(labels)
    const { servers, taken, changed } = this.#options
    const differ = servers().filter((server) => server.isDrained !== this.has(server.label))
    // Whoever looks for another server must find none that is not to be used either.
    for (const server of differ) this.tell(server)
    for (const server of differ) if (server.isDrained) taken(server)
    if (differ.length > 0) changed()
  }

  /** @returns the server, which knows of it now */
  tell(server: Server): Server {
    server.drain(this.has(server.label))
    return server
  }
}
