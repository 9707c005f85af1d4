/** What is read, field by field, of an answer that may be anybody's who writes to Redis: checked, clipped and escaped. */
import { visible } from '../core/visible.ts'

/** Characters. */
const LONGEST_TEXT = 300

export type Fields = Readonly<Record<string, unknown>>

export const fieldsOf = (value: unknown): Fields =>
  typeof value === 'object' && value !== null ? (value as Fields) : {}

export const textIn = (value: unknown, longest = LONGEST_TEXT): string | undefined =>
  typeof value === 'string' ? visible(value.slice(0, longest)).replace(/\n/g, ' ').slice(0, longest) : undefined

export const amountIn = (value: unknown, most = Number.MAX_SAFE_INTEGER): number | undefined =>
  typeof value === 'number' && value >= 0 && value <= most ? value : undefined

export const timeIn = (value: unknown): string | undefined => {
  const at = typeof value === 'string' && value.length <= 30 ? Date.parse(value) : Number.NaN
  return Number.isNaN(at) ? undefined : new Date(at).toISOString()
}
