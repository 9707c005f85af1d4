/**
 * npm run fuzz [-- --minutes 60] [--seed N] [--server scripted|postfix|…|all] [--replay FILE]
 *
 * Plays sessions that fast-check draws against Spillway in front of each server in turn, in each way it can be set up,
 * and ends with code 1 when something is wrong: the seed and the smallest sessions that show it are then in a file below
 * .cache/fuzz, which `--replay` plays again.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { compare } from './compare.ts'
import { type Found, hunt } from './hunt.ts'
import { bytesOf, fromHex, type Recorded, toHex } from './session.ts'
import { nameOf, startStage, type Variant, variantsOf } from './stage.ts'
import type { Target } from './target.ts'
import { TARGETS } from './targets.ts'

const RUNS = 50
const SHRINK_MS = 180_000
const REPLAYS = 20
const FOLDER = join(import.meta.dirname, '../../.cache/fuzz')

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    server: { type: 'string', default: 'all' },
    replay: { type: 'string' },
  },
})
const total = { batches: 0, sessions: 0, transactions: 0, accepted: 0, bodies: 0, unheard: 0 }
const say = (text: string): void => console.log(`${new Date().toISOString().slice(0, 19)} ${text}`)
const mebibytes = (octets: number): number => Math.round(octets / 2 ** 20)
const counts = (): string =>
  `${total.batches} batches, ${total.sessions} sessions, ${total.transactions} dots answered, ${total.accepted} with 250, ` +
  `${total.bodies} bodies compared, ${total.unheard} delivered to clients that had left; ` +
  `${mebibytes(process.memoryUsage.rss())} MiB resident, ${mebibytes(process.memoryUsage().heapUsed)} in use`

// It takes what others leave.
setPriority(10)
const targets: Target[] = []
let stopping = false
const stopAll = async (): Promise<void> => {
  for (const target of targets.splice(0)) await target.stop()
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    stopping = true
    say('ending')
  })
}

function record(found: Found, target: Target, variant: Variant, seed: number): void {
  mkdirSync(FOLDER, { recursive: true })
  const file = join(FOLDER, `${target.name}-${seed}.json`)
  const recorded: Recorded = {
    server: target.name,
    variant: nameOf(variant),
    seed,
    findings: found.findings,
    shown: found.sessions.map((session) => JSON.stringify(bytesOf(session))),
    sessions: found.sessions.map(toHex),
  }
  writeFileSync(file, `${JSON.stringify(recorded, undefined, 1)}\n`)
  for (const finding of found.findings) say(`FOUND ${finding}`)
  say(`${target.name} ${nameOf(variant)}, seed ${seed}; again with --replay ${file}`)
}

async function search(): Promise<void> {
  const first = Number(values.seed)
  const until = performance.now() + Number(values.minutes) * 60_000
  const names = values.server === 'all' ? Object.keys(TARGETS) : values.server.split(',')
  say(`seed ${first}, ${names.join(' and ')}, ${values.minutes} minutes`)
  for (const name of names) {
    const start = TARGETS[name]
    if (start === undefined) throw new Error(`there is no server ${name}, only ${Object.keys(TARGETS)}`)
    targets.push(await start())
  }
  let nextLine = performance.now() + 60_000
  const tick = (): void => {
    if (performance.now() < nextLine) return
    nextLine += 60_000
    say(counts())
  }
  for (let round = 0; performance.now() < until && !stopping; round++) {
    const target = targets[round % targets.length] as Target
    const variants = variantsOf(target)
    const variant = variants[Math.floor(round / targets.length) % variants.length] as Variant
    const seed = first + round
    const found = await hunt({
      seed,
      runs: RUNS,
      target,
      variant,
      shrinkMs: SHRINK_MS,
      stopped: () => stopping,
      first: (findings) => say(`something is wrong with ${target.name}, and is made smaller: ${findings.join('\n')}`),
      done(sessions, comparison) {
        total.batches++
        total.sessions += sessions.length
        total.transactions += comparison.transactions
        total.accepted += comparison.accepted
        total.bodies += comparison.bodies
        total.unheard += comparison.unheard
        tick()
      },
    })
    if (found === undefined) continue
    record(found, target, variant, seed)
    process.exitCode = 1
    break
  }
  say(`${process.exitCode === 1 ? 'something is wrong' : 'nothing found'}: ${counts()}`)
}

async function replay(file: string): Promise<void> {
  const recorded = JSON.parse(readFileSync(file, 'utf8')) as Recorded
  const target = await (TARGETS[recorded.server] as () => Promise<Target>)()
  targets.push(target)
  const variant = variantsOf(target).find((each) => nameOf(each) === recorded.variant) as Variant
  const sessions = recorded.sessions.map(fromHex)
  let failed = 0
  for (let time = 0; time < REPLAYS; time++) {
    const stage = await startStage(target, variant)
    const { findings } = await compare(stage, sessions)
    await stage.stop()
    if (findings.length > 0) failed++
    for (const finding of findings) say(finding)
  }
  say(`wrong in ${failed} of ${REPLAYS} times`)
  if (failed > 0) process.exitCode = 1
}

try {
  await (values.replay === undefined ? search() : replay(values.replay))
} finally {
  await stopAll()
}
