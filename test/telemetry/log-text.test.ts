/**
 * Text from others in a line of the log: what a terminal or a browser would obey, or not show, is escaped, in whichever
 * field it is; and a program that parses the line has the text as it was.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { createLog, type Log, visible } from '../../src/telemetry/log.ts'
import { lineInWords } from '../../src/telemetry/log-words.ts'
import { startApp } from '../support/app.ts'
import { startUpstream } from '../support/upstream.ts'

let directory: string
let file: string
let descriptor: number
let log: Log
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'spillway-log-'))
  file = join(directory, 'log')
  descriptor = openSync(file, 'a')
  log = createLog({ level: 'debug', destination: descriptor })
})
afterAll(() => {
  closeSync(descriptor)
  rmSync(directory, { recursive: true, force: true })
})

/** The line as it is written, with its end. */
function written(fields: Record<string, unknown>, msg = 'line', to = log): string {
  const before = readFileSync(file, 'utf8').length
  to.info(fields, msg)
  to.flush()
  return readFileSync(file, 'utf8').slice(before)
}

// What must never stand in the file, code point by code point: not by the pattern that is tested.
const isSeen = (code: number): boolean =>
  code >= 0x20 &&
  !(code >= 0x7f && code <= 0xa0) &&
  code !== 0xad &&
  code !== 0x34f &&
  code !== 0x61c &&
  code !== 0x1680 &&
  !(code >= 0x180b && code <= 0x180f) &&
  !(code >= 0x2000 && code <= 0x200f) &&
  !(code >= 0x2028 && code <= 0x202f) &&
  !(code >= 0x205f && code <= 0x206f) &&
  code !== 0x3000 &&
  code !== 0x3164 &&
  !(code >= 0xd800 && code <= 0xdfff) &&
  !(code >= 0xe000 && code <= 0xf8ff) &&
  !(code >= 0xfe00 && code <= 0xfe0f) &&
  code !== 0xfeff &&
  code !== 0xffa0 &&
  !(code >= 0xfff0 && code <= 0xfffb) &&
  !(code >= 0xe0000 && code <= 0xe0fff)

const raw = (line: string): string[] =>
  [...line.replace(/\n$/, '')].filter((each) => !isSeen(each.codePointAt(0) as number))

const NASTY = [
  ...['\x00', '\x1b[31m', '\x7f', '\x80', '\x85', '\x9b31m', '\xa0', '\xad', '\u200b', '\u200d', '\u200e', '\u200f'],
  ...['\u2028', '\u2029', '\u202a', '\u202b', '\u202c', '\u202d', '\u202e', '\u2066', '\u2067', '\u2068', '\u2069'],
  ...['\u061c', '\u180e', '\u2060', '\u2064', '\u206f', '\u3000', '\u3164', '\ufe0f', '\ufeff', '\ufff9', '\ufffb'],
  ...['\ud800', '\udfff', '\ue000', '\u{e0001}', '\u{e0041}', '\u{e0100}', '\n', '\r\n', '\t', '"', '\\', '\\u202e'],
]

/** `U+202E U+0041`: a title must not do to the terminal what the log must not. */
const named = (text: string): string =>
  [...text].map((each) => `U+${(each.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, '0')}`).join(' ')

