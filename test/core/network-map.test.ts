/** Values by network: the narrowest with an address first, the families apart, and nothing left behind. */
import { expect, test } from '@jest/globals'
import { compile, overlaps, parseNetwork, tableOf } from '../../src/core/ip.ts'
import { NetworkMap } from '../../src/core/network-map.ts'

const mapOf = (...networks: string[]): NetworkMap<string> => {
  const map = new NetworkMap<string>()
  for (const each of networks) map.set(parseNetwork(each), each)
  return map
}
const any = () => true

test('the narrowest network with the address whose value fits', () => {
  const map = mapOf('10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.2.3/32')
  expect(map.find('10.1.2.3', any)).toBe('10.1.2.3/32')
  expect(map.find('10.1.2.4', any)).toBe('10.1.2.0/24')
  expect(map.find('10.1.2.3', (value) => !value.endsWith('/32'))).toBe('10.1.2.0/24')
  expect(map.find('10.1.3.1', any)).toBe('10.1.0.0/16')
  expect(map.find('10.200.0.1', any)).toBe('10.0.0.0/8')
  expect(map.find('11.0.0.1', any)).toBeUndefined()
  expect(map.find('10.1.2.3', () => false)).toBeUndefined()
})

test.each([
  '2001:db8::/16',
  '2001:db8::/32',
  '2001:db8:8000::/33',
  '2001:db8:1::/48',
  '2001:db8:1:2::/63',
  '2001:db8:1:2::/64',
])('IPv6: %s', (text) => {
  const network = parseNetwork(text)
  const map = mapOf(text)
  const isIn = compile([network])
  for (const ip of [
    '2001:db8:1:2::3',
    '2001:db8:1:3::',
    '2001:db8:1:4::1',
    '2001:db8:9::1',
    '2001:db9::1',
    '2001:db8:8001::',
    '2002::1',
    '::1',
    '32.1.13.184',
    '0.1.0.2',
  ])
    expect([ip, map.find(ip, any) !== undefined]).toEqual([ip, isIn(ip)])
})

test('families never match each other', () => {
  expect(mapOf('10.0.0.0/8').find('a00::1', any)).toBeUndefined()
  expect(mapOf('a00::/16').find('10.0.0.1', any)).toBeUndefined()
})

test('the same addresses as a compiled list, at every length', () => {
  for (let bits = 1; bits <= 32; bits++) {
    const network = parseNetwork(`198.51.100.77/${bits}`)
    const isIn = compile([network])
    const map = mapOf(network.text)
    for (let flip = 0; flip < 32; flip++) {
      const value = (0xc633644d ^ (2 ** flip)) >>> 0
      const ip = [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.')
      expect([bits, ip, map.find(ip, any) !== undefined]).toEqual([bits, ip, isIn(ip)])
    }
  }
})

test('what is set again is one value, and what is deleted is gone', () => {
  const map = mapOf('10.0.0.0/8', '2001:db8::/32')
  map.set(parseNetwork('10.9.9.9/8'), 'later')
  expect(map.size).toBe(2)
  expect(map.get(parseNetwork('10.0.0.0/8'))).toBe('later')
  for (const each of ['10.0.0.0/8', '2001:db8::/32', '192.0.2.1']) map.delete(parseNetwork(each))
  expect(map.size).toBe(0)
  expect(map.find('10.0.0.1', any)).toBeUndefined()
  expect([...map.entries()]).toEqual([])
})

test.each<[string[], string, boolean]>([
  [['192.0.2.0/24'], '192.0.2.7/32', true],
  [['192.0.2.7/32'], '192.0.2.0/24', true],
  [['192.0.2.7/32', '10.0.0.0/8'], '192.0.3.0/24', false],
  [['192.0.3.0/32'], '192.0.2.0/24', false],
  [['2001:db8::/32'], '2001:db8:1::/48', true],
  [['2001:db8:1:2::5/128'], '2001:db8:1::/48', true],
  [['2001:db8:1:2::5/128'], '2001:db8:1:2::/64', true],
  [['2001:db8:1:2::5/128'], '2001:db8:1:3::/64', false],
  [['2001:db8:1:2::5/128'], '2001:d00::/24', true],
  [['2001:db8:1:2::5/128'], '2001:e00::/24', false],
  [['10.0.0.0/8'], '2001:db8::/32', false],
])('whether %j and %s have an address in common: %j', (list, text, answer) => {
  expect(overlaps(tableOf(list.map(parseNetwork)), parseNetwork(text))).toBe(answer)
})
