/** Whether log and metrics tell the same, and what clients heard is in it. */
import type { Transaction } from './reader.ts'
import type { Results, SessionLine } from './stage.ts'

/** RFC 1870 section 5: dots that stand for transparency only do not count. */
const octets = (body: string): number => body.length - (`\r\n${body}`.match(/\r\n\./g)?.length ?? 0)

/** @param accepted messages that the server has taken */
export function miscounted(
  counted: Results,
  transactions: readonly Transaction[],
  told: readonly SessionLine[],
  accepted: number,
): string[] {
  const findings: string[] = []
  if (counted.accepted !== accepted) findings.push(`${counted.accepted} are counted as accepted, not ${accepted}`)
  if (counted.unknown > 0) findings.push(`${counted.unknown} are counted as unknown`)
  // Of a session with very many messages the log has the first ones only.
  if (told.some((line) => line.messages.length < line.messageCount)) return findings
  const messages = told.flatMap((line) => line.messages)
  for (const name of Object.keys(counted) as (keyof Results)[]) {
    const inLog = messages.filter(({ result }) => result === name).length
    if (inLog !== counted[name]) findings.push(`the log has ${inLog} ${name}, the metrics have ${counted[name]}`)
  }
  for (const { reply = '', body } of transactions) {
    const at = messages.findIndex((each) => each.reply === reply)
    if (at < 0) {
      findings.push(`a client heard this, and the log does not have it: ${reply}`)
      continue
    }
    const [{ size } = { size: -1 }] = messages.splice(at, 1)
    // Only where it was taken is the reply its own, and not the same for several.
    if (reply.startsWith('2') && size !== octets(body)) findings.push(`${octets(body)} octets are ${size} in the log`)
  }
  return findings
}
