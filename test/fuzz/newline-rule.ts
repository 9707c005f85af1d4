/**
 * What a message must look like behind us, said as plainly as it can be, for comparison with what came out. It shares
 * nothing with the program: it takes the whole body at once, line by line.
 *
 * A body is what stands between the 354 and the final dot, dot-stuffed (RFC 5321 section 4.5.2), as latin1: empty, or
 * ending in CRLF.
 */

/** The lines, after bare LFs have become line ends and bare CRs spaces. A lone dot is one that a bare LF has set apart. */
const lines = (body: string): string[] =>
  body === ''
    ? []
    : body
        .slice(0, -2)
        .split('\r\n')
        .flatMap((line) => line.split('\n'))
        .map((line) => line.replaceAll('\r', ' '))

/** How it goes upstream: still stuffed, but for a dot before a NUL, which some take for the end where it stands alone. */
const restuffed = (line: string): string => (line === '.' ? '..' : line.startsWith('.\0') ? line.slice(1) : line)

export const relayed = (body: string): string =>
  lines(body)
    .map((line) => `${restuffed(line)}\r\n`)
    .join('')

/** What the message is for whoever reads it, with LF for a line end, as mail is stored. */
export const stored = (body: string): string =>
  lines(body)
    .map((line) => `${line !== '.' && line.startsWith('.') ? line.slice(1) : line}\n`)
    .join('')

/** Whether it has a line end that is not CRLF. */
export const hasBareNewline = (body: string): boolean => /[\r\n]/.test(body.replaceAll('\r\n', ''))

/**
 * A trace line on top is kept apart from a first line that would continue it (RFC 5322 section 2.2.3), also
 * where the dot before its blank is taken away (RFC 5321 section 4.5.2).
 * @param text a message as it was relayed @param traced whether there is such a line
 */
export const apart = (text: string, traced: boolean): string =>
  traced && /^\.?[ \t]/.test(text) ? `\r\n${text}` : text
