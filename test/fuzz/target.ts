/** A server behind Spillway, as the fuzzer sees it: what it calls a message it has taken, and what it did with it. */
import type { ClientAddressMode } from '../../src/relay/smtp/client-attributes.ts'

export interface Delivered {
  /** What the server called it in its reply to the dot. */
  readonly id: string
  readonly recipient: string
  /** latin1; without the lines that the server put on top. */
  readonly content: string
}

export interface Target {
  readonly name: string
  /** The ways it can be told the client's address in, and where it listens for each: host:port. */
  readonly listeners: Readonly<Partial<Record<ClientAddressMode, string>>>
  /** Where a client without any proxy may connect; undefined where there is nothing to compare with. */
  readonly directPort: number | undefined
  /** What it called a message in its reply to the dot; undefined where it did not take it. */
  idOf(reply: string): string | undefined
  /** What becomes of a body (as it was on the client's wire) that begins with the header X-Mark. */
  expected(body: string): string
  /** Resolves when nothing is under way in it any more. */
  settled(): Promise<void>
  /** All that was delivered since the last time. It is gone from the server then. */
  collect(): Delivered[]
  stop(): Promise<void>
}

export const RECIPIENTS = ['anna@example.test', 'bert@example.test', 'carl@example.test', 'victim@example.test']
export const SIZE_LIMIT = 40_000

/** Such a message begins with a header of its own; what servers make of others is their own affair. */
export const isMarked = (body: string): boolean => /^X-Mark: [\w-]+\r\n\r\n/.test(body)

/** The mailbox a path leads to: without a source route, without needless quotes, in lower case. */
export const mailboxOf = (path: string): string =>
  path
    .replace(/^@[^:]*:/, '')
    .replace(/^"([a-z]+)"@/i, '$1@')
    .toLowerCase()

export const isKnown = (path: string): boolean => RECIPIENTS.includes(mailboxOf(path))
