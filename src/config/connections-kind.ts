/** How many connections to a mail server there may be: a number, or found out within bounds. */
import { type Scalar, scalar } from './kinds.ts'

/** Equal: it is always the same. */
export interface Bounds {
  readonly floor: number
  readonly ceiling: number
}

const MOST = 100_000
/** Of `auto`. */
const AUTO: Bounds = { floor: 5, ceiling: 100 }

export const connections: Scalar<Bounds> = scalar({
  word: 'integer, or `auto`, or `auto:from-to`',
  what: `a whole number from 1 to ${MOST}, or auto, or auto with bounds such as auto:${AUTO.floor}-${AUTO.ceiling}`,
  parse(text) {
    if (text === 'auto') return { value: AUTO }
    const [, from, to] = /^(?:auto:([0-9]+)-)?([0-9]+)$/.exec(text) ?? []
    if (to === undefined) {
      return /^auto/i.test(text)
        ? { hint: `write auto:${AUTO.floor}-${AUTO.ceiling} for at least ${AUTO.floor} and at most ${AUTO.ceiling}` }
        : { hint: 'write a whole number, or auto' }
    }
    const [floor, ceiling] = [Number(from ?? to), Number(to)]
    if (floor < 1) return { hint: 'at least 1' }
    if (ceiling > MOST) return { hint: `at most ${MOST}` }
    if (floor > ceiling) return { hint: `the smaller number comes first: write auto:${ceiling}-${floor}` }
    return { value: { floor, ceiling } }
  },
  show: ({ floor, ceiling }) => (floor === ceiling ? String(ceiling) : `auto:${floor}-${ceiling}`),
})
