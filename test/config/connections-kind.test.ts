import { expect, test } from '@jest/globals'
import { connections } from '../../src/config/connections-kind.ts'

test.each([
  ['50', { floor: 50, ceiling: 50 }, '50'],
  ['auto', { floor: 5, ceiling: 100 }, 'auto:5-100'],
  ['auto:20-400', { floor: 20, ceiling: 400 }, 'auto:20-400'],
])('connections: %s', (text, value, shown) => {
  expect(connections.parse(text)).toEqual({ value })
  expect(connections.show(value)).toBe(shown)
})

test.each([
  ['0', 'at least 1'],
  ['auto:0-9', 'at least 1'],
  ['100001', 'at most 100000'],
  ['auto:9-5', 'the smaller number comes first: write auto:5-9'],
  ['auto 5-100', 'write auto:5-100 for at least 5 and at most 100'],
  ['AUTO', 'write auto:5-100 for at least 5 and at most 100'],
  ['5-100', 'write a whole number, or auto'],
  ['many', 'write a whole number, or auto'],
  ['-1', 'write a whole number, or auto'],
])('connections: %s is told what to write', (text, hint) => {
  expect(connections.parse(text)).toEqual({ hint })
})
