/**
 * Who sends each message that is under way in a log, by its queue id. Of more than `most` the oldest are forgotten.
 *
 * It is a plain Map. In a log most messages are over before the next begins, so that the last entry leaves all the time; an LRUCache
 * then clears room for all that it may hold, which took a hundred times as long as reading the line.
 */
import type { Observed } from './observation.ts'

export class UnderWay {
  readonly #clients = new Map<string, Observed>()
  readonly #most: number

  constructor(most: number) {
    this.#most = most
  }

  begin(id: string, client: Observed): void {
    this.#clients.delete(id)
    this.#clients.set(id, client)
    if (this.#clients.size <= this.#most) return
    for (const oldest of this.#clients.keys()) {
      this.#clients.delete(oldest)
      return
    }
  }

  /** The message is over. @returns who sent it, if that is known */
  end(id: string): Observed | undefined {
    const client = this.#clients.get(id)
    this.#clients.delete(id)
    return client
  }
}
