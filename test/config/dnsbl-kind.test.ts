import { expect, test } from '@jest/globals'
import { dnsLists } from '../../src/config/dnsbl-kind.ts'
import { fits, shownZone } from '../../src/core/dnsbl.ts'

const read = (text: string) => {
  const parsed = dnsLists.parse(text.split(','))
  return 'wrong' in parsed ? parsed.wrong.map(({ expected }) => expected).join() : parsed.value
}

test('entries are those of postscreen', () => {
  const [zen, white, plain] = read(
    'Zen.Example.org=127.0.0.[2..11;14]*3,white.example=127.0.[0..255].3*-2,bl.example',
  ) as never[]
  expect(zen).toMatchObject({ zone: 'zen.example.org', weight: 3 })
  expect(white).toMatchObject({ zone: 'white.example', weight: -2 })
  expect(plain).toMatchObject({ zone: 'bl.example', weight: 1, filter: undefined })
  for (const [answer, is] of [
    ['127.0.0.2', true],
    ['127.0.0.11', true],
    ['127.0.0.12', false],
    ['127.0.0.14', true],
    ['127.0.1.2', false],
  ] as const)
    expect([answer, fits(zen as never, answer.split('.').map(Number))]).toEqual([answer, is])
  expect(dnsLists.show(read('zen.example=127.0.0.[2..11]*3,bl.example') as never)).toBe(
    'zen.example=127.0.0.[2..11]*3,bl.example',
  )
  expect(read('none')).toEqual([])
})

test.each([
  ['zen', 'zone'],
  ['zen.example=127.0.0', '127.0.0.2'],
  ['zen.example=127.0.0.[11..2]', '127.0.0.2'],
  ['zen.example=127.0.0.256', '127.0.0.2'],
  ['zen.example=10.0.0.2', 'RFC 5782'],
  ['zen.example*0', 'not 0'],
  ['zen.example*', 'whole number'],
  ['zen.example*many', 'whole number'],
  ['bl.example,bl.example', 'twice'],
  ['https://bl.example/', 'not a domain name'],
])('%s is wrong, and says what to write', (text, words) => {
  expect(read(text)).toContain(words)
})

test('the key of a customer is shown nowhere', () => {
  const key = 'abcdefghijklmnopqrstuvwxyz'
  expect(shownZone(`${key}.zen.dq.example.net`)).toBe('zen.dq.example.net')
  expect(shownZone('zen.example.org')).toBe('zen.example.org')
  expect(shownZone('averyveryverylongzonename.example')).toBe('averyveryverylongzonename.example')
  expect(dnsLists.mask?.(`bl.example,${key}.zen.dq.example.net=127.0.0.2*3`)).toBe(
    'bl.example,***.zen.dq.example.net=127.0.0.2*3',
  )
})
