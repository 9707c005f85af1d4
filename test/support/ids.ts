/** Reads an id as the head of src/core/id.ts describes it, and as docs/refusals.md tells operators to read it. */
import { REASON_NAMES, REASONS, type ReasonName } from '../../src/core/reasons.ts'

const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

const numberOf = (digits: string): number => [...digits].reduce((sum, digit) => sum * 32 + DIGITS.indexOf(digit), 0)

/** @param id of a session, or of a refusal @returns undefined if it is neither */
export function readId(
  id: string,
): { at: Date; node: number; sequence: number; reason: ReasonName | undefined } | undefined {
  if (!/^(?:[0-9A-HJKMNP-TV-Z]{11}|[0-9A-HJKMNP-TV-Z]{13})$/.test(id)) return undefined
  const number = numberOf(id.slice(11))
  const reason = REASON_NAMES.find((name) => REASONS[name].number === number)
  if (number !== 0 && reason === undefined) return undefined
  return {
    at: new Date(Date.UTC(2025, 0, 1) + numberOf(id.slice(0, 6)) * 1000),
    node: numberOf(id.slice(6, 8)),
    sequence: numberOf(id.slice(8, 11)),
    reason,
  }
}
