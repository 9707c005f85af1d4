/** What this process lacks to hand clients to the kernel (SPILLWAY_KERNEL_OFFLOAD). */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PROGRAMS } from '../kernel/nft.ts'

/** capabilities(7) */
const CAP_NET_ADMIN = 12n

/** In words that go on after "it needs". @param path as in the environment */
export function lacksForNft(path = ''): string[] {
  const lacks: string[] = []
  const folders = path.split(':').filter((folder) => folder !== '')
  const places = PROGRAMS.flatMap((program) =>
    program.includes('/') ? program : folders.map((at) => join(at, program)),
  )
  if (!places.some((place) => existsSync(place))) lacks.push('the program nft (install the package nftables)')
  if (!mayAdminister()) lacks.push('CAP_NET_ADMIN, as an ambient capability or as root')
  return lacks
}

/** Whether a child process of ours may. Where the system does not say, it shows when it is tried. */
function mayAdminister(): boolean {
  try {
    const status = readFileSync('/proc/self/status', 'utf8')
    const isRoot = /^Uid:\s+\d+\s+0\s/m.test(status)
    // What a child of a plain user keeps are the ambient ones.
    const set = new RegExp(`^${isRoot ? 'CapEff' : 'CapAmb'}:\\s+([0-9a-f]+)$`, 'm').exec(status)?.[1]
    return set === undefined || ((BigInt(`0x${set}`) >> CAP_NET_ADMIN) & 1n) === 1n
  } catch {
    return true
  }
}
