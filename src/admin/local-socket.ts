/**
 * The admin port as a socket in the file system. Whoever may open the file may do everything, without a token: the file is for its owner
 * and its group alone (mode 0660), and no browser can open it.
 *
 * A process that was killed leaves its socket behind. It is removed if nobody answers there. Nothing else is ever removed.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs'
import { createConnection, type Server } from 'node:net'

const MODE = 0o660
const PATIENCE_MS = 2000

/** Resolves when it listens. Rejects with the error of the system. */
export async function listenAt(server: Server, path: string, backlog: number): Promise<void> {
  try {
    await listen(server, path, backlog)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || !isSocket(path) || (await isAnswered(path)))
      throw error
    unlinkSync(path)
    await listen(server, path, backlog)
  }
}

function listen(server: Server, path: string, backlog: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path, backlog }, () => {
      server.off('error', reject)
      resolve()
    })
    // It is bound by now, or never. Nobody has been accepted yet.
    if (server.listening) chmodSync(path, MODE)
  })
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
