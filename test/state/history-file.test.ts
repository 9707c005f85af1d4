/** The history of clients in a file: written as a whole, read at the start, passed over where it is broken. */
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { standingAlone } from '../../src/overload/standing.ts'
import { History } from '../../src/state/history.ts'
import { HistoryFile } from '../../src/state/history-file.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { stoppedAfterEach } from '../support/started.ts'

const started = stoppedAfterEach()
let directory = ''
let path = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'history-'))
  path = join(directory, 'clients')
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

function begin(at = path) {
  const history = new History({
    standingAlone: (own) => standingAlone(own, { after: 3, days: 1 }),
    ttlMs: () => 1e10,
    now: () => Date.UTC(2026, 0, 10),
    seed: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]),
    capacity: 1 << 14,
  })
  const lines: string[] = []
  const write = (fields: unknown, msg: string): void => void lines.push(`${msg} ${JSON.stringify(fields)}`)
  const log: Log = { debug: write, info: write, warn: write, error: write, flush: () => undefined }
  return { history, lines, file: new HistoryFile({ path: at, history, log, now: Date.now }) }
}
async function written(): Promise<void> {
  const { history, file } = begin()
  history.learn('192.0.2.1', { good: 5, bad: 0.5 })
  history.learn('2001:db8:1:2::1', { good: 1, bad: 0 })
  history.learn('192.0.2.2', { good: 0, bad: 1 })
  await file.write()
}

test('what is written is read again: clients that have sent a good message', async () => {
  await written()
  const { history, lines, file } = begin()
  await file.read()
  expect(history.own('192.0.2.1')).toMatchObject({ good: 5, recentGood: 5, recentBad: 0.5 })
  expect(history.own('2001:db8:1:2::9')).toMatchObject({ good: 1 })
  expect(history.own('192.0.2.2')).toMatchObject({ recentBad: 0 })
  expect([history.count('known'), history.count('seen')]).toEqual([1, 1])
  expect(history.net('192.0.2.200')).toMatchObject({ good: 1, recentBad: 1 })
  expect(lines.join()).toContain('"clients":2,"domains":0,"networks":1')
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(readdirSync(directory)).toEqual(['clients'])
})

test('domains are in it, and a file from before there were any is read', async () => {
  const before = begin()
  for (const net of [1, 2, 3]) before.history.domains.learn('provider.example', `10.0.${net}.1`, { good: 1, bad: 0 })
  before.history.learn('192.0.2.1', { good: 1, bad: 0 })
  await before.file.write()
  const after = begin()
  await after.file.read()
  expect(after.history.domains.of('provider.example')).toEqual(before.history.domains.of('provider.example'))
  expect(after.lines.join()).toContain('"clients":1,"domains":1')
  writeFileSync(path, 'spillway history 1\n00000000c0000201 5 5.000 0.000 490000 490000 0\nend 1\n')
  const old = begin()
  await old.file.read()
  expect(old.history.own('192.0.2.1')).toMatchObject({ good: 5 })
  expect(old.lines.join()).not.toContain('bad')
})

test.each<[string, (text: string) => string]>([
  ['cut off', (text) => text.slice(0, -8)],
  ['cut off at the end of a line', (text) => text.split('\n').slice(0, 2).join('\n').concat('\n')],
  ['another file', () => 'root:x:0:0\n'],
  ['empty', () => ''],
  ['of a later form', (text) => text.replace('history 1', 'history 2')],
])('a file that is %s is told and passed over', async (_, broken) => {
  await written()
  writeFileSync(path, broken(readFileSync(path, 'latin1')))
  const { history, lines, file } = begin()
  await file.read()
  expect([history.count('known'), history.count('seen')]).toEqual([0, 0])
  expect(lines.join()).toContain('cannot be read')
})

