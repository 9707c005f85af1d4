/** One client's way into TLS: the place it takes, the deadline it has, and what came of it. */
import type { Client } from '../../core/client.ts'
import { andThen, type Maybe } from '../../core/maybe.ts'
import type { Refusal } from '../../core/policy.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import type { SessionRecord } from '../session-record.ts'
import type { Ending, Handshake, Handshakes } from './handshakes.ts'
import { EMPTY_RECORDS } from './tls-records.ts'
import type { Transport } from './transport-interface.ts'

export interface ClientHandshakeParts {
  readonly handshakes: Handshakes
  readonly idleMs: number
  readonly metrics: Pick<Metrics, 'tlsHandshakes'>
}

/** From our 220 to the end of the handshake, in ms. A round trip or two are needed. */
const DEADLINE_MS = 10_000
/** How long it may go on while this node is being stopped, in ms. During a handshake nothing can be said. */
const LAST_MS = 5000
/** Failures that are counted by themselves. */
const RESULTS: ReadonlyMap<string, 'timeout' | 'empty'> = new Map([
  ['timeout', 'timeout'],
  [EMPTY_RECORDS, 'empty'],
])

export class ClientHandshake {
  readonly #parts: ClientHandshakeParts
  readonly #client: Client
  readonly #record: SessionRecord
  readonly #late: () => void
  #handshake: Handshake | undefined
  #timer: NodeJS.Timeout | undefined
  #isDone = false

  /** @param late called when it has lasted for as long as it may */
  constructor(parts: ClientHandshakeParts, client: Client, record: SessionRecord, late: () => void) {
    this.#parts = parts
    this.#client = client
    this.#record = record
    this.#late = late
    record.foundNoPlace = parts.handshakes.foundNoPlace(client)
  }

  /** The client has said STARTTLS. @returns a refusal; undefined if the handshake may begin */
  ask(): Maybe<Refusal | undefined> {
    const asked = this.#parts.handshakes.ask(this.#client, () => this.#late())
    const granted = 'reason' in asked ? asked : asked.granted
    if (!('reason' in asked)) this.#handshake = asked
    return andThen(granted, (refused) => {
      if (refused !== undefined) this.#parts.metrics.tlsHandshakes.inc('refused')
      return refused
    })
  }

  /** 220 has been said. */
  begin(transport: Transport): void {
    this.#limit(DEADLINE_MS)
    transport.startTls((start) => this.#handshake?.arrived(start))
  }

  /** This node is being stopped. */
  hurry(): void {
    this.#limit(LAST_MS)
  }

  done({ tls, isResumed }: Pick<Transport, 'tls' | 'isResumed'>): void {
    this.#parts.metrics.tlsHandshakes.inc(isResumed ? 'resumed' : 'ok')
    this.#record.tls = tls?.protocol
    this.#isDone = true
    this.#over(isResumed ? 'resumed' : 'full')
  }

  failed(why: string): void {
    this.#record.tlsError = why
    this.#parts.metrics.tlsHandshakes.inc(RESULTS.get(why) ?? 'failed')
    this.#isDone = false
    this.#over('failed')
  }

  /** The connection is gone. A client that was cut off for what it did with its handshake gets no credit for that. */
  closed(isUnderWay: boolean, error: string | undefined): void {
    if (isUnderWay) this.failed(error ?? 'the client left')
    else if (error === EMPTY_RECORDS) this.failed(error)
  }

  /** The client is gone, perhaps while it waited for its place. */
  gone(): void {
    this.#over('failed')
    if (this.#isDone && this.#record.accepted) this.#parts.handshakes.forgive(this.#client)
    this.#isDone = false
  }

  #limit(ms: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(this.#late, Math.min(this.#parts.idleMs, ms))
  }

  #over(how: Ending): void {
    clearTimeout(this.#timer)
    this.#handshake?.over(how)
    this.#handshake = undefined
  }
}
