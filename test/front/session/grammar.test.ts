/** How MAIL, RCPT, HELO and EHLO are read; what servers make of the same lines is test/wire/conformance/spellings.ts. */
import { describe, expect, test } from '@jest/globals'
import { extensionsUsed, readHelo, readMail, readRcpt } from '../../../src/front/session/grammar.ts'

const taken = <T>(read: { ok: true; value: T } | { ok: false }): T => {
  if (!read.ok) throw new Error(JSON.stringify(read))
  return read.value
}
const codeOf = (read: ReturnType<typeof readMail> | ReturnType<typeof extensionsUsed>): string =>
  read.ok ? 'ok' : `${read.mistake.code} ${read.mistake.enhanced}`

describe('R46 the address and the canonical line', () => {
  test.each([
    ['MAIL FROM:<a@b.test>', 'a@b.test', 'MAIL FROM:<a@b.test>'],
    ['mail \t from:\t a@b.test \t', 'a@b.test', 'MAIL FROM:<a@b.test>'],
    ['MAIL FROM:< \ta@b.test\t >', 'a@b.test', 'MAIL FROM:<a@b.test>'],
    ['MAIL FROM: @c.test:"a"@b.test.  size=1', 'a@b.test', 'MAIL FROM:<@c.test:"a"@b.test.> size=1'],
    ['MAIL FROM:<"a > b"@b.test>\tBODY=8BITMIME\t', 'a > b@b.test', 'MAIL FROM:<"a > b"@b.test> BODY=8BITMIME'],
    ['MAIL FROM:"a > b"@b.test BODY=8BITMIME', 'a > b@b.test', 'MAIL FROM:<"a > b"@b.test> BODY=8BITMIME'],
    ['MAIL FROM:<\t> AUTH=<> SIZE= RET=FULL RET=FULL', '', 'MAIL FROM:<> RET=FULL'],
    ['MAIL FROM:<j\xc3\xa0@b.test>  SMTPUTF8', 'j\xc3\xa0@b.test', 'MAIL FROM:<j\xc3\xa0@b.test> SMTPUTF8'],
    ['MAIL FROM:PostMaster', 'PostMaster', 'MAIL FROM:<PostMaster>'],
  ])('%j', (line, address, canonical) => {
    expect(taken(readMail(line))).toMatchObject({ address, line: canonical })
    // It means the same to whoever reads it again.
    expect(taken(readMail(canonical))).toMatchObject({ address, line: canonical })
  })

  test.each([
    ['MAIL FROM:<a@b.test> <c@d.test>', '501 5.5.4'],
    ['MAIL FROM:<a@b.test> c@d.test', '501 5.5.4'],
    ['MAIL FROM:<a@b.test>x', '501 5.5.4'],
    ['MAIL FROM:<a@b.test> SIZE=1 SIZE=2', '501 5.5.4'],
    ['MAIL FROM:<a@b.test> RET=', '501 5.5.4'],
    ['MAIL FROM:<a@b.test>\r', '501 5.5.4'],
    ['MAIL FROM:<a\t@b.test>', '501 5.5.4'],
    ['MAIL FROM:<"a\tb"@b.test>', '501 5.5.4'],
    ['MAIL\vFROM:<a@b.test>', '501 5.5.4'],
    ['MAILFROM:<a@b.test>', '501 5.5.4'],
    ['MAIL FROM:', '501 5.1.7'],
    ['MAIL FROM:a', '501 5.1.7'],
    ['MAIL FROM:SIZE=1', '501 5.1.7'],
    ['MAIL FROM:ENVID=a@b.test', '501 5.1.7'],
    ['MAIL FROM:auth=a@b.test', '501 5.1.7'],
    ['MAIL FROM:a@b.test,c@d.test', '501 5.1.7'],
    ['MAIL FROM:A <a@b.test>', '501 5.1.7'],
    ['MAIL FROM:a@b.test<c@d.test>', '501 5.1.7'],
    ['MAIL FROM:<<a@b.test>>', '501 5.1.7'],
    ['MAIL FROM:<a@b.test', '501 5.1.7'],
    ['MAIL FROM:<"a@b.test>', '501 5.1.7'],
    ['MAIL FROM:"a b@b.test', '501 5.1.7'],
  ])('%j is %s', (line, code) => {
    expect(codeOf(readMail(line))).toBe(code)
  })

  test('a recipient is needed, and its own codes are used', () => {
    expect(taken(readRcpt('rcpt to: a@b.test'))).toMatchObject({ address: 'a@b.test', line: 'RCPT TO:<a@b.test>' })
    for (const path of ['<>', '< >', '<"">', '', 'a', '<a b@c.test>'])
      expect(codeOf(readRcpt(`RCPT TO:${path}`))).toBe('501 5.1.3')
  })
})

