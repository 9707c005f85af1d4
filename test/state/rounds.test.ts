/** Rounds of background work: one after the other, and what failures and stopping do to them. */
import { expect, test } from '@jest/globals'
import { Rounds } from '../../src/state/rounds.ts'
import { SharingFailures } from '../../src/state/sharing-failures.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { eventually } from '../support/app.ts'

function begin(work: () => Promise<void>, isDue = () => true) {
  const told: string[] = []
  const log = { warn: ({ err }: { err: string }) => told.push(err) } as unknown as Log
  const failures = new SharingFailures({ elapsed: () => 0, log }, 'nothing is shared')
  return { told, rounds: new Rounds({ everyMs: 5, isDue, work, failures }) }
}

test('a round begins when the one before is over, and a failure is told and ends none of the later ones', async () => {
  const ends = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let begun = 0
  const { rounds, told } = begin(() => ends[begun++]?.promise ?? Promise.resolve())
  const first = rounds.step()
  expect(rounds.step()).toBe(first)
  expect(begun).toBe(1)
  ends[0]?.reject(new Error('away'))
  await first
  expect(told).toEqual(['away'])
  const second = rounds.step()
  expect(begun).toBe(2)
  ends[1]?.resolve()
  await second
})

test('what is not due does not begin', async () => {
  let begun = 0
  const { rounds } = begin(
    async () => void begun++,
    () => false,
  )
  await rounds.step()
  expect(begun).toBe(0)
})

test('who stops waits for the round under way, then does the rest; later none begins', async () => {
  const end = Promise.withResolvers<void>()
  const order: string[] = []
  const { rounds } = begin(async () => {
    await end.promise
    order.push(rounds.isStopped ? 'round, stopped' : 'round')
  })
  void rounds.start()
  const stopped = rounds.stop(async () => void order.push('rest'))
  end.resolve()
  await stopped
  let others = 0
  const other = begin(async () => void others++).rounds
  void other.start()
  await eventually(
    () => others,
    (count) => count > 3,
  )
  await other.stop(() => Promise.resolve())
  expect(order).toEqual(['round, stopped', 'rest'])
})

test('stopping takes no longer than half a second, and a rest that fails is nothing', async () => {
  const { rounds } = begin(() => new Promise(() => undefined))
  void rounds.start()
  const at = performance.now()
  await rounds.stop(() => Promise.resolve())
  expect(performance.now() - at).toBeGreaterThan(400)
  await begin(() => Promise.resolve()).rounds.stop(() => Promise.reject(new Error('away')))
})
