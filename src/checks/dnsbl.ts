/**
 * Refuses clients of which nothing good is known and that DNS lists speak against (dns/lists.ts). Asked at RCPT, so that postmaster can
 * be reached, and so late that the lists have usually answered. Clients that are known or seen are not judged by lists: a list
 * knows their network, and we know their mail.
 *
 * From the level on at which suspects are refused at the banner, it is asked at MAIL already: whoever is on a list is a suspect. Then
 * the client is put off, whatever DNSBL says, because who writes to postmaster would have been let in without the load.
 */
import type { Client } from '../core/client.ts'
import type { Score } from '../core/dnsbl.ts'
import { andThen, type Maybe } from '../core/maybe.ts'
import { ACCEPT, type Check, type Refusal, refusal, type Verdict } from '../core/policy.ts'
import { patientFormOf } from '../core/reasons.ts'

export interface DnsblParts {
  readonly scoreOf: (client: Client) => Maybe<Score>
  /** DNSBL_THRESHOLD: so much or more is refused. */
  readonly threshold: number
  /** Whether it is refused for good, and not put off. */
  readonly rejects: boolean
  /** Whether suspects are refused now for load, and the check is enforced. */
  readonly isPressed: () => boolean
}

export const dnsblAtMail = (parts: DnsblParts): Check<'mail'> => ({
  name: 'dnsbl',
  stage: 'mail',
  sparesTrusted: true,
  waits: true,
  judge: ({ client }) => (parts.isPressed() ? judged(client, { ...parts, rejects: false }) : ACCEPT),
})

export const dnsblAtRcpt = (parts: DnsblParts): Check<'rcpt'> => ({
  name: 'dnsbl',
  stage: 'rcpt',
  sparesTrusted: true,
  waits: true,
  judge: ({ client, exempt }) => (exempt ? ACCEPT : judged(client, parts)),
})

const judged = (client: Client, { scoreOf, threshold, rejects }: DnsblParts): Maybe<Verdict> =>
  andThen(scoreOf(client), ({ score, zones }): Verdict => {
    if (score < threshold) return ACCEPT
    const given = refusal('dnsbl', { used: score, max: threshold, zones: zones.join(' ') })
    const told: Refusal = { ...given, text: `${given.text} (${zones.slice(0, MOST_NAMED).join(', ')})` }
    return rejects ? told : { ...told, ...patientFormOf('dnsbl') }
  })

/** Lists that the client reads the names of. */
const MOST_NAMED = 3
