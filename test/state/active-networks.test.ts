/** Which networks are of bots, by the addresses of them that are active. */
import { expect, test } from '@jest/globals'
import { ActiveNetworks } from '../../src/state/active-networks.ts'

const NET = '2001:db8:5::/48'
const AT = 20_000 * 86_400_000
const LATER = AT + 600_000
const address = (subnet: number): string => `2001:db8:5:${subnet.toString(16)}::1`

function begin(honest: readonly number[], banned: readonly number[]): ActiveNetworks {
  const networks = new ActiveNetworks()
  for (const subnet of [...honest, ...banned]) networks.met(NET, address(subnet), AT)
  for (const subnet of banned) networks.ban(address(subnet), LATER)
  return networks
}
const EIGHT = [1, 2, 3, 4, 5, 6, 7, 8]

test('a network of which eight active addresses are banned, and nothing else comes from it, is one of bots, as long as they are', () => {
  const networks = begin([], EIGHT)
  expect(networks.isOfBots(NET, AT)).toBe(true)
  expect(networks.isOfBots(NET, LATER)).toBe(false)
  expect(begin([], EIGHT.slice(1)).isOfBots(NET, AT)).toBe(false)
})

test('banned addresses that share a place among the active ones outvote nobody', () => {
  const honest = [11, 12, 13, 14, 15, 16, 17, 18, 19]
  expect(begin(honest, EIGHT).isOfBots(NET, AT)).toBe(false)
  const inOnePlace = EIGHT.map((each) => (each << 8) | 0xff)
  expect(begin(honest, inOnePlace).isOfBots(NET, AT)).toBe(false)
  expect(begin(honest.slice(0, 2), EIGHT).isOfBots(NET, AT)).toBe(true)
})