test('a file that cannot be read is not overwritten: it is kept under another name', async () => {
  writeFileSync(path, 'a history that was cut o')
  const { history, lines, file } = begin()
  await file.read()
  history.learn('192.0.2.1', { good: 5, bad: 0 })
  await file.write()
  expect(readFileSync(`${path}.unreadable`, 'latin1')).toBe('a history that was cut o')
  expect(readFileSync(path, 'latin1')).toMatch(/end 1\n$/)
  expect(lines.join()).toContain('was moved')
  // Once: what is written from now on is our own.
  await file.write()
  expect(readFileSync(`${path}.unreadable`, 'latin1')).toBe('a history that was cut o')
})

test('a device is neither read nor replaced', async () => {
  symlinkSync('/dev/null', path)
  const { lines, file } = begin()
  await file.read()
  await file.write()
  expect(readlinkSync(path)).toBe('/dev/null')
  expect(lines.join()).toMatch(/cannot be read.*no regular file.*cannot be written.*no regular file/)
})

test('after a take-over two processes may write at once', async () => {
  const [a, b] = [begin(), begin()]
  a.history.learn('192.0.2.1', { good: 5, bad: 0 })
  await Promise.all([a.file.write(), b.file.write(), a.file.write()])
  expect([...a.lines, ...b.lines]).toEqual([])
  expect(readFileSync(path, 'latin1')).toMatch(/^spillway history 1\n(?:end 0|0.*\nend 1)\n$/)
})

test('what a process has left that was killed while it wrote is removed, and nothing else', async () => {
  const now = Date.now()
  for (const name of ['clients.new.0123', 'clients.old', 'clients.1.new.0123', 'clients.new.4567']) {
    writeFileSync(join(directory, name), '')
    const at = new Date(name.endsWith('4567') ? now - 3_500_000 : now - 3_700_000)
    utimesSync(join(directory, name), at, at)
  }
  await begin().file.read()
  expect(readdirSync(directory).sort()).toEqual(['clients.1.new.0123', 'clients.new.4567', 'clients.old'])
})

test('nothing is written before the file was read to its end', async () => {
  await written()
  const { file } = begin()
  const reading = file.read()
  await file.write()
  await reading
  expect(readFileSync(path, 'latin1')).toMatch(/end 3\n$/)
})

test('a line that is nonsense is left out, and the others count', async () => {
  await written()
  writeFileSync(path, readFileSync(path, 'latin1').replace(/^00000000c0000201.*$/m, '00000000c0000201 nan 1 1 1 1 1'))
  const { history, lines, file } = begin()
  await file.read()
  expect(history.own('192.0.2.1').good).toBe(0)
  expect(history.count('seen')).toBe(1)
  expect(lines.join()).toContain('"bad":1')
})

test('no file is no mistake; one that cannot be written is told', async () => {
  const { lines, file } = begin()
  await file.read()
  expect(lines).toEqual([])
  const nowhere = begin(join(directory, 'not', 'there'))
  await nowhere.file.write()
  expect(nowhere.lines.join()).toContain('cannot be written')
})

test('a directory in its place stops nothing', async () => {
  const { lines, file } = begin(directory)
  await file.read()
  await file.write()
  await file.stop()
  expect(lines.join()).toContain('cannot be read')
  chmodSync(directory, 0o700)
})

test('an app finds after a restart who was known before it', async () => {
  const upstream = await started.upstream()
  const settings = { HISTORY_FILE: path, KNOWN_DAYS: '1' }
  const before = await started.app(upstream.address, settings)
  const client = await before.client()
  await client.hello()
  for (let i = 0; i < 3; i++) expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  await client.command('QUIT')
  await before.stop()
  const after = await started.app(upstream.address, settings)
  expect(after.running.status().clients.known).toBe(1)
})

test('an app that finds a broken file starts all the same', async () => {
  writeFileSync(path, 'nonsense')
  const upstream = await started.upstream()
  const app = await started.app(upstream.address, { HISTORY_FILE: path })
  expect(app.running.status().clients.known).toBe(0)
  await app.waitForLog(({ msg }) => String(msg).includes('it begins anew'))
})
