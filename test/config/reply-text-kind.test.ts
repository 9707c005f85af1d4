import { expect, test } from '@jest/globals'
import { load } from '../../src/config/load.ts'
import { LONGEST_REPLY_TEXT, replyTexts } from '../../src/config/reply-text-kind.ts'
import { REASON_NAMES, REASONS } from '../../src/core/reasons.ts'
import { testSources } from '../support/app.ts'

const read = (...entries: string[]) => {
  const parsed = replyTexts.parse(entries)
  return 'wrong' in parsed ? parsed.wrong.map(({ expected }) => expected).join() : parsed.value
}

test('every reason can have a text, with = and commas in it', () => {
  const texts = REASON_NAMES.map((reason) => ({ reason, text: 'Ask us, at https://a.example/?q=1' }))
  expect(read(...texts.map(({ reason, text }) => `${reason}=${text}`))).toEqual(texts)
  expect(read('none')).toEqual([])
  expect(read(`size = ${'x'.repeat(LONGEST_REPLY_TEXT)}`)).toEqual([{ reason: 'size', text: 'x'.repeat(160) }])
})

test.each([
  ['denid=Go away', 'did you mean denied?'],
  ['ip-connections=Go away', 'did you mean ip_connections?'],
  ['planet=Go away', 'there is no reason planet'],
  ['Go away', 'a text with a comma goes into a file'],
  ['denied=', 'what the client reads'],
  ['denied=Gr\u00fc\u00dfe', 'ASCII only'],
  ['denied=a\r\n250 ok', 'ASCII only'],
  ['denied=a\tb', 'ASCII only'],
  [`denied=${'x'.repeat(LONGEST_REPLY_TEXT + 1)}`, 'at most 160 characters, not 161'],
  ['denied=550 no', 'without a code'],
  ['denied=5.7.1 no', 'without a code'],
])('%j is refused: %s', (entry, why) => {
  expect(read(entry)).toContain(why)
})

test('one reason has one text', () => {
  expect(read('size=a', 'size=b')).toContain('each entry once')
})

test('it is checked at the start, and a file has a line for each', () => {
  const files = { '/r': '# ours\ndenied=No, sorry. Ask us\nsize=Too large\n', '/w': 'denied=No\nsise=Too large\n' }
  const sources = (value: string) => ({
    ...testSources('127.0.0.1:1', { REPLY_TEXT: value }),
    readFile: (path: string) => files[path as keyof typeof files],
  })
  expect(load(sources('@/r')).settings.replyText).toEqual([
    { reason: 'denied', text: 'No, sorry. Ask us' },
    { reason: 'size', text: 'Too large' },
  ])
  expect(() => load(sources('@/w'))).toThrow(/\/w:2[\s\S]*did you mean size\?/)
  expect(() => load(sources('denied=No, sorry'))).toThrow(/a text with a comma goes into a file/)
})

test('our own words would be taken', () => {
  expect(read(...Object.entries(REASONS).map(([reason, { wire }]) => `${reason}=${wire}`))).toHaveLength(
    REASON_NAMES.length,
  )
})
