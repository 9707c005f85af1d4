/** What was learnt from a log reaches the nodes: those that run, through Redis, and those that are started afterwards. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, expect, test } from '@jest/globals'
import { learn } from '../../../src/cli/learn/learn.ts'
import { load } from '../../../src/config/load.ts'
import { startRedis } from '../../services/redis.ts'
import { eventually, startApp, type TestApp, testSources } from '../../support/app.ts'
import { startUpstream } from '../../support/upstream.ts'

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

const folder = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'spillway-learn-'))
  stops.push(() => rmSync(path, { recursive: true, force: true }))
  return path
}
/** In seconds. What was bad at the beginning of today may weigh half by now. */
const now = Math.floor(Date.now() / 1000)
/** One that has sent for days, one that has sent once, and four of one network that have sent junk alone. */
const PLAIN = [
  ...[`127.5.0.1,10,0,${now}`, `127.5.1.1,1,0,${now}`],
  ...[1, 2, 3, 4].map((host) => `127.5.2.${host},0,30,${now}`),
  '',
].join('\n')

const learnt = (path: string, settings: Record<string, string>, cores = 1) =>
  learn(load(testSources('127.0.0.1:1', settings)), path, { json: false, cores })

async function begin(settings: Record<string, string>): Promise<TestApp> {
  const upstream = await startUpstream()
  stops.push(() => upstream.stop())
  const app = await startApp(upstream.address, { LOG_SAMPLE: '1', ...settings })
  stops.push(() => app.stop())
  return app
}
async function standingAt(app: TestApp, from: string): Promise<unknown> {
  const client = await app.client(from)
  await client.hello()
  await client.command('QUIT')
  return (await app.waitForLog(({ ip, msg }) => ip === from && msg === 'session')).standing
}

test('through Redis a running node hears of it, and a log that is read twice counts once', async () => {
  const redis = await startRedis()
  stops.push(() => redis.stop())
  const settings = { REDIS_URL: `redis://127.0.0.1:${redis.port}` }
  const path = join(folder(), 'plain.csv')
  writeFileSync(path, PLAIN)
  const app = await begin(settings)
  expect(await standingAt(app, '127.5.0.2')).toBe('new')
  for (let i = 0; i < 2; i++) {
    const { output, code } = await learnt(path, settings)
    expect({ output, code }).toEqual({
      output:
        '6 lines read, 6 of them about clients.\n1 clients are known by them, 1 more have sent good mail.\nFrom 1 networks came bad mail lately.\nWritten to Redis.\n',
      code: 0,
    })
  }
  // Nodes ask Redis every second.
  const heard = () => app.metric('spillway_standing_clients{standing="seen"}')
  await eventually(heard, (count) => count === 1)
  expect(await standingAt(app, '127.5.0.1')).toBe('known')
  expect(await standingAt(app, '127.5.1.1')).toBe('seen')
  // Nobody has met it, and its neighbours have sent junk.
  await eventually(
    () => standingAt(app, '127.5.2.99'),
    (standing) => standing === 'suspect',
  )
})

test('names that the mail server has confirmed teach their domains', async () => {
  const at = folder()
  const [path, file] = [join(at, 'mail.log'), join(at, 'history')]
  const day = (back: number): string => new Date(Date.now() - back * 86_400_000).toISOString()
  const exim = (back: number, ip: string, host: string): string =>
    `${day(back).slice(0, 19).replace('T', ' ')} +0000 1rNqXY-000001-AB <= a@b H=${host} [${ip}] P=esmtp S=400`
  const lines = [8, 7, 6, 5, 4, 3, 2].flatMap((back) => [
    ...[1, 2, 3].map((net) => exim(back, `198.18.${net}.1`, `out${net}.provider.example`)),
    ...[1, 2, 3].map((net) => exim(back, `198.19.${net}.1`, `(liar${net}.forged.example)`)),
    ...[1, 2, 3].map((net) => exim(back, `198.19.${net}.2`, `dsl${net}.isp.example`)),
  ])
  writeFileSync(path, `${lines.join('\n')}\n`)
  expect(await learnt(path, { HISTORY_FILE: file, HISTORY_DOMAINS: 'on' })).toMatchObject({ code: 0 })
  const domains = readFileSync(file, 'latin1').match(/^d.*$/gm)
  expect(domains).toEqual([expect.stringMatching(/^d[0-9a-f]{16} 21 21\.000 0\.000 /)])
  rmSync(file)
  expect(await learnt(path, { HISTORY_FILE: file })).toMatchObject({ code: 0 })
  expect(readFileSync(file, 'latin1')).not.toMatch(/^d/m)
})

