import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { test } from '@jest/globals'
import { eventually, startApp } from '../support/app.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const held = (): number => {
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

interface Lived {
  /** What was held before it. */
  readonly before: number
  /** What its tables took. */
  readonly tables: number
}

/** Starts an app and stops it. Nothing of it is left in the hands of whoever calls. */
async function lived(): Promise<Lived> {
  const before = held()
  const app = await startApp('127.0.0.1:9')
  const tables = held() - before
  await app.stop()
  return { before, tables }
}

test('an app that was stopped leaves none of its tables in memory', async () => {
  // What earlier test files have left in this process may be given back just then, and more than the tables take.
  const { before, tables } = await eventually(lived, (each) => each.tables > 10_000_000)
  await eventually(held, (now) => now - before < tables / 10)
})
