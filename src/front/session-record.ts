/** What is noted of a session while it goes on; outcome.ts makes of it what is counted, learnt and logged. */
import type { Offence } from '../core/bans.ts'
import type { Refusal, Stage } from '../core/policy.ts'
import type { CheckName, ReasonName } from '../core/reasons.ts'
import type { Keys } from '../state/returns.ts'
import type { MessageResult } from '../telemetry/metrics.ts'
import type { ObservedUse } from '../telemetry/observed/report.ts'

export interface MessageTold {
  readonly size: number
  readonly upstream: string | undefined
  readonly reply: string
  readonly ms: number
  readonly result: MessageResult
  /** The client had closed its side before the dot was answered (RFC 1047: it may send the message again). */
  readonly left?: true
}

export class SessionRecord {
  /** By the clock that never goes back, in milliseconds. */
  readonly begunAt: number
  stage: Stage = 'connect'
  helo: string | undefined
  tls: string | undefined
  /** Why a TLS handshake failed, or its client was cut off for empty records. */
  tlsError: string | undefined
  from: string | undefined
  /** Our last refusal, and the stage it was at: this one is in the log line. */
  refusal: Refusal | undefined
  refusedAt: Stage | undefined
  /** The last refusal of an upstream, and which upstream it was. */
  upstreamSaid: { readonly upstream: string; readonly reply: string; readonly source?: 'memory' } | undefined
  /** Whether a mail server has taken a message, or nobody knows (R30): such a session always has its line. */
  mayBeDelivered = false
  accepted = false
  shed = false
  rejected = false
  /** The client left in the middle of a transaction, or was cut off. */
  aborted = false
  rcpts = 0
  /** Recipients of the transaction under way: taken by a mail server, those of them that are exempt, and such as no honest client names. */
  taken = 0
  spared = 0
  bad = 0
  messageCount = 0
  upstreamMs = 0
  /** It has heard here that it is banned or denied. */
  hasHeard = false
  // Allocated when first needed: a refused client needs none of them.
  /** The first recipients, as the client named them: outcome.ts redacts them. */
  told: { to: string; code: number; source?: 'memory' }[] | undefined
  messages: MessageTold[] | undefined
  observed: Set<CheckName | ReasonName> | undefined
  /** Of observed limits: the most that was used of one, as a share of its maximum. */
  uses: Map<CheckName, ObservedUse> | undefined
  /** What messages that were put off are noted by (session/put-offs.ts). */
  putOffs: Keys[] | undefined
  /** STARTTLS was on offer at the last HELO or EHLO, which came in the clear, though there was a place for its handshake. */
  isClear = false
  /** Its source has asked for STARTTLS lately, and all places were taken. */
  foundNoPlace = false
  /** A mail server has refused a recipient or a message for good (5yz). */
  heardNo = false
  /** The client has broken the protocol. */
  isBroken = false
  /** What of it proves a bot. */
  offences: Set<Offence> | undefined

  constructor(begunAt: number) {
    this.begunAt = begunAt
  }
}
