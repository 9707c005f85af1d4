/**
 * Finds clients that were reset while they waited for us. While a client waits, no more is read from it than fits a buffer.
 * Behind unread bytes its reset goes unnoticed, and its seat would be held for as long as a mail server is silent. A write
 * shows the reset, even a write of nothing. One timer serves all clients, and runs only while there are any.
 */
export interface Watched {
  /** Whether it waits for us and nothing is being read from it; otherwise its reset shows by itself. */
  readonly unread: boolean
  /** Writes nothing. */
  touch(): void
}

/** How often each client is checked. */
const EVERY_MS = 1000

export class Watch {
  readonly #clients = new Set<Watched>()
  #timer: NodeJS.Timeout | undefined

  begin(client: Watched): void {
    this.#clients.add(client)
    if (this.#timer !== undefined) return
    this.#timer = setInterval(() => this.#look(), EVERY_MS)
    this.#timer.unref()
  }

  end(client: Watched): void {
    this.#clients.delete(client)
  }

  #look(): void {
    for (const client of this.#clients) if (client.unread) client.touch()
    if (this.#clients.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
