/** A few stops of those that `npm run stops` makes many of. */
import { expect, test } from '@jest/globals'
import { runStops } from './stops.ts'

test('SIGTERM under load: no message is lost, none is doubled, and each stop ends with 0', async () => {
  const { stops, verdict, faults } = await runStops({ stops: 3 })
  expect(faults).toEqual([])
  expect(stops.map(({ code }) => code)).toEqual([0, 0, 0])
  for (const { pastDot } of stops) expect(pastDot).toBeGreaterThan(0)
  // Nothing that the mail server took in time is unknown.
  expect(verdict.unknown).toEqual([])
  expect(verdict.messages).toBeGreaterThan(120)
})
