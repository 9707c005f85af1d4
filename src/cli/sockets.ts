import { fstatSync } from 'node:fs'
import type { Loaded } from '../config/load.ts'

/**
 * Sockets that a service manager has opened and passed on (sd_listen_fds(3)). They stay open while Spillway restarts, so
 * that connections made meanwhile wait instead of being refused.
 */
export interface Inherited {
  /** File descriptors of sockets that listen for mail. */
  readonly mail: readonly number[]
  /** Of one that is named `admin`; undefined if there is none. */
  readonly admin: number | undefined
}

const FIRST_FD = 3
const ADMIN = 'admin'

/** What the service manager passed cannot be used. The message says what to do. */
export class SocketsError extends Error {}

function countOf({ LISTEN_FDS = '' }: NodeJS.ProcessEnv): number {
  const count = Number(LISTEN_FDS)
  if (Number.isInteger(count) && count >= 1) return count
  throw new SocketsError(
    `LISTEN_FDS=${JSON.stringify(LISTEN_FDS)} is not the number of sockets that were passed: let systemd set it, or unset LISTEN_PID`,
  )
}

function namesOf({ LISTEN_FDNAMES }: NodeJS.ProcessEnv, count: number): readonly string[] {
  if (LISTEN_FDNAMES === undefined) return []
  const names = LISTEN_FDNAMES.split(':')
  if (names.length !== count)
    throw new SocketsError(
      `LISTEN_FDNAMES=${JSON.stringify(LISTEN_FDNAMES)} names ${names.length} of the ${count} sockets in LISTEN_FDS: name each, or unset it`,
    )
  if (names.indexOf(ADMIN) !== names.lastIndexOf(ADMIN))
    throw new SocketsError(
      'more than one of the sockets is named "admin": let FileDescriptorName=admin stand in one socket unit, with one ListenStream=',
    )
  return names
}

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket()
  } catch {
    return false
  }
}

/**
 * @returns undefined if this process, `pid`, was passed none
 * @throws SocketsError
 */
export function inheritedSockets(env: NodeJS.ProcessEnv, pid: number): Inherited | undefined {
  // The variables may have been meant for a process that started this one.
  if (env.LISTEN_PID !== String(pid)) return undefined
  const count = countOf(env)
  const names = namesOf(env, count)
  const mail: number[] = []
  let admin: number | undefined
  for (let i = 0; i < count; i++) {
    const fd = FIRST_FD + i
    if (!isSocket(fd))
      throw new SocketsError(
        `LISTEN_FDS=${count}, but file descriptor ${fd} is no socket: pass as many as it says, from file descriptor 3 on`,
      )
    if (names[i] === ADMIN) admin = fd
    else mail.push(fd)
  }
  return { mail, admin }
}

/** What of the settings is not used, for sockets were passed instead. */
export function unusedFor({ mail, admin }: Inherited, { origins, settings }: Loaded): readonly string[] {
  const unused = (what: string, more = ''): string =>
    `${what} is not listened on: the service manager has passed sockets instead${more}`
  const port = settings.adminListen.socket === undefined ? '' : ', but for its unix: socket,'
  return [
    ...(mail.length > 0 && origins.listen !== 'default' ? [unused('SPILLWAY_LISTEN')] : []),
    ...(admin !== undefined && origins.adminListen !== 'default'
      ? [unused(`SPILLWAY_ADMIN_LISTEN${port}`, '; only verbs that ask the node, and --take-over, ask there')]
      : []),
  ]
}
