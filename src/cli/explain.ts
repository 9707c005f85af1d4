/**
 * `spillway explain`: what the id of a refusal tells by itself, without a node, a log or Redis. The exit codes are 0, and 64
 * where the text is no id.
 */
import { readId, writtenId } from '../core/id.ts'
import { type Form, formsOf, reasonOf } from '../core/reasons.ts'
import { visible } from '../telemetry/log.ts'

export interface Explained {
  readonly output: string
  readonly code: 0 | 64
}

/** What the client was told: an id does not say in which of the forms. */
function heard(forms: readonly Form[], wire: string): string {
  const [first = '', ...others] = new Set(forms.map(({ code, enhanced }) => `${code} ${enhanced}`))
  const also = others.length === 0 ? '' : `, or the same with ${others.join(' or ')}`
  return `It heard "${first} ${wire}"${also}.`
}

/** Never throws. @param text the id, as somebody wrote it down */
export function explain(text: string, { json }: { readonly json: boolean }): Explained {
  const told = (words: string[], value: unknown, code: Explained['code']): Explained => {
    return { output: visible(json ? `${JSON.stringify(value, undefined, 2)}\n` : `${words.join('\n')}\n`), code }
  }
  const id = writtenId(text)
  const read = readId(id)
  if (read === undefined) {
    const error = `${text.slice(0, 80)} is no id, and no address, network or sender. An id is the 13 characters at the end of a refusal: 1RV17D4600503.`
    return told([error], { error }, 64)
  }
  const { at, node, reason } = read
  const session = id.slice(0, 11)
  const when = `The session began at ${at.toISOString().replace('.000Z', 'Z')} on the node with number ${node}.`
  const where = `In the log: grep ${session}`
  const facts = { id, session, at: at.toISOString(), node }
  if (reason === undefined) {
    const why =
      id.length === 11
        ? 'This is the id of a session; it tells no reason.'
        : 'A mail server refused it, not Spillway: the log has its words in refusedBy.'
    return told([why, when, where], facts, 0)
  }
  const { check, wire, operator, load } = reasonOf(reason)
  const replies = formsOf(reason).map(({ action, code, enhanced }) => `${action} ${code} ${enhanced}`)
  const why = `Turned away because ${operator}.`
  const lines = [why, when, heard(formsOf(reason), wire), `${where}. The reason is ${reason} there.`]
  return told(lines, { ...facts, reason, check, load, wire, operator, replies }, 0)
}
