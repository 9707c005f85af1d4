/**
 * One message, from DATA to the reply to its dot. Our own limits have been decided by then; only the size and the mail server's
 * replies matter here. relay/transaction/newlines.ts corrects bare newlines, pace.ts watches the rate.
 */
import { heardBy, type Refusal, refusal } from '../../core/policy.ts'
import type { Answer } from '../../relay/transaction/answer.ts'
import { type Evidence, evidenceOf } from '../evidence.ts'
import { type ClientReply, type Counts, UNREAD } from './client-reply.ts'
import { type Context, turnedMeanwhile } from './context.ts'
import { keepPutOff } from './put-offs.ts'
import type { Transaction } from './transaction.ts'

/** Without an enhanced code (RFC 2034 section 4). */
const GO_AHEAD: ClientReply = {
  text: '354 End data with <CR><LF>.<CR><LF>\r\n',
  next: 'text',
  counts: 'nothing',
}

/**
 * The reply to DATA if no recipient was accepted (RFC 5321 section 3.3). If any of them may be accepted later, so may the
 * message. Clients that pipeline say DATA after refused recipients, which is no offence. DATA after no recipient at all brings no
 * mail.
 */
export function noRecipients({ replies }: Context, { refused, lastRefused }: Transaction): ClientReply {
  const counts = refused === undefined ? 'junk' : 'nothing'
  return refused === 'deferred'
    ? replies.words(451, '4.5.0', 'No recipient was accepted for now', counts, lastRefused?.reason)
    : replies.words(554, '5.5.1', 'No valid recipients', counts, lastRefused?.reason)
}

/**
 * Says DATA to the mail server. Without a `message` the reply is a refusal, and the transaction is over.
 * @param max size limit in octets, which holds even if the mail servers come to offer another; undefined: none
 */
export async function startMessage(
  context: Context,
  transaction: Transaction,
  max: number | undefined,
): Promise<{ readonly reply: ClientReply; readonly message?: ClientMessage }> {
  const { relay, replies } = context
  const turned = await turnedMeanwhile(context, transaction)
  if (transaction.isOver) return { reply: UNREAD }
  if (turned !== undefined) {
    const reply = replies.refuse(turned, 'refused', 'rcpt')
    keepPutOff(context, transaction.asked)
    replies.message({ result: resultOf(turned), upstream: relay.upstream, reply: reply.text })
    return { reply }
  }
  const answer = await relay.data()
  if (transaction.isOver) return { reply: UNREAD }
  if (answer.kind === 'reply' && answer.reply.code === 354) {
    return { reply: GO_AHEAD, message: new ClientMessage(context, transaction, max) }
  }
  const reply = answered(context, transaction, answer, 'refused')
  const code = answer.kind === 'reply' ? answer.reply.code : answer.refusal.code
  const result = resultOf({ code })
  if (result === 'deferred') keepPutOff(context, transaction.asked)
  replies.message({ result, upstream: answer.upstream, reply: reply.text, evidence: saidBy(context, answer) })
  return { reply }
}

const resultOf = ({ code }: Pick<Refusal, 'code'>) => (code < 500 ? 'deferred' : 'rejected')

const saidBy = ({ parts }: Context, answer: Answer): Evidence =>
  answer.kind === 'reply' ? evidenceOf(answer.to, answer.reply, parts.badReply) : 'nothing'

function answered({ replies }: Context, { utf8 }: Transaction, answer: Answer, counts: Counts): ClientReply {
  return answer.kind === 'refusal'
    ? replies.refuse(answer.refusal, counts)
    : replies.relayed(answer.upstream, answer.reply, utf8, counts)
}

/** text: it is coming. dot: the mail server's reply to its dot is awaited. left: the same, but the client is gone. */
type Phase = 'text' | 'dot' | 'left'

export class ClientMessage {
  readonly #context: Context
  readonly #transaction: Transaction
  /** Size limit in octets; undefined: none. */
  readonly #max: number | undefined
  #phase: Phase = 'text'
  #size = 0

  constructor(context: Context, transaction: Transaction, max: number | undefined) {
    this.#context = context
    this.#transaction = transaction
    this.#max = max
  }

  /** Whether its dot has come, so that only the mail server knows what becomes of it. */
  get isPastDot(): boolean {
    return this.#phase !== 'text'
  }

  /** The client left after the dot, and may send the message again (RFC 1047). */
  left(): void {
    this.#phase = 'left'
  }

  /**
   * @param dots octets in it that are there for transparency only, and do not count towards the size (RFC 1870 section 5): one
   * for each line that begins with a dot
   * @returns see Conversation.write
   */
  write(chunk: Buffer, dots: number): Promise<void> | ClientReply | undefined {
    const { relay } = this.#context
    const before = this.#size
    this.#size += chunk.length - dots
    const max = this.#max
    if (max === undefined || !this.#isTooLarge) return relay.write(chunk)
    if (before <= max) relay.abort('the message is too large')
    return this.#size > 2 * max ? { ...this.#tooLarge(), next: 'close' } : undefined
  }

  /** The dot has come. Sends it on and waits for the mail server's last reply, whatever the client does meanwhile. */
  async end(): Promise<ClientReply> {
    const { client, parts, record, relay, replies } = this.#context
    if (this.#isTooLarge) return this.#tooLarge()
    if (this.#hasOutgrown && parts.sizeMode === 'observe') {
      parts.outcomes.observed(record, 'data', this.#sizeRefusal())
    }
    this.#phase = 'dot'
    const { answer, result: came, ms } = await relay.end()
    if (came === 'accepted') this.#context.parts.guesses.accepted()
    const result = answer.kind === 'refusal' && came === 'rejected' ? resultOf(heardBy(client, answer.refusal)) : came
    const reply = answered(this.#context, this.#transaction, answer, 'message')
    if (result === 'deferred') keepPutOff(this.#context, this.#transaction.asked)
    const left = this.#hasLeft
    const told = { result, upstream: answer.upstream, reply: reply.text, size: this.#size, ms, left }
    replies.message({ ...told, evidence: saidBy(this.#context, answer) })
    return reply
  }

  /** Gives the message up: its dot will not come. */
  abandon(why: string): void {
    const { record, relay, replies } = this.#context
    const { upstream } = relay
    relay.abort(`${why} in the middle of the message`)
    record.aborted = true
    replies.message({ result: 'aborted', upstream, reply: `${why} before the dot`, size: this.#size })
  }

  get #hasLeft(): boolean {
    return this.#phase === 'left'
  }

  get #hasOutgrown(): boolean {
    return this.#max !== undefined && this.#size > this.#max
  }

  get #isTooLarge(): boolean {
    return this.#hasOutgrown && this.#context.parts.sizeMode === 'enforce'
  }

  #tooLarge(): ClientReply {
    const { replies } = this.#context
    const verdict = this.#sizeRefusal()
    const reply = replies.refuse(verdict, 'message')
    replies.message({ result: resultOf(verdict), upstream: undefined, reply: reply.text, size: this.#size })
    return reply
  }

  #sizeRefusal(): Refusal {
    return heardBy(this.#context.client, refusal('size', { used: this.#size, max: this.#max ?? 0 }))
  }
}