describe('text of others', () => {
  test.each(NASTY.map((text) => [named(text), text]))('%s is never raw, and is there for who parses', (_, text) => {
    const line = written({ helo: `a${text}b`, deep: [{ reply: text }], [`key${text}`]: 1 }, text)
    expect(raw(line)).toEqual([])
    expect(line.split('\n')).toHaveLength(2)
    expect(JSON.parse(line)).toMatchObject({
      helo: `a${text}b`,
      deep: [{ reply: text }],
      [`key${text}`]: 1,
      msg: text,
    })
  })

  test('what people read stays readable', () => {
    const text = 'jürgen@bücher.example 日本語 почта ¿qué? 💌'
    expect(written({ text })).toContain(`"text":"${text}"`)
  })

  test('whatever it is: valid JSON in one line, nothing unseen raw, and the same when parsed', () => {
    const nasty = fc.string({ unit: fc.constantFrom(...NASTY, 'a', ' ', 'ü', '日', '💌'), maxLength: 60 })
    const any = fc.oneof(nasty, fc.string({ unit: 'binary', maxLength: 60 }), fc.string({ unit: 'binary-ascii' }))
    const codes = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 60 })
    const text = fc.oneof(
      any,
      codes.map((units) => String.fromCharCode(...units)),
    )
    const holds = (line: string, fields: Record<string, unknown>): void => {
      expect(raw(line)).toEqual([])
      expect(line.endsWith('\n')).toBe(true)
      expect(line.split('\n')).toHaveLength(2)
      expect(JSON.parse(line)).toMatchObject(fields)
    }
    const line = fc.record({ helo: text, from: text, rcpts: fc.array(text, { maxLength: 3 }) })
    fc.assert(
      fc.property(line, (fields) => holds(visible(`${JSON.stringify(fields)}\n`), fields)),
      { numRuns: 1000 },
    )
    // Through all of the log; each line is a write to the disk.
    fc.assert(
      fc.property(line, (fields) => holds(written(fields, fields.helo), { ...fields, msg: fields.helo })),
      { numRuns: 50 },
    )
  })

  test('from the wire: HELO, sender, recipient, and what a mail server says', async () => {
    const utf8 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')
    const upstream = await startUpstream({
      script: (verb) => (verb === 'RCPT' ? utf8('550 5.7.1 no \u202egnp.exe\u2066 \u2028 \x9b31m') : 'default'),
    })
    const app = await startApp(upstream.address, { LOG_LOCAL_PARTS: 'on', LOG_SAMPLE: '1' })
    try {
      const client = await app.client()
      await client.hello(utf8('a\u202eb.example'))
      await client.command(utf8('MAIL FROM:<a\u202e\u2029b@example.org> SMTPUTF8'))
      await client.command(utf8('RCPT TO:<\u200bc\u2067@example.net>'))
      await client.command('QUIT')
      const line = await app.waitForLog(({ msg }) => msg === 'session')
      expect(line).toMatchObject({ helo: 'a\u202eb.example', from: 'a\u202e\u2029b@example.org' })
      expect(app.logText().split('\n').flatMap(raw)).toEqual([])
    } finally {
      await app.stop()
      await upstream.stop()
    }
  })
})

describe('a line for people', () => {
  let words: Log
  beforeAll(() => {
    words = createLog({ level: 'debug', destination: descriptor, format: 'text' })
  })
  const told = (fields: Record<string, unknown>, msg?: string) => written(fields, msg, words)

  test('has what is looked for first, and all the rest', () => {
    const line = told(
      {
        ...{ id: '1RV17D4600503', ip: '192.0.2.1', net: '192.0.2.0/24', source: '192.0.2.1', standing: 'new' },
        ...{ helo: 'mx.example', tls: 'TLSv1.3', outcome: 'shed', stage: 'rcpt', reason: 'ip_messages', code: 450 },
        limit: { name: 'ip_messages', used: 3, max: 1, window: 60_000 },
        from: '***@a.example',
        rcpts: [
          { to: '***@b.example', code: 250 },
          { to: '', code: 550 },
        ],
        rcptCount: 2,
        messages: [{ size: 10, reply: '250 2.0.0 Ok: queued as 4X', ms: 3 }],
        messageCount: 1,
        ms: { total: 12, upstream: 3 },
        sample: 1,
      },
      'session',
    )
    expect(line.replace(/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /, 'TIME ')).toBe(
      'TIME INFO  session id=1RV17D4600503 ip=192.0.2.1 standing=new outcome=shed stage=rcpt reason=ip_messages code=450 ' +
        'limit={name=ip_messages used=3 max=1 window=60000} helo=mx.example from=***@a.example rcptCount=2 ' +
        'rcpts=[{to=***@b.example code=250}, {to="" code=550}] messageCount=1 ' +
        'messages=[{size=10 reply="250 2.0.0 Ok: queued as 4X" ms=3}] ms={total=12 upstream=3} tls=TLSv1.3 ' +
        'net=192.0.2.0/24 source=192.0.2.1 sample=1\n',
    )
  })

  test.each(NASTY.map((text) => [named(text), text]))('%s is never raw, and ends no line', (_, text) => {
    const line = told({ helo: `a${text}b`, deep: [{ reply: text }], [`key${text}`]: 1 }, `m${text}`)
    expect(raw(line)).toEqual([])
    expect(line.split('\n')).toHaveLength(2)
  })

  test('what a client says is no field, no end of a list, and no message of ours', () => {
    const line = told({
      helo: 'x ip=198.51.100.9',
      rcpts: [{ to: '***@a}] standing=trusted', code: 250 }],
      from: 'a"b\\',
    })
    expect(line).toContain(
      ' line helo="x ip=198.51.100.9" from="a\\"b\\\\" rcpts=[{to="***@a}] standing=trusted" code=250}]\n',
    )
    expect(line.replace(/"(?:[^"\\]|\\.)*"/g, '""')).not.toMatch(/ip=|standing=/)
  })

  test('any text keeps its line', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const line = lineInWords(
          `${JSON.stringify({ ts: 't', level: 'info', msg: text, helo: text, [text]: [text] })}\n`,
        )
        expect(raw(line)).toEqual([])
        expect(line.split('\n')).toHaveLength(2)
      }),
      { numRuns: 300 },
    )
  })
})
