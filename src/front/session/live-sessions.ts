import type { Session } from './session.ts'

/** The sessions under way, for whoever has to end them. Those that begin later are ended in the same way. */
export class LiveSessions {
  readonly #sessions = new Set<Session>()
  #end: 'drain' | 'dismiss' | 'cut' | undefined

  get size(): number {
    return this.#sessions.size
  }

  /** Sessions with a message that is past its dot and not yet answered. */
  get pastDot(): number {
    return [...this.#sessions].filter((session) => session.pastDot).length
  }

  add(session: Session): void {
    this.#sessions.add(session)
    // It was accepted before, and only now is known to be a client (its PROXY header was waited for).
    if (this.#end !== undefined) session[this.#end]()
  }

  delete(session: Session): void {
    this.#sessions.delete(session)
  }

  /** Each ends with its transaction. */
  drain(): void {
    this.#end = 'drain'
    for (const session of this.#sessions) session.drain()
  }

  /** Each ends now, but for messages past their dot. */
  dismiss(): void {
    this.#end = 'dismiss'
    for (const session of this.#sessions) session.dismiss()
  }

  cut(): void {
    this.#end = 'cut'
    for (const session of this.#sessions) session.cut()
  }
}
