/** How many files this process may open. Node raises its soft limit to the hard one, but has no call that tells it. */
import { readFileSync } from 'node:fs'

/** Where the system does not say: the usual default for decades. */
const UNTOLD = 1024

/** @returns Infinity where there is no limit */
export function openFiles(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1]
    if (soft === 'unlimited') return Number.POSITIVE_INFINITY
    return soft === undefined ? UNTOLD : Number(soft)
  } catch {
    return UNTOLD
  }
}
