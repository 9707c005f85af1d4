/** Signs of a client that is no mail server, in how it talks, and what an operator may want to follow from one. */

/** Of one session. A sign that has shown stays. */
export interface Signs {
  /** It said something before our greeting was whole (RFC 5321 section 3.1: a client waits for it). */
  readonly early: boolean
  /** It went on before a command was answered that had to be answered first (RFC 2920 section 3.1). */
  readonly hasty: boolean
  /** It has said HELO or EHLO before, with another name and over the same layer. */
  readonly renamed: boolean
  /** Clients of hundreds of networks have the name that it says. */
  readonly common: boolean
  /** A command of it ended in a bare LF, or had a bare CR in it (RFC 5321 section 2.3.8: lines end in CRLF, and neither comes alone). */
  readonly bareNewline: boolean
}

/**
 * off: nothing is looked at. observe: it is judged, counted and logged, and the client passes. defer: the client hears a 4yz, and
 * a mail server that is wronged tries again. reject: it hears a 5yz.
 */
export type SignMode = 'off' | 'observe' | 'defer' | 'reject'
