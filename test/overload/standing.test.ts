import { expect, test } from '@jest/globals'
import { STANDINGS } from '../../src/core/client.ts'
import { compile, netOf, parseNetwork, sourceOf } from '../../src/core/ip.ts'
import { standingOf } from '../../src/overload/standing.ts'

const address = (ip: string) => ({ ip, source: sourceOf(ip), net: netOf(ip) })

test.each([
  ['192.0.2.7', 'trusted'],
  ['192.0.3.7', 'new'],
  ['2001:db8::7', 'trusted'],
  ['2001:db8:0:1::7', 'new'],
] as const)('%s is %s', (ip, standing) => {
  const isAllowed = compile(['192.0.2.0/24', '2001:db8::/64'].map(parseNetwork))
  expect(standingOf(address(ip), { isAllowed })).toBe(standing)
  expect(STANDINGS).toContain(standing)
})
