import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from '@jest/globals'
import { eventually, startApp } from '../support/app.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const held = (): number => {
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

/** Starts an app and stops it; what its tables took. Nothing of it is left in the hands of whoever calls. */
async function lived(): Promise<number> {
  const before = held()
  const app = await startApp('127.0.0.1:9')
  const tables = held() - before
  await app.stop()
  return tables
}

test('an app that was stopped leaves none of its tables in memory', async () => {
  const before = held()
  const tables = await lived()
  expect(tables).toBeGreaterThan(10_000_000)
  await eventually(held, (now) => now - before < tables / 10)
})
