/** What certificates say, as operators read it. */
import type { X509Certificate } from 'node:crypto'

/** To the second, which is as fine as certificates are. */
export const inSeconds = (date: Date): string => date.toISOString().replace('.000', '')

/** The names in its subjectAltName, in their order; `all`: addresses as well. */
export function altNames({ subjectAltName = '' }: X509Certificate, which: 'names' | 'all'): string[] {
  const kinds = which === 'names' ? /(?:^|, )DNS:([^,"]+)/g : /(?:^|, )(?:DNS|IP Address):([^,"]+)/g
  return [...subjectAltName.matchAll(kinds)].map(([, name]) => name as string)
}
