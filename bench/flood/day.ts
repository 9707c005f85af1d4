// A day of the cluster's logs, as Postfix writes them: what an operator has who puts Spillway in front of a cluster in the middle of
// a flood. Only established senders are in it. The flood of that day is not, so that nobody can be told by it.

import type { HonestPopulation } from '../../src/cli/senders/honest.ts'
import { UNKNOWN_SHARE } from '../../src/cli/senders/letter.ts'
import { below, between, seeded } from '../../src/cli/senders/random.ts'
import { DOMAIN, toldAs } from './names.ts'

const DAY_MS = 86_400_000
/** More lines of one address say nothing more. */
const MOST = 40
const HOST = `${DOMAIN.split('.')[0]}`

/** @param perSecond messages of all established senders @param now in ms since the epoch; the day ends then */
export function dayOf(
  population: HonestPopulation,
  { perSecond, seed, now }: { readonly perSecond: number; readonly seed: number; readonly now: number },
): string {
  const random = seeded(seed ^ 0x3c6ef372)
  const lines: { readonly at: number; readonly text: string }[] = []
  let id = 0
  for (let rank = 0; rank < population.count; rank++) {
    const { addresses, name } = population.established(rank)
    const expected = population.shareOf(rank) * perSecond * (DAY_MS / 1000)
    const messages = Math.floor(expected) + (random() < expected % 1 ? 1 : 0)
    for (let i = 0; i < Math.min(messages, MOST * addresses.length); i++) {
      const at = Math.floor(now - between(random, 0, DAY_MS))
      const from = `mx.${name}.example[${toldAs(addresses[i % addresses.length] as string)}]`
      const pid = 1000 + below(random, 9000)
      if (random() < UNKNOWN_SHARE.honest) {
        const why = `550 5.1.1 <gone@${DOMAIN}>: Recipient address rejected: User unknown in virtual mailbox table`
        lines.push({
          at,
          text: `smtpd[${pid}]: NOQUEUE: reject: RCPT from ${from}: ${why}; from=<office@${name}.example>`,
        })
        continue
      }
      const queue = (0x100000 + id++).toString(16).toUpperCase()
      lines.push({ at, text: `smtpd[${pid}]: ${queue}: client=${from}` })
      lines.push({
        at: at + 1,
        text: `qmgr[900]: ${queue}: from=<office@${name}.example>, size=20000, nrcpt=1 (queue active)`,
      })
    }
  }
  lines.sort((a, b) => a.at - b.at)
  return `${lines.map(({ at, text }) => `${new Date(at).toISOString()} ${HOST} postfix/${text}`).join('\n')}\n`
}
