// What the established senders have sent before the run, as an operator has it from the logs of a cluster: lines of the form
// `ip,accepted,rejected,last` for `spillway learn`. The lab knows these senders by the same truth: each of them has had at least
// one honest message accepted. Who sends honest mail for the first time in the run is in no line. The networks of the flood may have sent spam in
// the same time: lines of the same form for each address that did (nets-past.ts).

import { type HonestPopulation, LARGE } from '../../src/cli/senders/honest.ts'
import { UNKNOWN_SHARE } from '../../src/cli/senders/letter.ts'
import { between, seeded } from '../../src/cli/senders/random.ts'
import { toldAs } from './names.ts'
import { counted, type Spammer } from './nets-past.ts'
import { SNOWSHOE } from './population.ts'

/** How far the logs go back (assumed). */
const DAYS = 14
const DAY_S = 86_400
/** Of the senders that are not large, so many have sent one message so far (assumed). */
const NEWCOMERS = 0.05

/** What the snowshoe has sent: five messages a day from each address, all of them accepted. */
export const snowshoePast = (now: number): string =>
  `${SNOWSHOE.map((ip) => `${ip},${5 * DAYS},0,${Math.floor(now / 1000)}`).join('\n')}\n`

/** What networks with a past have sent. @param now in ms since the epoch @param isProxied PROXY headers tell their addresses */
export function spamPastOf(spammers: Iterable<Spammer>, now: number, isProxied = false): string {
  let lines = ''
  for (const { ip, agoMs, ...spam } of spammers) {
    const { accepted, rejected } = counted(spam)
    lines += `${isProxied ? toldAs(ip) : ip},${accepted},${rejected},${Math.floor((now - agoMs) / 1000)}\n`
  }
  return lines
}

/** @param perSecond messages of all established senders @param now in ms since the epoch @param isProxied PROXY headers tell their addresses */
export function pastOf(
  population: HonestPopulation,
  { perSecond, seed, now }: { readonly perSecond: number; readonly seed: number; readonly now: number },
  isProxied = false,
): string {
  const random = seeded(seed ^ 0x5bd1e995)
  const lines: string[] = []
  for (let rank = 0; rank < population.count; rank++) {
    const { addresses } = population.established(rank)
    const isNew = rank >= LARGE && random() < NEWCOMERS
    const messages = isNew ? 1 : Math.max(1, Math.round(population.shareOf(rank) * perSecond * DAYS * DAY_S))
    addresses.forEach((ip, i) => {
      // Tries come from all addresses in turn.
      const accepted = Math.floor(messages / addresses.length) + (i < messages % addresses.length ? 1 : 0)
      if (accepted === 0) return
      const last = Math.floor(now / 1000 - between(random, 0, DAY_S))
      lines.push(`${isProxied ? toldAs(ip) : ip},${accepted},${Math.round(accepted * UNKNOWN_SHARE.honest)},${last}`)
    })
  }
  return `${lines.join('\n')}\n`
}
