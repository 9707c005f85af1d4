/**
 * Finds clients that have reset their connection while they waited for us. While a client waits, we read no more from it than
 * fits a buffer. A reset after unread bytes goes unnoticed, and the client would keep its seat for as long as a mail server is
 * silent. A write shows the reset, even a write of nothing. One timer serves all clients, and runs only while there are any.
 */
export interface Watched {
  /** Whether it waits for us and nothing is being read from it; otherwise its reset shows by itself. */
  readonly unread: boolean
  /** Writes nothing. */
  touch(): void
}

/** How often each client is checked, in milliseconds. */
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
