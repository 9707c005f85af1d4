/**
 * Words the replies of one session, and records each refusal at the same time, so that the wire, the log and the counters
 * always say the same.
 */
import type { Client } from '../../core/client.ts'
import { heardBy, type Refusal, refusal, type Stage } from '../../core/policy.ts'
import type { ReasonName } from '../../core/reasons.ts'
import type { Reply } from '../../relay/smtp/reply.ts'
import type { MessageResult } from '../../telemetry/metrics.ts'
import type { Evidence } from '../evidence.ts'
import type { Outcomes } from '../outcome.ts'
import type { AnsweredFrom, RecipientAnswer } from '../recipient-answer.ts'
import type { Voice } from '../reply.ts'
import type { SessionRecord } from '../session-record.ts'
import { type ClientReply, type Counts, goOn } from './client-reply.ts'
import type { Mistake } from './grammar.ts'

/** Refusals that follow from the protocol, or from how a client uses it. */
export type ProtocolReason =
  | 'idle'
  | 'slow_data'
  | 'session_time'
  | 'session_messages'
  | 'junk'
  | 'line_too_long'
  | 'proxy_unlisted'
  | 'draining'
  | 'internal'

export interface MessageEnd {
  readonly result: MessageResult
  /** The mail server that it was, or would have been, handed to. */
  readonly upstream: string | undefined
  /** What the client heard, or why it heard nothing. */
  readonly reply: string
  /** In octets, without the dots that are there for transparency only. */
  readonly size?: number
  /** Milliseconds from the dot to the mail server's reply. */
  readonly ms?: number
  /** The client had closed its side before the dot was answered. */
  readonly left?: boolean
  /** What the mail server's reply to DATA or to the dot says about the client. */
  readonly evidence?: Evidence
}

export class Replies {
  readonly #voice: Voice
  readonly #outcomes: Outcomes
  readonly #client: Client
  readonly #record: SessionRecord

  constructor(voice: Voice, outcomes: Outcomes, client: Client, record: SessionRecord) {
    this.#voice = voice
    this.#outcomes = outcomes
    this.#client = client
    this.#record = record
  }

  /**
   * A refusal of ours. After a verdict of drop the connection is closed.
   * @param stage that of the check, where it is not the one that the session has reached
   */
  refuse(given: Refusal, counts: Counts = 'nothing', stage: Stage = this.#record.stage): ClientReply {
    const verdict = heardBy(this.#client, given)
    this.#outcomes.refused(this.#record, this.#client, stage, verdict)
    const text = this.#voice.refusal(this.#client, verdict)
    return { text, next: verdict.action === 'drop' ? 'close' : 'command', counts }
  }

  because(reason: ProtocolReason, counts: Counts = 'nothing'): ClientReply {
    return this.refuse(refusal(reason), counts)
  }

  /**
   * A refusal that is about the commands themselves. Like every refusal it carries the id.
   * @param enhanced undefined if RFC 2034 section 4 has none @param reason of the refusal it follows from
   */
  words(code: number, enhanced: string | undefined, text: string, counts: Counts, reason?: ReasonName): ClientReply {
    const lines = [enhanced === undefined ? text : `${enhanced} ${text}`]
    return goOn(this.#voice.relayed(this.#client, { code, lines }, { reason }), counts)
  }

  mistake({ code, enhanced, text }: Mistake): ClientReply {
    return this.words(code, enhanced, text, 'mistake')
  }

  /** A mail server's reply. @param utf8 whether the client asked for SMTPUTF8 @param from where it comes from */
  relayed(upstream: string, reply: Reply, utf8: boolean, counts: Counts, from?: AnsweredFrom): ClientReply {
    if (reply.code >= 400) this.#outcomes.refusedByUpstream(this.#record, upstream, reply, from)
    return goOn(this.#voice.relayed(this.#client, reply, { utf8 }), counts)
  }

  /** Records what became of one recipient. */
  recipient(to: string, code: number, answer?: RecipientAnswer): void {
    this.#outcomes.recipient(this.#record, to, code, answer)
  }

  /** Records what became of a message. */
  message({ result, upstream, reply, size = 0, ms = 0, left = false, evidence = 'nothing' }: MessageEnd): void {
    const told = { size, upstream, reply: reply.trimEnd(), ms, result, ...(left && { left }) }
    this.#outcomes.message(this.#record, this.#client, told, evidence)
  }
}
