/** How many may do something at once: of one address, and all together. */
import { type Scalar, scalar } from './kinds.ts'

export interface Places {
  readonly ofOne: number
  readonly ofAll: number
}

const MOST = 10_000

export const places: Scalar<Places> = scalar({
  word: 'two numbers, `of one/of all`',
  what: 'two numbers, for one address and for all together, such as 16/64',
  parse(text) {
    const [, one, all] = /^(\d+)\/(\d+)$/.exec(text) ?? []
    if (one === undefined || all === undefined) {
      if (/^\d+$/.test(text))
        return { hint: `write ${Math.max(1, Math.floor(Number(text) / 4))}/${text} for ${text} in all` }
      if (/^(off|none)$/i.test(text)) return { hint: `it cannot be turned off: write ${MOST}/${MOST}` }
      return { hint: 'write two whole numbers with a slash between them, without spaces' }
    }
    const [ofOne, ofAll] = [Number(one), Number(all)]
    if (ofOne < 1) return { hint: 'at least 1 for one address' }
    if (ofAll > MOST) return { hint: `at most ${MOST} in all` }
    if (ofOne > ofAll) return { hint: `one address cannot have more than all together: write ${ofAll}/${ofAll}` }
    return { value: { ofOne, ofAll } }
  },
  show: ({ ofOne, ofAll }) => `${ofOne}/${ofAll}`,
})
