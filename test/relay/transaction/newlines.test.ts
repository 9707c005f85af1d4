import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { Newlines } from '../../../src/relay/transaction/newlines.ts'

/** Runs a message through in the given chunks; what comes out, and what was counted. */
function run(chunks: readonly Buffer[]) {
  const newlines = new Newlines()
  const out = chunks.map((chunk) => newlines.push(chunk))
  out.push(newlines.end())
  return {
    text: Buffer.concat(out).toString('latin1'),
    bareLf: newlines.bareLf,
    bareCr: newlines.bareCr,
  }
}

function cutAt(text: string, places: readonly number[]): Buffer[] {
  const bytes = Buffer.from(text, 'latin1')
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [...ends, bytes.length].map((end, i) => bytes.subarray(i === 0 ? 0 : ends[i - 1], end))
}

const normalize = (text: string) => run([Buffer.from(text, 'latin1')]).text

describe('R27 bare newlines are set right', () => {
  test.each([
    ['', ''],
    ['a\r\nb\r\n', 'a\r\nb\r\n'],
    ['..\r\n..a\r\n.a\r\n', '..\r\n..a\r\n.a\r\n'],
    ['a\nb\r\n', 'a\r\nb\r\n'],
    ['\n\n\r\n', '\r\n\r\n\r\n'],
    ['a\rb\r\n', 'a b\r\n'],
    ['a\r\r\n', 'a \r\n'],
    ['\r\r\r\n\n', '  \r\n\r\n'],
    ['a\n\rb\r\n', 'a\r\n b\r\n'],
    // LF.LF, LF.CRLF, CRLF.LF, at the start too: a dot that comes to stand alone is stuffed.
    ['a\n.\nb\r\n', 'a\r\n..\r\nb\r\n'],
    ['a\n.\r\nb\r\n', 'a\r\n..\r\nb\r\n'],
    ['a\r\n.\nb\r\n', 'a\r\n..\r\nb\r\n'],
    ['.\nb\r\n', '..\r\nb\r\n'],
    ['a\n.\n.\n.\r\n', 'a\r\n..\r\n..\r\n..\r\n'],
    // A bare CR is a space, so that the dot beside it does not stand alone.
    ['a\r.\rb\r\n', 'a . b\r\n'],
    ['a\r\n.\r\r\nb\r\n', 'a\r\n. \r\nb\r\n'],
    ['a\n\r.\r\n', 'a\r\n .\r\n'],
    // Other dots are left as they came.
    ['a\n.b\n..\n..c\r\n', 'a\r\n.b\r\n..\r\n..c\r\n'],
    // NUL is a byte like any other, but behind a dot that begins a line: that dot is for transparency only, and goes.
    ['a\n.\0\n\0.\r\n', 'a\r\n\0\r\n\0.\r\n'],
    ['.\0\r\n.\0.\r\n..\0\r\n', '\0\r\n\0.\r\n..\0\r\n'],
    ['a.\0\r\n.\r\0\n\n.\0', 'a.\0\r\n. \0\r\n\r\n\0'],
  ])('%j becomes %j', (input, output) => {
    expect(normalize(input)).toBe(output)
    const everywhere = Array.from(input, (_, i) => i)
    expect(run(cutAt(input, everywhere)).text).toBe(output)
  })

  test('both kinds are counted', () => {
    const { bareLf, bareCr } = run([Buffer.from('a\r\nb\nc\rd\r\r\n\n.\r'), Buffer.from('\n\r'), Buffer.from('\r\n')])
    expect({ bareLf, bareCr }).toEqual({ bareLf: 2, bareCr: 3 })
  })

  test('a CR that nothing follows any more is a bare one', () => {
    expect(run([Buffer.from('a\r')])).toEqual({ text: 'a ', bareLf: 0, bareCr: 1 })
  })
})

