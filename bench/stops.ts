// SIGTERM under load, many times: what became of every message, and of every stop.
//
//     npm run stops [-- --stops N]

import { runStops } from '../test/soak/stops.ts'
import { progress, table } from './measure.ts'
import { benchmark, option } from './processes.ts'

await benchmark(async () => {
  const stops = Number(option('stops') ?? 100)
  const begun = performance.now()
  const result = await runStops({ stops, progress: (done) => progress(`stop ${done} of ${stops}`) })
  progress('')
  const rows = [1, 2].map((workers) => {
    const those = result.stops.filter((stop) => stop.workers === workers)
    return [
      `SPILLWAY_WORKERS=${workers}`,
      String(those.length),
      String(those.filter(({ code }) => code === 0).length),
      String(those.reduce((sum, { pastDot }) => sum + pastDot, 0)),
      `${Math.max(...those.map(({ ms }) => ms))} ms`,
    ]
  })
  console.log(table(['SIGTERM under load', 'stops', 'exit code 0', 'messages past their dot', 'longest stop'], rows))
  const { messages, attempts, putOff, lost, doubled, unknown, undelivered, bounced } = result.verdict
  const counts = [
    messages,
    attempts,
    putOff,
    ...[lost, doubled, unknown, undelivered, bounced].map(({ length }) => length),
  ]
  const heads = [
    'messages',
    'attempts',
    'put off behind 220',
    'lost',
    'doubled',
    'logged unknown',
    'never delivered',
    'heard 5yz',
  ]
  console.log(`\n${table(heads, [counts.map(String)])}`)
  console.log(`\n${stops} stops in ${((performance.now() - begun) / 1000).toFixed(0)} s`)
  for (const fault of result.faults) console.error(fault)
  if (result.faults.length > 0) process.exitCode = 1
})
