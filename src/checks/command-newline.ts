/**
 * Refuses whoever ends a command in a bare LF, or has a bare CR in it. RFC 5321 section 2.3.8 allows neither, and no mail server sends
 * them; but home-made programs and old devices do, and what they mean is clear. Lines of a message are judged elsewhere
 * (SPILLWAY_BARE_NEWLINE).
 */
import { ACCEPT, type Check, type Facts, refusalAs, type Verdict } from '../core/policy.ts'
import type { SignMode } from '../core/signs.ts'

const verdictOn =
  (mode: SignMode) =>
  ({ signs }: Pick<Facts['helo'], 'signs'>): Verdict =>
    mode === 'off' || !signs.bareNewline ? ACCEPT : refusalAs(mode === 'defer' ? 'defer' : 'reject', 'command_newline')

const COMMON = { name: 'command-newline', sparesTrusted: true } as const

export const commandNewlineAtHelo = (mode: SignMode): Check<'helo'> => ({
  ...COMMON,
  stage: 'helo',
  judge: verdictOn(mode),
})

export const commandNewlineAtMail = (mode: SignMode): Check<'mail'> => ({
  ...COMMON,
  stage: 'mail',
  judge: verdictOn(mode),
})
