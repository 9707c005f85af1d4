/** Signs of one session that its client is no mail server (core/signs.ts), as they show. */
import type { Observer } from '../../checks/runner.ts'
import { type Client, isFriend } from '../../core/client.ts'
import { providerOf } from '../../core/ip.ts'
import { type CheckName, type ReasonName, reasonOf } from '../../core/reasons.ts'
import type { Signs } from '../../core/signs.ts'
import type { HeloCrowds } from '../../state/helo-crowds.ts'
import type { SessionRecord } from '../session-record.ts'

export class MutableSigns implements Signs {
  early = false
  hasty = false
  renamed = false
  common = false
  bareNewline = false

  /** The client has said HELO or EHLO. @param before the name that it has said before over the same layer; '': none */
  named(name: string, before: string, client: Client, crowds: Pick<HeloCrowds, 'met'>): void {
    const lower = name.toLowerCase()
    if (before !== '' && before.toLowerCase() !== lower) this.renamed = true
    this.common = !isFriend(client) && crowds.met(lower, providerOf(client.ip))
  }
}

/** A sign stays, and is judged again and again. */
const SIGNS: ReadonlySet<ReasonName> = new Set<ReasonName>([
  'pregreet',
  'pipelining',
  'helo',
  'tongue',
  'command_newline',
])
export const isSign = (reason: ReasonName): boolean => SIGNS.has(reason)

/** What speaks against a client, and is only observed: it would have been refused else. */
const DOUBTS: readonly CheckName[] = ['pregreet', 'pipelining', 'helo', 'tongue', 'command-newline', 'dnsbl']

/** Whether a check in observe mode has found something that speaks against the client. */
export const isDoubted = ({ observed }: Pick<SessionRecord, 'observed'>): boolean =>
  observed !== undefined && DOUBTS.some((check) => observed.has(check))

/** Counts what a check in observe mode finds. @param isOnce what counts once a session */
export const once =
  (record: Pick<SessionRecord, 'observed'>, observed: Observer, isOnce: (reason: ReasonName) => boolean): Observer =>
  (stage, seen) => {
    const { check } = reasonOf(seen.reason)
    if (!isOnce(seen.reason) || check === undefined || !record.observed?.has(check)) observed(stage, seen)
  }
