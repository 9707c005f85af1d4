/** The operator's words for refusals: `reason=text`. Code, enhanced code, address and id stay ours. */
import { REASON_NAMES, type ReasonName } from '../core/reasons.ts'
import { type List, type Scalar, scalar } from './kinds.ts'
import { plainList } from './list-kinds.ts'
import { nearest } from './nearest.ts'

export interface ReplyText {
  readonly reason: ReasonName
  readonly text: string
}

/** With the longest host name, an IPv6 address and the id the line has room for 181 (RFC 5321 section 4.5.3.1.5). */
export const LONGEST_REPLY_TEXT = 160
const MANY = 'a text with a comma goes into a file: @/etc/spillway/replies, with one reason=text a line'

const entry: Scalar<ReplyText> = scalar({
  word: 'reason and text',
  what: 'a reason of docs/refusals.md and what its clients read: denied=Not from your network. Questions: +49 30 5550100',
  parse(given) {
    const [, name, words = ''] = /^([^=\s]*)\s*=(.*)$/s.exec(given) ?? []
    if (name === undefined) return { hint: `there is no reason and = in it; ${MANY}` }
    const reason = REASON_NAMES.find((each) => each === name)
    if (reason === undefined) {
      const meant = nearest(name.replaceAll('-', '_'), REASON_NAMES)
      return { hint: meant === undefined ? `there is no reason ${name}` : `did you mean ${meant}?` }
    }
    const text = words.trim()
    if (text === '') return { hint: 'after = stands what the client reads' }
    if (!/^[ -~]+$/.test(text)) return { hint: 'ASCII only, without control characters: replies have nothing else' }
    if (text.length > LONGEST_REPLY_TEXT)
      return {
        hint: `at most ${LONGEST_REPLY_TEXT} characters, not ${text.length}: it has to fit into one line with the client's address and the id`,
      }
    if (/^[2-5]([0-9]{2}\b|\.[0-9]{1,3}\.[0-9])/.test(text))
      return { hint: 'without a code: codes stay as docs/refusals.md has them' }
    return { value: { reason, text } }
  },
  show: ({ reason, text }) => `${reason}=${text}`,
})

const list = plainList(entry, {
  word: 'list of `reason=text`',
  empty: 'none',
  show: entry.show,
  key: ({ reason }) => reason,
})

/** Shown as in a file, one a line: there may be commas in a text. */
export const replyTexts: List<readonly ReplyText[]> = {
  ...list,
  show: (texts) => (texts.length === 0 ? list.show(texts) : texts.map(entry.show).join('\n')),
}
