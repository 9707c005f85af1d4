/**
 * Listens for clients that speak before they are greeted. The session exists by then, so that it can be drained meanwhile.
 *
 *     no delay     what is here when the greeting is written came before it. Only a turn of the event loop passes until then
 *     a delay      `220-` at once, and `220 ` when the delay is over. Many bots take the first line for the whole reply, and go
 *                  on. Clients of whom we know some good, and those that have waited lately, do not wait
 *
 * A client that waits has nothing to say, however fast it is and whatever is between: a balancer's PROXY header has been read by
 * now. A header of a balancer that is not listed is heard here as well, but such a session hears 421 before its HELO
 * (foreign-header.ts). So is what a client sends after all; half a line counts, and no more is read than the first piece.
 *
 * A greeting refuses nobody: what it learns is judged at HELO (checks/pregreet.ts). If an honest server is refused in place of the
 * greeting, it defers everything it has for us, and after the first line of a greeting (`220-`) only the last line can follow.
 */
import type { Socket } from 'node:net'
import type { Client } from '../../core/client.ts'
import { within } from '../../core/deadline.ts'

/**
 * @param tease says the first line of the greeting
 * @returns whether the client has spoken; undefined for 220 at once, so that no promise is made
 */
export type Greeting = (client: Client, socket: Socket, tease: () => void) => Promise<boolean> | undefined

/** How long a client may be kept waiting for 220. Clients wait five minutes for it (RFC 5321 section 4.5.3.2.1). */
export const GREETING_DEADLINE_MS = 10_000

export interface GreetingOptions {
  /** Whether it matters at all if this client speaks too soon. */
  readonly listensTo: (client: Client) => boolean
  /** How long this client waits, in milliseconds; 0: it does not. */
  readonly delayMs: (client: Client) => number
  /** It has waited to the end, without a word. */
  readonly passed: (client: Client) => void
}

export function createGreeting({ listensTo, delayMs, passed }: GreetingOptions): Greeting {
  return (client, socket, tease) => {
    if (!listensTo(client)) return undefined
    const ms = delayMs(client)
    if (ms > 0) tease()
    return ms > 0 ? spokenWithin(socket, ms, () => passed(client)) : spokenBefore(socket)
  }
}

/** Whether something has come by now. @param socket paused */
async function spokenBefore(socket: Socket): Promise<boolean> {
  // It begins to read, and what comes stays in the socket.
  socket.read(0)
  await arrivals()
  return socket.readableLength > 0
}

/**
 * Whether something comes within `ms`. It does not wait for more, nor for a client that leaves.
 * @param socket paused @param silent called if the client is still there at the end, and has said nothing
 */
function spokenWithin(socket: Socket, ms: number, silent: () => void): Promise<boolean> {
  return new Promise((resolve) => {
    let isOver = false
    const over = (): void => {
      isOver = true
      clearTimeout(timer)
      socket.off('readable', over)
      socket.off('close', over)
      resolve(socket.readableLength > 0)
    }
    const late = (): void => {
      if (isOver) return
      silent()
      over()
    }
    // Timers run before sockets are read.
    const timer = setTimeout(() => setImmediate(late), ms)
    socket.once('readable', over)
    socket.once('close', over)
  })
}

/** Resolves when the event loop has read what has arrived: that is between the two. */
const arrivals = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

/** Resolves when `wait` resolves, fails or is late: the client is greeted in any case. */
export const waited = (wait: Promise<boolean>, failed: (error: unknown) => void): Promise<boolean> => {
  const unheard = wait.catch((error: unknown) => {
    failed(error)
    return false
  })
  return within(unheard, GREETING_DEADLINE_MS, () => false)
}
