// How long a list of 100,000 networks takes to read from its file, and what it costs to look an address up in it. CPU time of this
// process, which does nothing else.
//
//     npm run bench:lists

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { load } from '../src/config/load.ts'
import { compile } from '../src/core/ip.ts'
import { removeFolder, temporaryFolder } from '../test/support/folders.ts'
import { addressAt, judged, median, table } from './measure.ts'
import { rounds } from './processes.ts'

const NETWORKS = 100_000
const LOOKUPS = 1_000_000
const GOAL_READ_MS = 1000
const GOAL_LOOKUP_US = 1

/** So many networks, none of them within another: addresses and /29s of IPv4 in turn with /56s of IPv6. */
const lines = Array.from({ length: NETWORKS }, (_, i) => {
  if (i % 4 === 3) return `2001:db8:${(i >> 8).toString(16)}:${(i & 255).toString(16)}00::/56`
  const first = addressAt('11.0.0.0', 8 * i)
  return i % 4 === 0 ? first : `${first}/29`
})
const [v4, v6] = [
  Array.from({ length: 1 << 16 }, (_, i) => addressAt('11.0.0.0', 13 * i)),
  Array.from({ length: 1 << 16 }, (_, i) => `2001:db8:${(i % 400).toString(16)}:${(i >> 8).toString(16)}00::1`),
]

/** CPU time of `run` in ms, once for each round. */
function timed(run: () => void): number[] {
  run()
  return Array.from({ length: rounds() }, () => {
    const before = process.cpuUsage()
    run()
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  })
}

const directory = temporaryFolder('spillway-bench')
try {
  const file = join(directory, 'deny')
  writeFileSync(file, `${lines.join('\n')}\n`)
  const env = { SPILLWAY_UPSTREAMS: '127.0.0.1:25', SPILLWAY_UPSTREAM_CLIENT_IP: 'none', SPILLWAY_DENY: `@${file}` }
  const sources = { env, readFile: (path: string) => readFileSync(path, 'utf8'), hostname: 'mx', openFiles: 20_000 }
  let isDenied = (_ip: string): boolean => false
  let networks = 0
  const read = timed(() => {
    const { deny } = load(sources).settings
    networks = deny.length
    isDenied = compile(deny)
  })
  let hits = 0
  const lookups = (addresses: readonly string[]) => () => {
    hits = 0
    for (let i = 0; i < LOOKUPS; i++) if (isDenied(addresses[i & 0xffff] as string)) hits++
  }
  const row = (what: string, addresses: readonly string[]): string[] => {
    const us = (median(timed(lookups(addresses))) * 1000) / LOOKUPS
    return [what, judged(us, { atMost: GOAL_LOOKUP_US }, 2, ' µs'), `${((100 * hits) / LOOKUPS).toFixed(0)} %`]
  }
  console.log(
    table(
      [`${networks} networks`, 'CPU time', 'of them denied'],
      [
        ['read from the file', judged(median(read), { atMost: GOAL_READ_MS }, 0, ' ms'), ''],
        row('an IPv4 address is looked up', v4),
        row('an IPv6 address is looked up', v6),
      ],
    ),
  )
} finally {
  removeFolder(directory)
}
