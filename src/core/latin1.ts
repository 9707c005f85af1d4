/** Text from the wire is kept in Latin-1, one character per byte, so that UTF-8 (RFC 6531) survives. */

// biome-ignore lint/suspicious/noControlCharactersInRegex: the bytes that are ASCII
const ASCII = /^[\x00-\x7f]*$/

export const isAscii = (text: string): boolean => ASCII.test(text)

/** What the bytes mean as UTF-8. @param text in Latin-1 */
export const utf8Of = (text: string): string => Buffer.from(text, 'latin1').toString('utf8')
