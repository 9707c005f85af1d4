/** What mail servers call a message in their replies. */
import { expect, test } from '@jest/globals'
import { queueIdIn } from '../../src/front/queue-id.ts'

test.each([
  ['250 2.0.0 Ok: queued as 4XyZ0123abc', '4XyZ0123abc'],
  ['250 2.0.0 Ok: queued as 7C2B1D4E5F', '7C2B1D4E5F'],
  ['250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 7C2B', '7C2B'],
  ['250 2.0.0 Ok (queued as FIRST): queued as LAST', 'LAST'],
  ['250 OK id=1abcde-0001Ab-2C', '1abcde-0001Ab-2C'],
  ['250 OK id=1abcde-00000000abc-1XyZ', '1abcde-00000000abc-1XyZ'],
  ['250 2.0.0 1a2b3c4d Message accepted for delivery', '1a2b3c4d'],
  // A mail server that counts.
  ['250 2.0.0 Ok: queued as 7', '7'],
  ['250 2.0.0 Ok', undefined],
  ['250 2.0.0 Message accepted for delivery', undefined],
  [`250 queued as ${'x'.repeat(65)}`, undefined],
  ['250 queued as <script>', undefined],
])('%j: %s', (reply, id) => {
  expect(queueIdIn(reply)).toBe(id)
})

test('a reply that repeats itself is read in no time', () => {
  const begun = performance.now()
  queueIdIn(`250 ${'queued as x '.repeat(5000)}`)
  expect(performance.now() - begun).toBeLessThan(200)
})
