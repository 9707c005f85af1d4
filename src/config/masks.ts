/**
 * What of a wrong value is told. A secret gets into settings that have none: a key in place of its path, a password in a URL that
 * needs no login. What does not look like what was asked for is therefore hidden, rather than what looks like a secret shown.
 */
import { HIDDEN } from './mistakes.ts'

const MASK = '***'
/** Longer than the names of files and folders usually are, shorter than a secret. */
const LONGEST_NAME = 23
const NAME = new RegExp(`^[\\w.-]{0,${LONGEST_NAME}}$`)
const EXTENSION = /\.[a-z]{2,5}$/

/** A base64 text may begin with a slash, too; its parts are longer. */
export const looksLikePath = (text: string): boolean =>
  (text.startsWith('/') || EXTENSION.test(text)) &&
  text.split('/').every((name) => NAME.test(name) || EXTENSION.test(name))

export const maskPath = (text: string): string => (looksLikePath(text) ? text : HIDDEN)

/** Of a list, path by path. */
export const maskPaths = (text: string): string => text.split(',').map(maskPath).join()

/** A name and a password before the @ of a URL, or of a host. An entry @/path of a list has nothing before it. */
export const maskLogin = (text: string): string =>
  text.replace(/(^|,)(\s*[a-z+]*:\/\/)?[^,]+@/g, (_, before: string, scheme = '') => `${before}${scheme}${MASK}@`)

/** With an @, a password can be anywhere before it; without one, it can be where the port belongs, or behind a ? or #. */
export function maskRedisUrl(text: string): string {
  // Without its beginning it may be anything: a password alone, or the line of a key.
  if (!/^[a-z+]+:\/\//.test(text)) return HIDDEN
  if (text.includes('@'))
    return text.replace(/^([^:]*:\/\/(?:[^:@]*:)?).*@/s, `$1${MASK}@`).replace(/[?#].*/s, `?${MASK}`)
  return text.replace(/(:\/\/[^:[]*:)(?!\d{1,5}(?:[,/?#]|$)).*/s, `$1${MASK}`).replace(/[?#].*/s, `?${MASK}`)
}

/** Whether a name that is no setting sounds like that of a secret. */
export const soundsSecret = (name: string): boolean => /TOKEN|PASS|KEY|SECRET|CRED|AUTH|LOGIN|USER/.test(name)
