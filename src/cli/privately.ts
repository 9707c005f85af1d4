/** Others than owner and group have no access to a socket or a file; nobody may run it. */
const MASK = 0o117

/** Runs this with a mask for new files that leaves them to their owner and group. What it makes has to be there when it returns. */
export function privately(act: () => void): void {
  const before = process.umask(MASK)
  try {
    act()
  } finally {
    process.umask(before)
  }
}
