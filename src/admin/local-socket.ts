/**
 * The admin port as a socket in the file system. Whoever may open the file may do everything, without a token: the file is for its owner
 * and its group alone (mode 0660), and no browser can open it.
 *
 * A process that was killed leaves its socket behind. It is removed if nobody answers there. Nothing else is ever removed: where several
 * start at once, one of them may have put its own in the place of what another has found dead.
 */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type BigIntStats, chmodSync, linkSync, lstatSync, renameSync, unlinkSync } from 'node:fs'
import { createConnection, type Server } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { unlessGone } from '../core/errors.ts'

const MODE = 0o660
const PATIENCE_MS = 2000
/** Whoever has just made a socket listens there by then. */
const AGAIN_MS = 50

/** Runs this with a mask for new files that leaves them to their owner and group. */
export type Privately = (act: () => void) => void

/** Resolves when it listens. Rejects with the error of the system. */
export async function listenAt(server: Server, path: string, backlog: number, privately?: Privately): Promise<void> {
  try {
    await listen(server, path, backlog, privately)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || !(await isLeftBehind(path))) throw error
    await listen(server, path, backlog, privately)
  }
}

/** Removes a socket at which nobody answers. @returns false: there is something else */
async function isLeftBehind(path: string): Promise<boolean> {
  const dead = socketAt(path)
  if (dead === undefined || (await isAnswered(path))) return false
  await setTimeout(AGAIN_MS)
  return !(await isAnswered(path)) && removed(path, dead)
}

/** Takes it away under another name first: what it then turns out to be is this one, or is put back. @returns false: it was another one */
function removed(path: string, dead: BigIntStats): boolean {
  const aside = `${path}.${randomBytes(4).toString('hex')}`
  try {
    renameSync(path, aside)
  } catch (error) {
    unlessGone(error as NodeJS.ErrnoException)
    return true
  }
  const found = lstatSync(aside, { bigint: true })
  const isIt = found.ino === dead.ino && found.mtimeNs === dead.mtimeNs
  try {
    if (!isIt) linkSync(aside, path)
  } catch {
    // Yet another one has its own there by now.
  }
  unlinkSync(aside)
  return isIt
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

/** @returns undefined: there is none */
function socketAt(path: string): BigIntStats | undefined {
  try {
    const found = lstatSync(path, { bigint: true })
    return found.isSocket() ? found : undefined
  } catch {
    return undefined
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
