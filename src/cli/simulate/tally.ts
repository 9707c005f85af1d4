/** What one rule would have shed, and whom it would have hurt. Memory does not grow with the number of sources. */
import { type Client, STANDINGS, type Standing } from '../../core/client.ts'
import { recordOf } from '../../core/record.ts'
import type { SessionSeen } from './session-line.ts'

export interface SourceShed {
  readonly source: string
  readonly standing: Standing
  sessions: number
  /** Messages that the mail servers had accepted. */
  accepted: number
}

const KEPT = 4096
const SHOWN = 10

/** The heaviest sources. Of more than are kept the lightest half is forgotten, so counts of light ones may be too low. */
class Heaviest {
  readonly #by: (each: SourceShed) => number
  readonly #sources = new Map<string, SourceShed>()

  constructor(by: (each: SourceShed) => number) {
    this.#by = by
  }

  add({ source, standing }: Client, sessions: number, accepted: number): void {
    const held = this.#sources.get(source)
    if (held === undefined) this.#sources.set(source, { source, standing, sessions, accepted })
    else {
      held.sessions += sessions
      held.accepted += accepted
    }
    if (this.#sources.size > 2 * KEPT)
      for (const { source: light } of this.#sorted().slice(KEPT)) this.#sources.delete(light)
  }

  #sorted(): SourceShed[] {
    return [...this.#sources.values()].sort((a, b) => this.#by(b) - this.#by(a))
  }

  top(): readonly SourceShed[] {
    return this.#sorted().slice(0, SHOWN)
  }
}

export class Tally {
  /** Sessions with a line; and others, of which only the number is known. */
  sessions = 0
  unnamed = 0
  messages = 0
  recipients = 0
  /** Sessions, and messages in them, that the mail servers had accepted. */
  acceptedSessions = 0
  acceptedMessages = 0
  readonly standings: Record<Standing, number> = { ...recordOf(STANDINGS, () => 0) }
  /** The same of sessions with accepted messages. */
  readonly hurt: Record<Standing, number> = { ...recordOf(STANDINGS, () => 0) }
  readonly #hurt = new Heaviest(({ accepted }) => accepted)
  readonly #shed = new Heaviest(({ sessions }) => sessions)

  /** A session is shed, or something of it. @param accepted how many of the messages that are shed had been accepted */
  session({ client }: Pick<SessionSeen, 'client'>, accepted: number): void {
    this.sessions++
    this.standings[client.standing]++
    this.#shed.add(client, 1, accepted)
    if (accepted <= 0) return
    this.acceptedSessions++
    this.acceptedMessages += accepted
    this.hurt[client.standing]++
    this.#hurt.add(client, 1, accepted)
  }

  /** The sources whose accepted mail would have been shed, those with most of it first; where there are none, those that come most. */
  top(): readonly SourceShed[] {
    const hurt = this.#hurt.top()
    return hurt.length > 0 ? hurt : this.#shed.top()
  }
}

/** The highest use of a limit by senders whose mail was accepted. */
export class Peak {
  value = 0
  source: string | undefined

  reach(value: number, source: string): void {
    if (value <= this.value) return
    this.value = value
    this.source = source
  }

  /** Half as much again, rounded up to two digits; undefined where nothing was used. */
  get suggested(): number | undefined {
    if (this.value === 0) return undefined
    const wanted = this.value * MARGIN
    const unit = 10 ** Math.max(0, Math.floor(Math.log10(wanted)) - 1)
    return Math.ceil(wanted / unit) * unit
  }
}
export const MARGIN = 1.5
