/** Errors: how a thrown value is reported (it need not be an Error), and what the system does not say by itself. */

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** With the stack where there is one; for the log. */
export const stackOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error)

/** For an answer of the file system, as in `stat(path).catch(unlessGone)`. @returns undefined: there is no such file */
export function unlessGone(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

/** A socket that was passed to us is of another kind. The code is the system's for sockets that cannot listen. */
export const notTcp = (): NodeJS.ErrnoException =>
  Object.assign(new Error('listen EINVAL: not a TCP socket'), { code: 'EINVAL', syscall: 'listen' })
