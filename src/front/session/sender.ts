/** MAIL, with which a transaction begins: is it a sender, may it have these parameters, and is the message put off already? */
import type { Facts } from '../../core/policy.ts'
import type { Shed } from '../../overload/overload.ts'
import { say } from '../reply.ts'
import { Charges } from './charges.ts'
import { type ClientReply, goOn } from './client-reply.ts'
import { type Context, judge, mannerOf } from './context.ts'
import { extensionsUsed, readMail } from './grammar.ts'
import { keepPutOff } from './put-offs.ts'
import { Transaction } from './transaction.ts'

export interface Begun {
  readonly reply: ClientReply
  /** Absent: MAIL was refused. */
  readonly transaction?: Transaction
}

/** @param around what is known without the line @param offers whether MAIL may have the parameters of this extension */
export async function sender(
  context: Context,
  line: string,
  around: Omit<Facts['mail'], 'from' | 'size' | 'shed'>,
  offers: (extension: string) => boolean,
): Promise<Begun> {
  const { parts, client, record, replies } = context
  const read = readMail(line)
  if (!read.ok) return { reply: replies.mistake(read.mistake) }
  const { address: from, parameters } = read.value
  const needs = extensionsUsed('mail', parameters, { has: offers })
  if (!needs.ok) return { reply: replies.mistake(needs.mistake) }
  const declared = parameters.get('SIZE')
  const facts = { ...around, from, size: declared === undefined ? undefined : Number(declared) }
  record.from = from
  const verdict = await judge(context, 'mail', 'uncounted', {
    ...facts,
    // Only the level asks, after all other checks. The DNS may have told by now whose address it is.
    shed(): Shed | undefined {
      client.lookAgain?.()
      return parts.overload.atMail(client, from, () => mannerOf(context))
    },
  })
  if (verdict.action === 'accept') {
    const transaction = new Transaction(read.value.line, needs.value, facts, new Charges(parts.limits, client))
    return { reply: goOn(say(250, '2.1.0', 'Ok')), transaction }
  }
  const reply = replies.refuse(verdict, 'refused')
  replies.message({ result: verdict.code < 500 ? 'deferred' : 'rejected', upstream: undefined, reply: reply.text })
  // Its recipients were not heard (overload/rationing.ts).
  if (verdict.reason === 'overload') keepPutOff(context, { from, to: '' })
  return { reply }
}
