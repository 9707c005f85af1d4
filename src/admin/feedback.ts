/** POST /api/v1/feedback: somebody who has seen a message, or its mailbox, says what it was. */
import { isIP } from 'node:net'
import { type Feedback, type FeedbackReport, VERDICTS, type Verdict } from '../core/feedback.ts'
import { canonical } from '../core/ip.ts'
import { objectIn } from './body.ts'
import type { Request } from './request.ts'
import { json, type Response, text } from './response.ts'

export interface FeedbackParts {
  /** Resolves with undefined if no message with this queue id went through this node lately. */
  readonly feedback: (feedback: Feedback) => FeedbackReport | undefined | Promise<FeedbackReport | undefined>
}

const EXAMPLE = '{"address": "192.0.2.1", "verdict": "spam"}'
const LONGEST_ID = 64

const NOT_HERE =
  'no message that went through this node in the last day has this queue id: ask the other nodes, or give the address of its client'

export async function feedbackGiven(request: Request, { feedback }: FeedbackParts): Promise<Response> {
  const read = objectIn(request, EXAMPLE)
  if ('code' in read) return read
  const { address, queue_id: queueId, verdict } = read.fields
  if (!isVerdict(verdict)) return text(400, `verdict: ${VERDICTS.join(' or ')}`)
  if ((address === undefined) === (queueId === undefined)) return text(400, 'give either address or queue_id')
  const of = address === undefined ? ofId(queueId) : ofAddress(address)
  if ('code' in of) return of
  const report = await feedback({ of, verdict })
  return report === undefined ? text(404, NOT_HERE) : json(200, report)
}

const isVerdict = (value: unknown): value is Verdict => VERDICTS.some((verdict) => verdict === value)

function ofId(queueId: unknown): { queueId: string } | Response {
  const isId = typeof queueId === 'string' && queueId !== '' && queueId.length <= LONGEST_ID
  return isId
    ? { queueId }
    : text(400, `queue_id: what the mail server called the message, up to ${LONGEST_ID} characters`)
}

function ofAddress(address: unknown): { address: string } | Response {
  const isOne = typeof address === 'string' && isIP(address) > 0 && !address.includes('%')
  return isOne
    ? { address: canonical(address) }
    : text(400, 'address: one IP address, such as 192.0.2.1 or 2001:db8::1')
}
