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

/** @returns undefined if this process, `pid`, was passed none */
export function inheritedSockets(env: NodeJS.ProcessEnv, pid: number): Inherited | undefined {
  const count = Number(env.LISTEN_FDS ?? 0)
  // The variables may have been meant for a process that started this one.
  if (env.LISTEN_PID !== String(pid) || !Number.isInteger(count) || count < 1) return undefined
  const names = env.LISTEN_FDNAMES?.split(':') ?? []
  const fds = Array.from({ length: count }, (_, i) => FIRST_FD + i)
  return {
    mail: fds.filter((_, i) => names[i] !== ADMIN),
    admin: fds.find((_, i) => names[i] === ADMIN),
  }
}