test('clean text is not copied', () => {
  const newlines = new Newlines()
  const clean = Buffer.from('To: a@example.com\r\n\r\n..\r\n.x')
  expect(newlines.push(clean)).toBe(clean)
  const cut = Buffer.from('more\r')
  const out = newlines.push(cut)
  expect(out.toString()).toBe('more')
  expect(out.buffer).toBe(cut.buffer)
  const rest = Buffer.from('\nrest\r\n')
  expect(newlines.push(rest).toString()).toBe('\r\nrest\r\n')
  expect(newlines.push(clean)).toBe(clean)
})

describe('for any message, however it is cut', () => {
  const piece = fc.constantFrom(
    '\r',
    '\n',
    '.',
    'x',
    '\r\n',
    '\r\n.',
    '\n.',
    '.\r\n',
    '.\n',
    '..',
    '\r.',
    '\0',
    '.\0',
    'line\r\n',
  )
  /** Empty or ending with CRLF, and without a lone dot between two CRLFs, as what stands before the final dot is. */
  const message = fc.array(piece, { maxLength: 30 }).map((pieces) => {
    const text = pieces.join('')
    const closed = text === '' || text.endsWith('\r\n') ? text : `${text}\r\n`
    return closed.replace(/(?<=^|\r\n)\.(?=\r\n)/g, '..')
  })
  const places = fc.array(fc.nat(100), { maxLength: 12 })
  const runs = { numRuns: 3000 }
  const DOT_NUL = /(?<=^|\r\n)\.(?=\0)/g

  /** The rule said with regular expressions over the whole message: C stands for CRLF, L for a bare LF. */
  function reference(text: string): string {
    return `C${text.replaceAll('\r\n', 'C').replaceAll('\n', 'L').replaceAll('\r', ' ')}`
      .replace(/(?<=L)\.(?=[CL])|(?<=C)\.(?=L)/g, '..')
      .replace(/(?<=[CL])\.(?=\0)/g, '')
      .slice(1)
      .replace(/[CL]/g, '\r\n')
  }

  test('the output is the same, and what the rule says', () => {
    fc.assert(
      fc.property(message, places, (text, cuts) => {
        expect(run(cutAt(text, cuts)).text).toBe(reference(text))
        expect(run(cutAt(text, cuts))).toEqual(run([Buffer.from(text, 'latin1')]))
      }),
      runs,
    )
  })

  test('nothing bare is left, and CRLF.CRLF comes once, at the end', () => {
    fc.assert(
      fc.property(message, places, (text, cuts) => {
        const output = run(cutAt(text, cuts)).text
        expect(output).not.toMatch(/\r(?!\n)|(?<!\r)\n/)
        const wire = `\r\n${output}.\r\n`
        expect(wire.indexOf('\r\n.\r\n')).toBe(wire.length - 5)
      }),
      runs,
    )
  })

  test('without a bare newline it comes out byte for byte; with one, that is counted', () => {
    fc.assert(
      fc.property(message, places, (text, cuts) => {
        const { text: output, bareLf, bareCr } = run(cutAt(text, cuts))
        expect(bareLf).toBe(text.match(/(?<!\r)\n/g)?.length ?? 0)
        expect(bareCr).toBe(text.match(/\r(?!\n)/g)?.length ?? 0)
        if (bareLf + bareCr === 0) expect(output).toBe(text.replace(DOT_NUL, ''))
        const bare = text.replace(/\r(?!\n)|(?<!\r)\n/g, '')
        const tidy = bare.replace(DOT_NUL, '').replace(/(?<=^|\r\n)\.(?=\r\n)/g, '..')
        expect(run(cutAt(tidy, cuts))).toEqual({ text: tidy, bareLf: 0, bareCr: 0 })
      }),
      runs,
    )
  })

  test('all 256 bytes pass', () => {
    const bytes = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.from('\r\n')])
    const tidy = bytes.filter((byte, i) => (byte !== 10 && byte !== 13) || i > 255)
    expect(Buffer.concat([new Newlines().push(Buffer.from(tidy))])).toEqual(Buffer.from(tidy))
  })
})
