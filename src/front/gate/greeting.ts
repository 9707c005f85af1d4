/**
 * What a client that was let in waits for before it receives 220. Today this is nothing; a DNS lookup or a pregreet
 * test would go here. The session exists by then, so that it can be drained during the wait, but it reads nothing yet.
 *
 * A greeting refuses nobody: what it learns is judged at HELO. If an honest server is refused in place of the greeting,
 * it defers everything it has for us, and after the first line of a greeting (`220-`) only the last line can follow.
 */
import type { Socket } from 'node:net'
import type { Client } from '../../core/client.ts'
import { within } from '../../core/deadline.ts'

/** @returns undefined for 220 at once, so that no promise is made */
export type Greeting = (client: Client, socket: Socket) => Promise<void> | undefined

export const greetAtOnce: Greeting = () => undefined

/** How long a client may be kept waiting for 220. Clients wait five minutes for it (RFC 5321 section 4.5.3.2.1). */
export const GREETING_DEADLINE_MS = 10_000

/** Resolves when `wait` resolves, fails or is late: the client is greeted in any case. */
export const waited = (wait: Promise<void>, failed: (error: unknown) => void): Promise<void> =>
  within(wait.catch(failed), GREETING_DEADLINE_MS, () => undefined)
