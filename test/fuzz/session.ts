/** A client's session as it can be played again: what it writes, in which pieces, where it waits, and how it leaves. */

export interface Piece {
  /** Each is one write; latin1. */
  readonly parts: readonly string[]
  /** Whether all replies that are due are waited for behind it. */
  readonly wait: boolean
  /** Sent only where a message is asked for, as a client that does not pipeline would. */
  readonly ifAsked: boolean
}

/** fin: only its own direction is closed, and it reads on. close: as a program that ends. */
export type Leave = 'fin' | 'reset' | 'close'

export interface Session {
  readonly pieces: readonly Piece[]
  /** undefined: it waits for all that is due, and for the server to close where it has said QUIT. */
  readonly leave: Leave | undefined
}

const hex = (text: string): string => Buffer.from(text, 'latin1').toString('hex')
const unhex = (text: string): string => Buffer.from(text, 'hex').toString('latin1')

/** What a file for `--replay` holds. */
export interface Recorded {
  readonly server: string
  readonly variant: string
  readonly seed: number
  readonly findings: readonly string[]
  /** Parts in hexadecimal. */
  readonly sessions: readonly Session[]
  /** The same to be read by people. */
  readonly shown?: readonly string[]
}

const mapped = (session: Session, change: (text: string) => string): Session => ({
  ...session,
  pieces: session.pieces.map((piece) => ({ ...piece, parts: piece.parts.map(change) })),
})

export const toHex = (session: Session): Session => mapped(session, hex)
export const fromHex = (session: Session): Session => mapped({ ...session, leave: session.leave ?? undefined }, unhex)

export const bytesOf = ({ pieces }: Session): string => pieces.flatMap(({ parts }) => parts).join('')