describe('R46 parameters', () => {
  const used = (line: string, offered?: readonly string[]): string => {
    const kind = line.startsWith('MAIL') ? 'mail' : 'rcpt'
    const { parameters } = taken(kind === 'mail' ? readMail(line) : readRcpt(line))
    const read = extensionsUsed(kind, parameters, offered && new Set(offered))
    return read.ok ? read.value.join() : codeOf(read)
  }
  test.each([
    ['MAIL FROM:<> ENVID=abc==', 'DSN'],
    ['MAIL FROM:<> SIZE=1 BODY=7bit RET=hdrs', 'SIZE,8BITMIME,DSN'],
    ['MAIL FROM:<> AUTH=a+40b SIZE', ''],
    ['MAIL FROM:<> BODY=BINARYMIME', '504 5.5.4'],
    ['MAIL FROM:<> BODY', '501 5.5.4'],
    ['MAIL FROM:<> SMTPUTF8=1', '501 5.5.4'],
    ['MAIL FROM:<> XFOO=1', '555 5.5.4'],
    ['MAIL FROM:<> __PROTO__', '501'],
    ['MAIL FROM:<> CONSTRUCTOR', '555 5.5.4'],
    ['RCPT TO:<a@b.test> ORCPT=rfc822;SRS0=a=b@c.test NOTIFY=NEVER', 'DSN'],
    ['RCPT TO:<a@b.test> AUTH=<>', '555 5.5.4'],
    ['RCPT TO:<a@b.test> SIZE=1', '555 5.5.4'],
  ])('%s', (line, expected) => {
    if (expected === '501') expect(codeOf(readMail(line))).toMatch(/^501/)
    else expect(used(line, ['SIZE', '8BITMIME', 'SMTPUTF8', 'DSN'])).toBe(expected)
  })

  test('R44 of what was not offered they are 555; R47 before anything could be offered they are taken', () => {
    const line = 'MAIL FROM:<> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x'
    expect(used(line, [])).toBe('555 5.5.4')
    expect(used(line, ['SIZE', '8BITMIME', 'SMTPUTF8'])).toBe('555 5.5.4')
    expect(used(line)).toBe('SIZE,8BITMIME,SMTPUTF8,DSN')
    expect(used('RCPT TO:<a@b.test> NOTIFY=NEVER ORCPT=rfc822;x')).toBe('DSN')
    expect(used('MAIL FROM:<> BODY=BINARYMIME')).toBe('504 5.5.4')
    expect(used('MAIL FROM:<> REQUIRETLS')).toBe('555 5.5.4')
  })
})

test.each([
  ['EHLO a.example', 'a.example'],
  ['ehlo\ta.example \t', 'a.example'],
  ['HELO  foo \t bar', 'foo bar'],
  ['EHLO [IPv6:2001:db8::1]', '[IPv6:2001:db8::1]'],
  ['EHLO mx-\xc3\xa0', 'mx-\xc3\xa0'],
  ['EHLO', undefined],
  ['EHLO \t', undefined],
  ['EHLO: a', undefined],
  ['EHLO:a', undefined],
  ['EHLOX a', undefined],
  ['EHLO a\0b', undefined],
  ['EHLO a\rb', undefined],
  [`EHLO ${'x'.repeat(255)}`, 'x'.repeat(255)],
  [`EHLO ${'x '.repeat(130)}`, undefined],
])('R46 the name in %j', (line, name) => {
  expect(readHelo(line)).toBe(name)
})

test('no line takes long to read, however it is made', () => {
  const parts = [' ', '\t ', '"', '\\', '<', '>', '@', 'a=', ' a', ' SIZE=', '" "']
  const started = performance.now()
  for (const part of parts) {
    for (const head of ['MAIL FROM:', 'MAIL FROM:<', 'MAIL FROM:<a@b.test>', 'MAIL']) {
      for (const end of ['', '>', 'x', 'x>']) readMail(`${head}${part.repeat(1200 / part.length)}${end}`)
    }
    readHelo(`EHLO${part.repeat(1200 / part.length)}x`)
  }
  expect(performance.now() - started).toBeLessThan(500)
})
