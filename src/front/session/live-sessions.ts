import type { Session } from './session.ts'

/** The sessions under way, so that they can be ended together. Sessions that begin later are ended in the same way. */
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
    // Its connection was accepted earlier, but only now is the client known: its PROXY header was awaited.
    if (this.#end !== undefined) session[this.#end]()
  }

  delete(session: Session): void {
    this.#sessions.delete(session)
  }

  /** Each session ends when its transaction does. */
  drain(): void {
    this.#end = 'drain'
    for (const session of this.#sessions) session.drain()
  }

  /** Each session ends now, unless a message of it is past its dot. */
  dismiss(): void {
    this.#end = 'dismiss'
    for (const session of this.#sessions) session.dismiss()
  }

  cut(): void {
    this.#end = 'cut'
    for (const session of this.#sessions) session.cut()
  }
}
