/**
 * Warns when nearly all connections come from one private address that is not a listed balancer. Then something in
 * front (NAT, a container's userland proxy, a balancer that is not listed) hides the clients, and every limit per
 * address hits everybody.
 */
import { isPrivate } from '../../core/ip.ts'
import type { Log } from '../../telemetry/log.ts'

const CONNECTIONS = 1000
const NEARLY_ALL = 0.95
const REPEAT_MS = 3_600_000

export class NatWatch {
  readonly #log: Log
  readonly #elapsed: () => number
  #candidate = ''
  #seen = 0
  #same = 0
  #warnedAt = Number.NEGATIVE_INFINITY

  /** @param elapsed milliseconds of a clock that never goes back */
  constructor(log: Log, elapsed: () => number) {
    this.#log = log
    this.#elapsed = elapsed
  }

  /** A connection without a PROXY header came from `ip`. */
  seen(ip: string): void {
    if (this.#seen === 0) this.#candidate = ip
    this.#seen++
    if (ip === this.#candidate) this.#same++
    if (this.#seen < CONNECTIONS) return
    if (this.#same >= NEARLY_ALL * CONNECTIONS && isPrivate(ip) && this.#elapsed() - this.#warnedAt > REPEAT_MS) {
      this.#warnedAt = this.#elapsed()
      this.#log.warn(
        { ip: this.#candidate, connections: CONNECTIONS, same: this.#same },
        'nearly all connections come from one private address: something in front hides the clients, and limits per ' +
          'address hit everybody. Let it send the PROXY protocol and list it in SPILLWAY_PROXY_PROTOCOL_FROM, or let ' +
          'clients reach this host directly (host network)',
      )
    }
    this.#seen = 0
    this.#same = 0
  }
}
