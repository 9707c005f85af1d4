/**
 * One mail transaction of a client, from MAIL on: what the client said, what it was charged, and what its refused recipients come
 * to.
 */
import type { Facts } from '../../core/policy.ts'
import type { ReasonName } from '../../core/reasons.ts'
import type { Guess } from '../../overload/guesses.ts'
import type { Shed } from '../../overload/overload.ts'
import type { Envelope } from '../../state/returns.ts'
import type { Charges } from './charges.ts'
import type { ClientReply } from './client-reply.ts'

/** A recipient that was put off, or refused for good. */
export interface RefusedRecipient {
  readonly code: number
  readonly reply: ClientReply
  /** The mail server that refused it, or that was to be asked about it. */
  readonly upstream: string | undefined
  /** Why, if we refused it. */
  readonly reason: ReasonName | undefined
}

export class Transaction {
  /** MAIL in its canonical form, as it goes to the mail server. */
  readonly mailLine: string
  /** The extensions that its parameters use. */
  readonly needs: readonly string[]
  readonly facts: Omit<Facts['mail'], 'shed'>
  readonly charges: Charges
  /** Whether it is let in under overload, for all its recipients; undefined: it was not asked for yet. */
  #asked: { readonly envelope: Envelope; readonly shed: Shed | undefined } | undefined
  #deferred = 0
  #rejected = 0
  #lastRefused: RefusedRecipient | undefined
  #isOver = false
  /** That its recipients may all be unknown; undefined: it was not asked about as one that may. */
  guess: Guess | undefined
  /** Whether any recipient was answered with what a mail server had said before. */
  isRecalled = false
  /** Whether no mail server was there for a recipient. Then none is answered from memory: what is down says nothing. */
  isForsaken = false

  constructor(mailLine: string, needs: readonly string[], facts: Omit<Facts['mail'], 'shed'>, charges: Charges) {
    this.mailLine = mailLine
    this.needs = needs
    this.facts = facts
    this.charges = charges
  }

  /** Whether it has ended. If the client leaves, it ends even while something is awaited for it. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** Whether its replies may be in UTF-8 (RFC 6531 section 3.7.4). */
  get utf8(): boolean {
    return this.needs.includes('SMTPUTF8')
  }

  /** What the refused recipients come to: deferred if any of them may be accepted later. */
  get refused(): 'deferred' | 'rejected' | undefined {
    if (this.#deferred > 0) return 'deferred'
    return this.#rejected > 0 ? 'rejected' : undefined
  }

  /**
   * @param to the recipient that it is asked about with @param ask called once in the transaction
   * @returns why it is put off; undefined: it is let in
   */
  shed(to: string, ask: (envelope: Envelope) => Shed | undefined): Shed | undefined {
    if (this.#asked === undefined) {
      const envelope = { from: this.facts.from, to }
      this.#asked = { envelope, shed: ask(envelope) }
    }
    return this.#asked.shed
  }

  /** What it was asked about with; undefined: it was not asked for yet. */
  get asked(): Envelope | undefined {
    return this.#asked?.envelope
  }

  get lastRefused(): RefusedRecipient | undefined {
    return this.#lastRefused
  }

  refuse(recipient: RefusedRecipient): void {
    if (recipient.code < 500) this.#deferred++
    else this.#rejected++
    this.#lastRefused = recipient
  }

  /** @param asked whether a mail server was asked about it */
  end(asked: boolean): void {
    this.#isOver = true
    this.charges.end(asked)
  }
}
