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
function written(fields: Record<string, unknown>, msg = 'line'): string {
  const before = readFileSync(file, 'utf8').length
  log.info(fields, msg)
  log.flush()
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
