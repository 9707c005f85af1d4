import { describe, expect, test } from '@jest/globals'
import { addressOf, domainsOf, isRole } from '../../src/core/address.ts'

describe('R46 spellings of one mailbox are one address', () => {
  test.each([
    ['anna@example.test', 'anna@example.test'],
    ['"anna"@example.test', 'anna@example.test'],
    ['an"n"a@example.test', 'anna@example.test'],
    ['an\\na@example.test', 'anna@example.test'],
    ['"an\\na"@example.test', 'anna@example.test'],
    ['anna@example.test.', 'anna@example.test'],
    ['@one.example:anna@example.test', 'anna@example.test'],
    ['@one.example,@[IPv6:2001:db8::1]:"anna"@example.test.', 'anna@example.test'],
    ['"an na"@example.test', 'an na@example.test'],
    ['"a\\"b\\\\c"@example.test', 'a"b\\c@example.test'],
    ['"<a>,:;()"@example.test', '<a>,:;()@example.test'],
    ['Anna@Example.TEST', 'Anna@Example.TEST'],
    ['anna@[IPv6:2001:db8::1]', 'anna@[IPv6:2001:db8::1]'],
    ['anna@example.test@one.example', 'anna@example.test@one.example'],
    ['"anna@example.test"@one.example', 'anna@example.test@one.example'],
    ['j\xc3\xa0@b\xc3\xbccher.example', 'j\xc3\xa0@b\xc3\xbccher.example'],
    ["!#$%&'*+-/=?^_`{|}~@example.test", "!#$%&'*+-/=?^_`{|}~@example.test"],
    ['Postmaster', 'Postmaster'],
    ['anna.', 'anna.'],
    ['@example.test', '@example.test'],
    ['anna@', 'anna@'],
    ['', ''],
    ['""', ''],
  ])('%s', (path, address) => {
    expect(addressOf(path)).toBe(address)
  })

  test.each([
    ['a blank', 'an na@example.test'],
    ['a blank before the @', 'anna @example.test'],
    ['a blank in the route', '@one.example, @two.example:anna@example.test'],
    ['two addresses', 'anna@example.test,otto@example.test'],
    ['two in brackets', 'anna@example.test><otto@example.test'],
    ['an open quote', '"anna@example.test'],
    ['a quote that opens behind', 'anna@example.test"'],
    ['a quoted domain', 'anna@"example.test"'],
    ['a comment', 'anna(x)@example.test'],
    ['a comment that never ends', 'anna@elsewhere.example(@example.test'],
    ['a group', 'group:anna@example.test;'],
    ['a colon that ends no route', 'anna@one.example:otto@example.test'],
    ['two routes', '@one.example:@two.example:anna@example.test'],
    ['a route to nobody', '@one.example:'],
    ['an escaped @', 'anna\\@one.example@example.test'],
    ['an escaped bracket', 'anna\\>@example.test'],
    ['a backslash at the end', 'anna\\'],
    ['a literal that is not closed', 'anna@[192.0.2.1'],
    ['text behind a literal', 'anna@[192.0.2.1]x'],
    ['a domain behind an empty one', 'anna@@example.test'],
    ['an empty domain behind another', 'anna@example.test@'],
  ])('%s could mean two things', (_, path) => {
    expect(addressOf(path)).toBeUndefined()
  })

  test('and no path takes long to read, however it is made', () => {
    const parts = ['"', '\\', '\\a', '@', '@a', '@a,', '.', 'a', '[', '"a"', '"\\"', '@a,@[']
    const started = performance.now()
    for (const part of parts) {
      for (const end of ['', '@', ':', '"', '(', 'x@y']) addressOf(`${part.repeat(1200 / part.length)}${end}`)
    }
    expect(performance.now() - started).toBeLessThan(1000)
  })
})

test('R46 every domain that an address names', () => {
  expect(domainsOf('anna@example.test')).toEqual(['example.test'])
  expect(domainsOf('anna@elsewhere.example@example.test')).toEqual(['elsewhere.example', 'example.test'])
  expect(domainsOf('postmaster')).toEqual([])
})

test('R10 postmaster and abuse are roles, whatever stands around them', () => {
  for (const path of ['postmaster', 'PostMaster', '"postmaster"', '@one.example:postmaster@example.test', 'abuse@x']) {
    expect([path, isRole(addressOf(path) as string)]).toEqual([path, true])
  }
  for (const path of [
    'abuse',
    'postmaster2@x',
    'x.abuse@x',
    '"postmaster@one.example"@example.test',
    'anna@postmaster',
  ]) {
    expect([path, isRole(addressOf(path) as string)]).toEqual([path, false])
  }
})
