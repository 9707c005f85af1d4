/** A regular expression in a setting. */
import { messageOf } from '../core/errors.ts'
import { type Scalar, scalar } from './kinds.ts'

/** Length of a pattern; a longer one is a mistake. */
const LONGEST_PATTERN = 500

export const pattern: Scalar<RegExp> = scalar({
  word: 'pattern',
  what: 'a regular expression, as in JavaScript, without slashes around it; upper and lower case are the same',
  parse: (text) => {
    if (text.length > LONGEST_PATTERN) return { hint: `at most ${LONGEST_PATTERN} characters` }
    try {
      const value = new RegExp(text, 'i')
      return value.test('') ? { hint: 'it fits every reply' } : { value }
    } catch (error) {
      return { hint: messageOf(error) }
    }
  },
  show: (value) => value.source,
})
