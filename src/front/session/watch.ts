/**
 * Looks after clients that wait for us. While one waits nothing more is read of it than fits a buffer, and behind unread
 * bytes nobody would notice its reset: its seat would be held for as long as a mail server is silent. A write shows it,
 * also one of nothing. One timer for all of them, which runs while there are any.
 */
export interface Watched {
  /** Whether it waits for us and nothing is read of it at present: else its reset shows by itself. */
  readonly unread: boolean
  /** Writes nothing. */
  touch(): void
}

/** How often each is looked after. */
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
