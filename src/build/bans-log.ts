/** What the log says of bans: enough to follow them, and no more than a bounded number of lines, whatever clients do. */
import type { Ban } from '../core/bans.ts'
import type { Log } from '../telemetry/log.ts'

/** Bans that are logged one by one each second; the others are counted in the next line. */
const LOGGED_A_SECOND = 20
/** How often an address that is spared is logged. */
const SPARED_MS = 3_600_000

/** A line for each ban, as long as there are few. */
export function banLog(log: Log, elapsed: () => number): (ban: Ban) => void {
  let second = 0
  let count = 0
  let others = 0
  return ({ network, by, reason, since, until, before }) => {
    const at = Math.floor(elapsed() / 1000)
    if (at !== second) {
      second = at
      count = 0
    }
    if (++count > LOGGED_A_SECOND) {
      others++
      return
    }
    const more = others > 0 ? { others } : {}
    others = 0
    const seconds = Math.round((until - since) / 1000)
    log.info({ network, by, reason, seconds, until: new Date(until).toISOString(), before, ...more }, 'banned')
  }
}

/** A line an hour: those who share an address could cause any number. */
export function sparedLog(log: Log, elapsed: () => number): (ip: string) => void {
  let loggedAt = Number.NEGATIVE_INFINITY
  return (ip) => {
    const at = elapsed()
    if (at - loggedAt < SPARED_MS) return
    loggedAt = at
    log.warn(
      { ip, setting: 'SPILLWAY_PROXY_PROTOCOL_FROM' },
      'an address that does what no mail server does is not banned, because several senders share it: mail came from it under ' +
        'different names. If it is your balancer, let it send the PROXY protocol and list it; if it is a NAT, its owner has a bot behind it',
    )
  }
}
