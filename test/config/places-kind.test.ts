import { expect, test } from '@jest/globals'
import { places } from '../../src/config/places-kind.ts'

test.each([
  ['16/64', { value: { ofOne: 16, ofAll: 64 } }],
  ['1/1', { value: { ofOne: 1, ofAll: 1 } }],
  ['64', { hint: 'write 16/64 for 64 in all' }],
  ['off', { hint: 'it cannot be turned off: write 10000/10000' }],
  ['16 / 64', { hint: 'write two whole numbers with a slash between them, without spaces' }],
  ['0/64', { hint: 'at least 1 for one address' }],
  ['64/16', { hint: 'one address cannot have more than all together: write 16/16' }],
  ['16/100000', { hint: 'at most 10000 in all' }],
])('places: %s', (text, parsed) => {
  expect(places.parse(text)).toEqual(parsed)
  if ('value' in parsed && parsed.value !== undefined) expect(places.show(parsed.value)).toBe(text)
})
