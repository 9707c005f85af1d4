/**
 * The same message sent to the server without anything in between, as a plain and correct client would: what the server
 * makes of it is what it should make of what comes through us.
 */
import { connectClient } from '../support/client.ts'
import { apart, relayed } from './newline-rule.ts'
import type { Transaction } from './reader.ts'
import { shown } from './shown.ts'
import type { Variant } from './stage.ts'
import { isMarked, RECIPIENTS, type Target } from './target.ts'

/** @param body dot-stuffed, without bare newlines, latin1 @returns the reply to the dot */
async function direct(port: number, body: string): Promise<string> {
  const client = await connectClient(port)
  try {
    await client.hello()
    return await client.send('sender@example.org', RECIPIENTS[0] as string, body)
  } finally {
    client.destroy()
  }
}

const LIKE_OURS =
  'Received: from client.example ([127.0.0.1])\r\n\tby mx.test.example (Spillway) with ESMTP id 1;\r\n\tSat, 21 Nov 2026 21:00:00 +0000\r\n'

/** What was refused, and not by us for its size or its line ends. */
const isRefused = ({ reply = '' }: Transaction): boolean => !/^(2|552 |550 5\.5\.2 )/.test(reply)

/**
 * Sends again, directly, one of the messages with a header, all without one, and all that were refused.
 * @returns what the server calls the copies, and what it calls the ones they are copies of
 */
export async function sendTwins(
  target: Target,
  variant: Variant,
  accepted: ReadonlyMap<string, Transaction>,
  answered: readonly Transaction[],
  findings: string[],
): Promise<Map<string, string>> {
  const twins = new Map<string, string>()
  const port = target.directPort
  if (port === undefined) return twins
  // What a server makes of the first line depends on whether a header field stands before it.
  const traced = variant.clientIp === 'received'
  const send = (body: string): Promise<string> => direct(port, (traced ? LIKE_OURS : '') + apart(relayed(body), traced))
  const marked = [...accepted].find(([, { body }]) => isMarked(body))?.[0]
  for (const [id, { body }] of accepted) {
    if (isMarked(body) && id !== marked) continue
    const reply = await send(body)
    const twin = target.idOf(reply)
    if (twin === undefined) findings.push(`sent directly, this is answered with ${reply}: ${shown(body)}`)
    else twins.set(twin, id)
  }
  for (const { body, reply } of answered.filter(isRefused)) {
    const twin = target.idOf(await send(body))
    if (twin === undefined) continue
    findings.push(`${reply} was said to what is taken when it comes directly: ${shown(body)}`)
    twins.set(twin, 'refused')
  }
  return twins
}
