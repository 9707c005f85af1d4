/** The key of the HMACs in the log. With one that can be guessed, whoever has the log can try addresses. */
import { type Scalar, scalar, secret } from './kinds.ts'

const SHORTEST = 24

export const hmacKey: Scalar<string> = scalar({
  ...secret,
  word: 'secret',
  what: `a word of at least ${SHORTEST} visible ASCII characters, without spaces`,
  parse(text) {
    const parsed = secret.parse(text)
    if ('hint' in parsed || text.length >= SHORTEST) return parsed
    return { hint: 'a short one can be guessed, and with it all addresses; make one with: openssl rand -hex 24' }
  },
})
