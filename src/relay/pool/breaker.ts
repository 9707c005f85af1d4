/**
 * A circuit breaker for one mail server (Nygard, Release It!, 2007, chapter 5). A health check sees a server that does not answer.
 * It does not see one that greets, takes envelopes, and puts off every message: with a full disk, or a filter that is gone. Such a
 * server has the fewest connections of all, because each ends soon, and so it would be given the most mail.
 *
 * **Opens** when clients of NETS neighbourhoods have been put off by the server itself (isDrop in smtp/reply.ts, or no answer in time) over
 * OPENS_MS, and it has accepted nothing meanwhile. One accepted message is enough to keep it closed, so no client can keep it open for
 * others, whatever it sends. But where little mail comes, clients of NETS neighbourhoods can open it, if the server puts off what they
 * choose to send: a recipient that its directory fails at, a sender whose DNS fails, a text that its filter fails at.
 *
 * **Open**, it is in force while another server is well. Where there is none, nobody is kept from the server: its own replies say more
 * than we could, and whoever has opened it has shut out nobody.
 *
 * **In force**, it gets one client each PROBE_MS, the probe of a half-open breaker, whatever has come of those before: a probe that
 * hangs for the whole time that a dot may take keeps nobody from finding that the server is back. Where another server has room,
 * the probe is a stranger; it is a friend if no stranger came in twice the time.
 *
 * **Closes** with the first message that it accepts.
 */
import type { Clock } from '../../core/clock.ts'

export const NETS = 5
export const OPENS_MS = 10_000
export const PROBE_MS = 5000
/** What is wrong with a server whose breaker is open. */
export const FAULT = `it accepts no message, and puts off every client: while another server is well, it gets one each ${PROBE_MS / 1000} s until it does`

export interface BreakerOptions extends Clock {
  /** Called when it has opened or closed. */
  readonly changed: (isOpen: boolean) => void
  /** Whether there is another server that is up, and whose breaker is closed. */
  readonly isAnotherWell: () => boolean
}

export class Breaker {
  readonly #options: BreakerOptions
  /** Neighbourhoods that were put off since the last accepted message: NETS at most. */
  readonly #nets = new Set<string>()
  /** When the first of them was, by `elapsed`. */
  #failing = Number.POSITIVE_INFINITY
  /** In milliseconds since the epoch; undefined: it is closed. */
  #openSince: number | undefined
  #probeAt = 0

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  get isOpen(): boolean {
    return this.#openSince !== undefined
  }

  /** Whether clients are kept from the server, but for probes. */
  get isInForce(): boolean {
    return this.isOpen && this.#options.isAnotherWell()
  }

  /** What is wrong with the server, and since when in milliseconds since the epoch; undefined while the breaker is closed. */
  get fault(): { readonly since: number; readonly error: string } | undefined {
    const since = this.#openSince
    return since === undefined ? undefined : { since, error: FAULT }
  }

  /** The server put off a client of this neighbourhood because of itself. */
  failed(net: string): void {
    const now = this.#options.elapsed()
    if (this.#nets.size === 0) this.#failing = now
    if (this.#nets.size < NETS) this.#nets.add(net)
    if (this.isOpen || this.#nets.size < NETS || now - this.#failing < OPENS_MS) return
    this.#openSince = this.#options.now()
    this.#probeAt = now + PROBE_MS
    this.#options.changed(true)
  }

  /** The server has accepted a message. */
  accepted(): void {
    if (this.#nets.size > 0) this.#nets.clear()
    if (!this.isOpen) return
    this.#openSince = undefined
    this.#options.changed(false)
  }

  /** Whether it is time for a probe. */
  get isDue(): boolean {
    return this.isInForce && this.#options.elapsed() >= this.#probeAt
  }

  /** Whether this client should be the probe, even if another server has room for it. */
  wants(isFriend: boolean): boolean {
    return this.isDue && this.#options.elapsed() >= this.#probeAt + (isFriend ? PROBE_MS : 0)
  }

  /** A client goes to the server. */
  probed(): void {
    this.#probeAt = this.#options.elapsed() + PROBE_MS
  }
}
