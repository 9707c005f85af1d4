/** Text of others, made safe for whoever looks at it: a log, a terminal, a browser. */

/** Everything but printable ASCII and the end of the line. Nearly every line has none of it. */
const OTHER = /[^\n\x20-\x7e]+/g
/**
 * Those of these characters that a terminal or a browser obeys instead of showing, or does not show: controls (C0 and
 * C1), format characters (bidirectional marks, joiners, tags), line and paragraph separators, spaces other than U+0020,
 * lone surrogates, private and unassigned code points, and whatever else is default-ignorable in Unicode.
 */
const UNSEEN = /[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/gu

/**
 * Makes a line safe to show. Any of its fields may hold text from clients, balancers, upstreams, DNS or Redis; all of
 * it is escaped here at once. Characters that must not appear raw are written as JSON escapes (`\u202e`), so that a
 * program that parses the line gets the very text that was sent.
 * @param line JSON, in which such characters occur only within strings
 */
export const visible = (line: string): string =>
  line.replace(OTHER, (text) => text.replace(UNSEEN, (character) => character.split('').map(escaped).join('')))

/** The JSON escape of one UTF-16 code unit (RFC 8259 section 7). */
const escaped = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
