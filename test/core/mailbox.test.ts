import { expect, test } from '@jest/globals'
import { domainOf, mailboxOf } from '../../src/core/mailbox.ts'

const latin1 = (text: string): string => Buffer.from(text).toString('latin1')

test.each([
  'u@example.net',
  'U@Example.NET',
  'u+x@example.net',
  'u+x+y@example.net',
  'u+@example.net',
  '"u"@example.net',
  '"\\u"@example.net',
  '"u+x"@example.net',
  '@relay.example:u@example.net',
  '@a.example,@b.example:u@example.net',
])('%s is one mailbox', (address) => {
  expect(mailboxOf(address)).toBe('u@example.net')
})

test.each([
  ['+u@example.net', '+u@example.net'],
  ['u.v@example.net', 'u.v@example.net'],
  ['u-v@example.net', 'u-v@example.net'],
  ['"u@v"@example.net', 'u@v@example.net'],
  ['Postmaster', 'postmaster'],
  [latin1('JÜRGEN@example.net'), 'jürgen@example.net'],
  ['', ''],
  ['@', '@'],
  ['"', ''],
])('%s is %s', (address, mailbox) => {
  expect(mailboxOf(address)).toBe(mailbox)
})

test('the domain is what follows the last @', () => {
  expect(['u@example.net', 'u@v@example.net', 'postmaster', 'u@'].map(domainOf)).toEqual([
    'example.net',
    'example.net',
    '',
    '',
  ])
})
