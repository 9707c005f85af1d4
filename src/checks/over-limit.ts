/** The check of a limit that was charged before (core/limits.ts): has this client used more than it may? */
import type { LimitName } from '../core/limits.ts'
import { type Check, verdictOn } from '../core/policy.ts'
import { checkOf } from '../core/reasons.ts'

/** @param stage the stage before which the limit is charged */
export const overLimit = <S extends 'connect' | 'rcpt'>(stage: S, limit: LimitName): Check<S> => ({
  name: checkOf(limit),
  stage,
  sparesTrusted: true,
  judge: ({ usage }) => verdictOn(limit, usage[limit]),
})