test('without Redis it goes to the file, beside what is there', async () => {
  const at = folder()
  const [path, file] = [join(at, 'plain.csv'), join(at, 'history')]
  writeFileSync(path, PLAIN)
  expect(await learnt(path, { HISTORY_FILE: file })).toMatchObject({ code: 0 })
  writeFileSync(path, `127.5.9.9,5,0,${now}\n`)
  expect(await learnt(path, { HISTORY_FILE: file })).toMatchObject({ code: 0 })
  expect(readFileSync(file, 'latin1').trimEnd().split('\n')).toHaveLength(2 + 4)
  const app = await begin({ HISTORY_FILE: file })
  for (const from of ['127.5.0.1', '127.5.9.9']) expect(await standingAt(app, from)).toBe('known')
})

test.each([
  ['2', 1],
  ['auto', 2],
])('with SPILLWAY_WORKERS=%s each worker finds a file of its own', async (workers, cores) => {
  const at = folder()
  // Compressed, and with the line ends of another system.
  writeFileSync(join(at, 'plain.csv'), gzipSync(PLAIN.replaceAll('\n', '\r\n')))
  const settings = { HISTORY_FILE: join(at, 'history'), WORKERS: workers }
  expect(await learnt(join(at, 'plain.csv'), settings, cores)).toMatchObject({
    ...{ code: 0, output: expect.stringMatching(/^6 lines read, 6 of them about clients\.\n/) },
  })
  expect(readdirSync(at).sort()).toEqual(['history.1', 'history.2', 'plain.csv'])
})

test.each([
  ['', 'The log is empty.\n'],
  ['hello\nworld\n', /^2 of 2 lines are neither of a log .* xzcat /],
  // As a disk image has it: it is not kept until an end comes.
  ['x'.repeat(2 << 20), /^1 of 1 lines are neither .* Lines longer than 1 MB are passed over: there are 1\. /],
  ['2026-11-27 09:15:02 nothing of interest\n', /^None of 1 lines shows/],
])('a log that shows nothing is told, and nothing is written: case %#', async (text, told) => {
  const at = folder()
  writeFileSync(join(at, 'log'), text)
  const { output, code } = await learnt(join(at, 'log'), { HISTORY_FILE: join(at, 'history') })
  expect(code).toBe(1)
  expect(output).toMatch(told)
  expect(() => readFileSync(join(at, 'history'))).toThrow('ENOENT')
})

test('nowhere to keep it, no log, a Redis that is away and a file that cannot be written are told', async () => {
  const at = folder()
  const path = join(at, 'plain.csv')
  writeFileSync(path, PLAIN)
  expect(await learnt(path, {})).toMatchObject({ code: 78, output: expect.stringContaining('SPILLWAY_REDIS_URL') })
  const gone = await learnt(join(at, 'gone'), { HISTORY_FILE: join(at, 'history') })
  expect(gone).toMatchObject({ code: 1, output: expect.stringContaining('ENOENT') })
  const away = await learnt(path, { REDIS_URL: 'redis://127.0.0.1:1' })
  expect(away).toMatchObject({ code: 1, output: expect.stringContaining('ECONNREFUSED') })
  const nowhere = await learnt(path, { HISTORY_FILE: join(at, 'no', 'history') })
  expect(nowhere).toMatchObject({ code: 1, output: expect.stringContaining('could not be written: Error: ENOENT') })
  writeFileSync(join(at, 'history'), 'a history that was cut o')
  const broken = await learnt(path, { HISTORY_FILE: join(at, 'history') })
  expect(broken).toMatchObject({ code: 1, output: expect.stringContaining('not a whole history') })
  expect(readFileSync(join(at, 'history'), 'latin1')).toBe('a history that was cut o')
}, 15_000)
