/**
 * Refuses whoever goes on before it may. What EHLO offers is not known before it is answered, so nothing may follow it, and after
 * HELO nothing was offered (RFC 2920 sections 3.1 and 3.2). Only what came in one piece with the command counts, so that no haste
 * of the network is held against anybody. DATA, and what is between QUIT or RSET and the end, is left out: there careless
 * programs of good will are as hasty as bots.
 */
import { ACCEPT, type Check, type Facts, refusalAs, type Verdict } from '../core/policy.ts'
import type { SignMode } from '../core/signs.ts'

const verdictOn =
  (mode: SignMode) =>
  ({ signs }: Pick<Facts['helo'], 'signs'>): Verdict =>
    mode === 'off' || !signs.hasty ? ACCEPT : refusalAs(mode === 'defer' ? 'defer' : 'reject', 'pipelining')

const COMMON = { name: 'pipelining', sparesTrusted: true } as const

export const pipeliningAtHelo = (mode: SignMode): Check<'helo'> => ({
  ...COMMON,
  stage: 'helo',
  judge: verdictOn(mode),
})

export const pipeliningAtMail = (mode: SignMode): Check<'mail'> => ({
  ...COMMON,
  stage: 'mail',
  judge: verdictOn(mode),
})
