/**
 * How much of the memory that it may have this process uses: the larger of two shares.
 *
 *     resident / limit    the limit is the smallest of the control groups that the process is in (cgroup v2 and v1), or the
 *                         memory of the machine; several workers have an equal part of it each
 *     heap / heap limit   of V8, which ends the process when its own limit is reached
 *
 * All is read from files of the kernel. Where they are missing, as on systems that are not Linux, only the heap counts.
 */
import { totalmem } from 'node:os'
import { getHeapStatistics } from 'node:v8'

/** @returns the text of a file; undefined if it cannot be read */
export type ReadText = (path: string) => string | undefined

const ROOT = '/sys/fs/cgroup'
/** What version 1 writes where there is no limit is near 2^63. */
const NO_LIMIT = 2 ** 60

/** A path and all those above it, down to the root: `/a/b` gives `/a/b`, `/a` and the empty text. */
function upwards(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..')
  return parts.map((_, i) => `/${parts.slice(0, parts.length - i).join('/')}`).concat('')
}

/** In octets; undefined where there is no limit. */
export function cgroupLimit(read: ReadText): number | undefined {
  let limit: number | undefined
  // hierarchy:controllers:path; in version 2 one line with `0::`, in version 1 one for each set of controllers.
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (controllers === undefined || path === undefined) continue
    const isV2 = controllers === ''
    if (!isV2 && !controllers.split(',').includes('memory')) continue
    for (const each of upwards(path)) {
      const text = read(isV2 ? `${ROOT}${each}/memory.max` : `${ROOT}/memory${each}/memory.limit_in_bytes`)
      const octets = Number(text?.trim() || Number.NaN)
      if (octets > 0 && octets < NO_LIMIT && (limit === undefined || octets < limit)) limit = octets
    }
  }
  return limit
}

/** Resident memory of this process, in octets; undefined where the kernel does not tell. */
export function residentMemory(read: ReadText): number | undefined {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(read('/proc/self/status') ?? '')?.[1]
  return kib === undefined ? undefined : Number(kib) * 1024
}

/** What this process may have, in octets. @param of processes that share the limit */
export const memoryLimit = (read: ReadText, of: number, machine = totalmem()): number =>
  Math.min(cgroupLimit(read) ?? machine, machine) / of

export function memoryShare(
  read: ReadText,
  limit: number,
  { used_heap_size: heap, heap_size_limit: heapLimit } = getHeapStatistics(),
): number {
  return Math.max((residentMemory(read) ?? 0) / limit, heap / heapLimit)
}
