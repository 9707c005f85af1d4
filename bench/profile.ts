// Reads the CPU profiles that `--profile DIR` wrote, and prints where the time went: self time by function, highest
// first.
//
//     node bench/profile.ts DIR/*.cpuprofile

import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { table } from './measure.ts'

const SHOWN = 25

interface Profile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

const AT_REST = new Set(['(idle)', '(root)'])

for (const file of process.argv.slice(2)) {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8')) as Profile
  const names = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [
      id,
      url === '' ? functionName : `${functionName || '(anonymous)'} ${place(url)}:${lineNumber + 1}`,
    ]),
  )
  const self = new Map<string, number>()
  let busy = 0
  samples.forEach((id, index) => {
    const name = names.get(id) ?? '?'
    const us = timeDeltas[index] ?? 0
    if (AT_REST.has(name)) return
    busy += us
    self.set(name, (self.get(name) ?? 0) + us)
  })
  const rows = [...self].toSorted(([, a], [, b]) => b - a).slice(0, SHOWN)
  console.log(`\n${basename(file)}: ${(busy / 1e6).toFixed(1)} s not idle\n`)
  console.log(
    table(
      ['self time in', 'share', 'ms'],
      rows.map(([name, us]) => [name, `${((100 * us) / busy).toFixed(1)} %`, (us / 1000).toFixed(0)]),
    ),
  )
}

/** The path relative to the project or the package. */
function place(url: string): string {
  return url.replace(/^file:\/\//, '').replace(/^.*\/(dist|node_modules)\//, '')
}
