/** Cutting a stream into lines and bodies, wherever TCP cuts it and however long each part is waited for. */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { type WireEvents, WireStream } from '../../../src/front/session/wire-stream.ts'

interface Cut {
  /** Command lines, and bodies in their dot-stuffed form, in their order. */
  readonly seen: string[]
  readonly dots: number[]
}

/** `DATA` begins a body. @param waits whether each call in turn is answered later */
async function read(chunks: readonly string[], waits: readonly boolean[]): Promise<Cut> {
  const seen: string[] = []
  const dots: number[] = []
  const stream = new WireStream()
  let calls = 0
  const isLater = (): boolean => waits[calls++ % Math.max(1, waits.length)] ?? false
  const later = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  const nothing = (): void => undefined
  const line: WireEvents['line'] = (bytes, isWhole, next, isBare) => {
    const text = bytes.toString('latin1')
    seen.push(isWhole ? `${isBare ? 'bare ' : ''}line ${text}` : `too long ${text}`)
    if (text === 'DATA') {
      let body = ''
      let count = 0
      stream.startBody({
        write(part, found) {
          body += part.toString('latin1')
          count += found
          return isLater() ? later() : undefined
        },
        end(resume) {
          seen.push(`body ${body}`)
          dots.push(count)
          if (isLater()) void later().then(resume)
          else resume()
        },
      })
    }
    if (isLater()) void later().then(next)
    else next()
  }
  stream.events = { line, typing: nothing, foreignHeader: nothing, finished: nothing }
  for (const chunk of chunks) {
    await new Promise<void>((resolve, reject) => {
      stream.write(Buffer.from(chunk, 'latin1'), (error) => (error ? reject(error) : resolve()))
    })
  }
  return { seen, dots }
}

/** The rule in the simplest way, over the whole of it. */
function reference(text: string): Cut {
  const seen: string[] = []
  const dots: number[] = []
  let rest = text
  while (rest.includes('\n')) {
    const end = rest.indexOf('\n')
    const line = rest.slice(0, end).replace(/\r$/, '')
    rest = rest.slice(end + 1)
    const isBare = line.includes('\r') || !text.slice(0, text.length - rest.length).endsWith('\r\n')
    seen.push(`${isBare ? 'bare ' : ''}line ${line}`)
    if (line !== 'DATA') continue
    const at = `\r\n${rest}`.indexOf('\r\n.\r\n')
    if (at < 0) break
    const body = rest.slice(0, at)
    seen.push(`body ${body}`)
    dots.push(`\r\n${body}`.split('\r\n.').length - 1)
    rest = rest.slice(at + 3)
  }
  return { seen, dots }
}

const piece = fc.constantFrom(
  '\r\n',
  '\r',
  '\n',
  '.',
  '..',
  '\r\n.',
  '\r\n.\r\n',
  '\r\n..\r\n',
  '\0',
  'a',
  'text',
  'DATA\r\n',
)
const stream = fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join(''))
const cutAt = (text: string, places: readonly number[]): string[] => {
  const at = [...new Set(places.map((place) => place % (text.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((from, i) => text.slice(from, at[i] ?? text.length)).filter((part) => part !== '')
}

test('R14 R26 R28 the same lines and bodies, wherever it is cut, and whether or not a part is waited for', async () => {
  await fc.assert(
    fc.asyncProperty(stream, fc.array(fc.nat(200)), fc.array(fc.boolean()), async (text, places, waits) => {
      const whole = `EHLO x\r\nDATA\r\n${text}\r\n.\r\nQUIT\r\n`
      expect(await read(cutAt(whole, places), waits)).toEqual(reference(whole))
    }),
    { numRuns: 3000 },
  )
})

test('R26 what is held back of an end that has not come is not lost while a part before it is waited for', async () => {
  for (const held of ['\r', '\r\n', '\r\n.', '\r\n.\r']) {
    const end = '\r\n.\r\n'.slice(held.length)
    const { seen } = await read(['DATA\r\n', `message${held}`, end, 'QUIT\r\n'], [true])
    expect(seen).toEqual(['line DATA', 'body message\r\n', 'line QUIT'])
  }
})

test('R2 a TLS handshake is handed on as soon as it can be told, wherever it is cut, and never within a message', async () => {
  const hello = '\x16\x03\x01\x02\x00\x01'
  for (let cut = 1; cut < hello.length; cut++) {
    const { seen } = await read(['NOOP\r\n', hello.slice(0, cut), hello.slice(cut)], [])
    expect(seen[1]).toBe(`line ${cut === 1 ? hello : hello.slice(0, cut)}`)
  }
  expect((await read(['\x16', '\x02\r\n', '\x16\r\n'], [])).seen).toEqual(['line \x16\x02', 'line \x16'])
  expect((await read([`DATA\r\n${hello}\r\n.\r\n`], [])).seen).toEqual(['line DATA', `body ${hello}\r\n`])
})

test('R24 of a line that is too long its beginning is handed on, and no more', async () => {
  for (const cut of [1, 10, 1172, 1173, 4000]) {
    const line = `GET /${'x'.repeat(5000)}`
    const { seen } = await read([line.slice(0, cut), line.slice(cut), '\r\nNOOP\r\n'], [])
    expect(seen).toEqual([`too long ${line.slice(0, 32)}`, 'line NOOP'])
  }
})
