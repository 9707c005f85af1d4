/**
 * The result of a command, as one value: what the client reads, what follows, and what it counts as. There is no other way to say
 * anything about a reply.
 */

export interface ClientReply {
  /** All its lines with their CRLFs; latin1, one byte per character. Empty if nobody is left to read it. */
  readonly text: string
  readonly next: Next
  readonly counts: Counts
}

/**
 * What follows a reply: a command, the text of a message, a TLS handshake, or the close, after which nothing is answered. drop: the
 * close, without waiting for the client to close its side as well.
 */
export type Next = 'command' | 'text' | 'handshake' | 'close' | 'drop'

/**
 * What a command counts as between two messages. junk: it brings no mail. mistake: it is wrong in itself. refused: it was not wrong, but we
 * or a mail server refused it. foreign: it is of another protocol. message: a message came to its end, and all counts start again.
 */
export type Counts = 'nothing' | 'junk' | 'mistake' | 'refused' | 'foreign' | 'message'

/** A reply after which the session goes on. */
export const goOn = (text: string, counts: Counts = 'nothing'): ClientReply => ({ text, next: 'command', counts })

/** The last reply. */
export const close = (text: string): ClientReply => ({ text, next: 'close', counts: 'nothing' })

/** The client left while its reply was being made. */
export const UNREAD: ClientReply = goOn('')
