/**
 * How many files this process may have open. Node raises the soft limit to the hard one, but has no call to read it.
 */
import { readFileSync } from 'node:fs'

/** Assumed where the system does not say: the usual default for decades. */
const ASSUMED = 1024

/** @returns Infinity where there is no limit */
export function openFiles(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1]
    if (soft === 'unlimited') return Number.POSITIVE_INFINITY
    return soft === undefined ? ASSUMED : Number(soft)
  } catch {
    return ASSUMED
  }
}
