/**
 * Warns the operator of balancers that are misconfigured. Clients can cause these log lines, so each is written only
 * once an hour for a source, and for a bounded number of sources. The metrics and the lines of the sessions count the
 * rest. Sources with private addresses have room of their own: balancers nearly always have one, and a botnet cannot
 * use up that room.
 */
import { isPrivate, sourceOf } from '../../core/ip.ts'
import { HOUR_MS } from '../../core/time.ts'
import type { Log } from '../../telemetry/log.ts'

/** How many sources are named within an hour: so many with private addresses and as many with public ones. */
const MAX_SOURCES = 64

const SETTING = 'SPILLWAY_PROXY_PROTOCOL_FROM'

/** Decides whether it is time to log something about an address. */
class Hourly {
  // The times of the last log lines by source, the oldest first.
  readonly #private = new Map<string, number>()
  readonly #public = new Map<string, number>()

  due(ip: string, now: number): boolean {
    const told = isPrivate(ip) ? this.#private : this.#public
    for (const [source, at] of told) {
      if (now - at < HOUR_MS) break
      told.delete(source)
    }
    const source = sourceOf(ip)
    if (told.has(source) || told.size >= MAX_SOURCES) return false
    told.set(source, now)
    return true
  }
}

export class BalancerWarnings {
  readonly #log: Pick<Log, 'warn'>
  readonly #elapsed: () => number
  readonly #unlisted = new Hourly()
  readonly #noHeader = new Hourly()
  readonly #mailOnProbe = new Hourly()

  /** @param elapsed milliseconds of a clock that never goes back */
  constructor(log: Pick<Log, 'warn'>, elapsed: () => number) {
    this.#log = log
    this.#elapsed = elapsed
  }

  /** A client that is not a listed balancer began with a PROXY header. @param ip its canonical address */
  unlisted(ip: string): void {
    if (!this.#unlisted.due(ip, this.#elapsed())) return
    this.#log.warn(
      { ip, setting: SETTING },
      `a PROXY header from an address that is not listed in ${SETTING}: it hears 421. If it is your balancer, list it ` +
        'there; no mail comes through it until then',
    )
  }

  /** A listed balancer sent no valid header. @param why what is wrong */
  noHeader(ip: string, why: string): void {
    if (!this.#noHeader.due(ip, this.#elapsed())) return
    this.#log.warn(
      { ip, setting: SETTING, why },
      `no valid PROXY header from an address that is listed in ${SETTING}: its clients hear 421. Let it send the header ` +
        '(send-proxy, proxy_protocol on), or take it off the list',
    )
  }

  /** A balancer sent mail over a connection whose header names the balancer itself or nobody. */
  mailOnProbe(ip: string): void {
    if (!this.#mailOnProbe.due(ip, this.#elapsed())) return
    this.#log.warn(
      { ip, setting: SETTING },
      'mail over a connection that a balancer calls its own: it hears 451, because nobody can tell whose mail it is. The ' +
        'PROXY header must name the client',
    )
  }
}
