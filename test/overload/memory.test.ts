/** What a process may have, as the kernel writes it, and how much of it is used. */
import { describe, expect, test } from '@jest/globals'
import { cgroupLimit, memoryLimit, memoryShare, residentMemory } from '../../src/overload/memory.ts'

const files =
  (all: Readonly<Record<string, string>>) =>
  (path: string): string | undefined =>
    all[path]
const MIB = 2 ** 20

describe('the limit', () => {
  test('of a container with cgroup v2', () => {
    const read = files({ '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/memory.max': '536870912\n' })
    expect(cgroupLimit(read)).toBe(512 * MIB)
    expect(memoryLimit(read, 1, 4096 * MIB)).toBe(512 * MIB)
    expect(memoryLimit(read, 4, 4096 * MIB)).toBe(128 * MIB)
  })

  test('of a unit of systemd is the smallest on its way up', () => {
    const read = files({
      '/proc/self/cgroup': '0::/system.slice/spillway.service\n',
      '/sys/fs/cgroup/system.slice/spillway.service/memory.max': 'max\n',
      '/sys/fs/cgroup/system.slice/memory.max': `${900 * MIB}\n`,
      '/sys/fs/cgroup/memory.max': `${950 * MIB}\n`,
    })
    expect(cgroupLimit(read)).toBe(900 * MIB)
  })

  test('of cgroup v1 is that of the memory controller', () => {
    const read = files({
      '/proc/self/cgroup': '12:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n',
      '/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes': `${256 * MIB}\n`,
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
    })
    expect(cgroupLimit(read)).toBe(256 * MIB)
  })

  test('that there is none is the memory of the machine, and so is one that is larger', () => {
    const none = files({ '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/memory.max': 'max\n' })
    expect(cgroupLimit(none)).toBeUndefined()
    expect(memoryLimit(none, 1, 100 * MIB)).toBe(100 * MIB)
    expect(cgroupLimit(files({}))).toBeUndefined()
    const large = files({ '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/memory.max': `${200 * MIB}` })
    expect(memoryLimit(large, 1, 100 * MIB)).toBe(100 * MIB)
  })
})

describe('the share', () => {
  const status = files({ '/proc/self/status': 'Name:\tnode\nVmPeak:\t 900000 kB\nVmRSS:\t   51200 kB\nThreads:\t7\n' })
  const heap = (used: number, limit: number) => ({ used_heap_size: used, heap_size_limit: limit }) as never

  test('is the larger of resident memory and heap', () => {
    expect(residentMemory(status)).toBe(50 * MIB)
    expect(memoryShare(status, 100 * MIB, heap(10, 100))).toBe(0.5)
    expect(memoryShare(status, 100 * MIB, heap(90, 100))).toBe(0.9)
    expect(memoryShare(files({}), 100 * MIB, heap(10, 100))).toBe(0.1)
  })
})
