/**
 * The admin port as a socket in the file system. Whoever may open the file may do everything, without a token: the file is for its owner
 * and its group alone (mode 0660), and no browser can open it.
 *
 * A process that was killed leaves its socket behind. It is removed if nobody answers there. Nothing else is ever removed.
 */
import { once } from 'node:events'
import { chmodSync, lstatSync, unlinkSync } from 'node:fs'
import { createConnection, type Server } from 'node:net'

const MODE = 0o660
const PATIENCE_MS = 2000

/** Runs this with a mask for new files that leaves them to their owner and group. */
export type Privately = (act: () => void) => void

/** Resolves when it listens. Rejects with the error of the system. */
export async function listenAt(server: Server, path: string, backlog: number, privately?: Privately): Promise<void> {
  try {
    await listen(server, path, backlog, privately)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || !isSocket(path) || (await isAnswered(path)))
      throw error
    unlinkSync(path)
    await listen(server, path, backlog, privately)
  }
}

async function listen(server: Server, path: string, backlog: number, privately?: Privately): Promise<void> {
  const listening = once(server, 'listening')
  // It is bound by the end of this, or never.
  const bind = (): void => void server.listen({ path, backlog })
  if (privately !== undefined) privately(bind)
  else {
    bind()
    if (server.listening) chmodSync(path, MODE)
  }
  await listening
}

function isSocket(path: string): boolean {
  try {
    return lstatSync(path).isSocket()
  } catch {
    return false
  }
}

/** Whether a process listens there. One that does not answer for a while may only be busy. */
const isAnswered = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createConnection({ path, timeout: PATIENCE_MS })
    const end = (answered: boolean): void => {
      socket.destroy()
      resolve(answered)
    }
    socket.on('connect', () => end(true))
    socket.on('timeout', () => end(true))
    socket.on('error', ({ code }: NodeJS.ErrnoException) => end(code !== 'ECONNREFUSED' && code !== 'ENOENT'))
  })
