/**
 * What a client that was let in waits for before it hears 220. Today nothing; a DNS lookup or a pregreet test has its place
 * here. The session exists by then, so that it can be drained meanwhile, but reads nothing yet.
 *
 * A greeting refuses nobody: what it learns is judged at HELO. A refusal in place of the greeting makes an honest server put
 * off everything it has for us, and after the first line of a greeting (`220-`) only its last line can follow.
 */
import type { Socket } from 'node:net'
import type { Client } from '../../core/client.ts'
import { within } from '../../core/deadline.ts'

/** Undefined: 220 at once, and no promise is made. */
export type Greeting = (client: Client, socket: Socket) => Promise<void> | undefined

export const greetAtOnce: Greeting = () => undefined

/** How long a client that was let in may be kept without its 220. RFC 5321 section 4.5.3.2.1 has it wait five minutes. */
export const GREETING_DEADLINE_MS = 10_000

/** Resolves when `wait` does, fails, or is late: whatever becomes of it, the client is greeted. */
export const waited = (wait: Promise<void>, failed: (error: unknown) => void): Promise<void> =>
  within(wait.catch(failed), GREETING_DEADLINE_MS, () => undefined)
