/** POST /api/v1/feedback: who may, what is taken, and what is answered to a wrong body. */
import { beforeEach, expect, test } from '@jest/globals'
import { type Request, readRequest } from '../../src/admin/request.ts'
import { createRouter } from '../../src/admin/routes.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import type { Feedback, FeedbackReport } from '../../src/core/feedback.ts'
import { NO_BANS, NO_ORDERS_GIVEN } from '../support/bans.ts'

const nothing = (): never => {
  throw new Error('not asked for')
}
const REPORT: FeedbackReport = { source: '192.0.2.1', standing: 'suspect', learnt: true }
const taken: Feedback[] = []
const answer = createRouter({
  ...{ metrics: nothing, status: nothing, reload: nothing, token: () => 'the-token', names: () => [] },
  bans: NO_BANS,
  orders: NO_ORDERS_GIVEN,
  ...{ clock: SYSTEM_CLOCK, upstreams: () => [], reported: nothing },
  feedback(feedback) {
    taken.push(feedback)
    return 'queueId' in feedback.of && feedback.of.queueId === 'GONE' ? undefined : REPORT
  },
})
beforeEach(() => void taken.splice(0))

async function send(sent: unknown, fields: Record<string, string> = {}, local = '127.0.0.1') {
  const body = Buffer.from(JSON.stringify(sent))
  const head = Object.entries({
    ...{ Host: 'localhost', Authorization: 'Bearer the-token', 'Content-Length': String(body.length) },
    ...fields,
  })
  const lines = head.map(([name, value]) => `${name}: ${value}`)
  const request = readRequest(['POST /api/v1/feedback HTTP/1.1', ...lines].join('\r\n')) as Request
  const response = await answer({ ...request, body }, local)
  return { code: response.code, text: String(response.body) }
}

test.each<[object, Feedback]>([
  [
    { address: '192.0.2.1', verdict: 'spam' },
    { of: { address: '192.0.2.1' }, verdict: 'spam' },
  ],
  [
    { address: '::ffff:192.0.2.1', verdict: 'ham' },
    { of: { address: '192.0.2.1' }, verdict: 'ham' },
  ],
  [
    { address: '2001:DB8:0::1', verdict: 'ham' },
    { of: { address: '2001:db8::1' }, verdict: 'ham' },
  ],
  [
    { queue_id: '4XyZ0123abc', verdict: 'spam' },
    { of: { queueId: '4XyZ0123abc' }, verdict: 'spam' },
  ],
])('%j is taken, and answered with what the client is now', async (body, feedback) => {
  const { code, text } = await send(body)
  expect({ code, report: JSON.parse(text) }).toEqual({ code: 200, report: REPORT })
  expect(taken).toEqual([feedback])
})

test.each<[unknown, string]>([
  [[], 'the body is a JSON object, such as {"address": "192.0.2.1", "verdict": "spam"}'],
  [{ address: '192.0.2.1' }, 'verdict: spam or ham'],
  [{ address: '192.0.2.1', verdict: 'SPAM' }, 'verdict: spam or ham'],
  [{ verdict: 'spam' }, 'give either address or queue_id'],
  [{ address: '192.0.2.1', queue_id: 'A', verdict: 'spam' }, 'give either address or queue_id'],
  [{ address: '192.0.2.0/24', verdict: 'spam' }, 'address: one IP address'],
  [{ address: 'mail.example.net', verdict: 'spam' }, 'address: one IP address'],
  [{ address: 'fe80::1%eth0', verdict: 'spam' }, 'address: one IP address'],
  [{ address: 1, verdict: 'spam' }, 'address: one IP address'],
  [{ queue_id: '', verdict: 'spam' }, 'queue_id: what the mail server called the message'],
  [{ queue_id: 'x'.repeat(65), verdict: 'spam' }, 'queue_id: what'],
  [{ queue_id: 5, verdict: 'spam' }, 'queue_id: what'],
])('%j is 400, with words that help', async (body, words) => {
  const { code, text } = await send(body)
  expect(code).toBe(400)
  expect(text).toContain(words)
  expect(taken).toEqual([])
})

test('an id that nobody knows is 404, and says what to do', async () => {
  const { code, text } = await send({ queue_id: 'GONE', verdict: 'spam' })
  expect(code).toBe(404)
  expect(text).toContain('ask the other nodes, or give the address of its client')
})

test.each<[string, number, Record<string, string>, string]>([
  ['without the token', 401, { Authorization: '' }, '192.0.2.1'],
  ['without the token, over loopback', 401, { Authorization: '' }, '127.0.0.1'],
  ['under a name that is not ours', 421, { Host: 'page.example' }, '127.0.0.1'],
  ['by a page in a browser', 403, { Origin: 'null' }, '127.0.0.1'],
])('it is not taken %s', async (_, wanted, fields, local) => {
  expect((await send({ address: '192.0.2.1', verdict: 'ham' }, fields, local)).code).toBe(wanted)
  expect(taken).toEqual([])
})
