/** What is made of an HTTP server that answers well, badly, late, or not at all. */
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, jest, test } from '@jest/globals'
import type { PressureReport } from '../../src/core/overload.ts'
import { PressureUrl } from '../../src/overload/pressure-url.ts'
import { eventually } from '../support/app.ts'

let server: Server | undefined
let asking: PressureUrl | undefined
afterEach(() => {
  asking?.stop()
  server?.closeAllConnections()
  server?.close()
  jest.useRealTimers()
})

async function ask(listener: RequestListener) {
  // The next questions come when the test says so; what is waited for is as in life.
  jest.useFakeTimers({
    now: Date.now(),
    doNotFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'nextTick', 'performance', 'Date'],
  })
  const http = createServer(listener)
  server = http
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const taken: PressureReport[] = []
  const told: Record<string, unknown>[] = []
  const write = (fields: object, msg: string) => void told.push({ ...fields, msg })
  const log = { debug: write, info: write, warn: write, error: write, flush() {} }
  const asked = { ok: { value: 0 }, failed: { value: 0 } }
  const settings: { url: string | undefined; upstreams: string[] } = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/queues`,
    upstreams: ['a:25', 'b:25'],
  }
  const clock = { at: 0 }
  const elapsed = (): number => clock.at
  asking = new PressureUrl({ settings: () => settings, take: (report) => void taken.push(report), asked, log, elapsed })
  asking.start()
  const over = (count: number) =>
    eventually(
      () => asked.ok.value + asked.failed.value,
      (done) => done === count,
    )
  /** Whole seconds pass, one by one; of what was asked in them nothing is waited for. */
  const pass = (seconds: number): void => {
    for (; seconds > 0; seconds--) {
      clock.at += 1000
      jest.advanceTimersByTime(1000)
    }
  }
  return { taken, told, asked, settings, over, pass }
}

test('what it answers is taken, every five seconds anew', async () => {
  let value = 0.5
  let questions = 0
  const { taken, asked, over, settings, pass } = await ask((_, response) => {
    questions++
    response.end(`{"a:25": ${value}}`)
  })
  await over(1)
  value = 0.2
  pass(4)
  // Whatever was asked has come by now.
  await fetch(settings.url as string)
  expect(questions).toBe(2)
  pass(1)
  await over(2)
  expect(taken).toEqual([
    { upstream: 'a:25', value: 0.5 },
    { upstream: 'a:25', value: 0.2 },
  ])
  settings.url = undefined
  pass(5)
  expect(asked).toEqual({ ok: { value: 2 }, failed: { value: 0 } })
})

test('while a queue is more than half full, or soon will be, it is asked every second', async () => {
  let values = '{"a:25": 0.1, "b:25": 0}'
  const { asked, over, pass } = await ask((_, response) => response.end(values))
  await over(1)
  pass(5)
  await over(2)
  // From 0.1 to 0.45 in five seconds: it would be at 0.8 five seconds later.
  values = '{"a:25": 0.1, "b:25": 0.45}'
  pass(5)
  await over(3)
  values = '{"a:25": 0.6, "b:25": 0.5}'
  pass(1)
  await over(4)
  values = '{"a:25": 0.6, "b:25": 0.4}'
  pass(1)
  await over(5)
  values = '{"a:25": 0.5, "b:25": 0.4}'
  pass(1)
  await over(6)
  pass(4)
  expect(asked.ok.value).toBe(6)
  pass(1)
  await over(7)
})

test('there is one question at a time, and whoever is slow, or fails, is asked no sooner for it', async () => {
  const open: ServerResponse[] = []
  const { asked, over, pass, settings } = await ask(({ url }, response) => {
    if (url === '/queues') open.push(response)
    else response.end()
  })
  /** Whatever was asked before has come by then. */
  const settled = (): Promise<unknown> => fetch(new URL('/', settings.url))
  const asking = (count: number) =>
    eventually(
      () => open.length,
      (so) => so === count,
    )
  await asking(1)
  pass(2)
  await settled()
  expect(open).toHaveLength(1)
  open[0]?.end('0.9')
  await over(1)
  // It took two seconds, so it has two seconds for itself.
  pass(1)
  await settled()
  expect(open).toHaveLength(1)
  pass(1)
  await asking(2)
  open[1]?.destroy()
  await over(2)
  expect(asked.failed.value).toBe(1)
  pass(4)
  await settled()
  expect(open).toHaveLength(2)
  pass(1)
  await asking(3)
})

test('a fault is told once and counted each time, and so is its end', async () => {
  let isWell = false
  const { taken, told, asked, over, pass } = await ask((_, response) => response.writeHead(isWell ? 200 : 503).end('1'))
  await over(1)
  pass(5)
  await over(2)
  isWell = true
  pass(5)
  await over(3)
  expect(told).toEqual([
    { err: 'it answers 503', msg: 'SPILLWAY_UPSTREAM_PRESSURE_URL has no answer for us' },
    { msg: 'SPILLWAY_UPSTREAM_PRESSURE_URL answers again' },
  ])
  expect(asked).toEqual({ ok: { value: 1 }, failed: { value: 2 } })
  expect(taken).toHaveLength(2)
})

test.each<[string, RequestListener, string]>([
  ['redirects', (_, response) => response.writeHead(302, { Location: '/queues' }).end(), 'it answers 302'],
  ['is endless', (_, response) => response.end(' '.repeat(70_000)), 'its answer is longer than 65536 octets'],
  [
    'breaks off',
    (_, response) => response.writeHead(200, { 'Content-Length': 9 }).write('1', () => response.destroy()),
    'aborted',
  ],
  ['is no number', (_, response) => response.end('full'), 'it is neither a number nor'],
  ['is silent', (_, response) => response.write('1'), 'no whole answer within 3 s'],
])('nothing is taken of one that %s', async (_, listener, err) => {
  const { taken, told, over } = await ask(listener)
  await over(1)
  expect(told).toEqual([expect.objectContaining({ err: expect.stringContaining(err) })])
  expect(taken).toEqual([])
})

test('one that is stopped while it asks ends the question, and tells nothing', async () => {
  let begun = false
  let isOver = false
  const { told, asked } = await ask((_, response) => {
    begun = true
    response.on('close', () => {
      isOver = true
    })
  })
  await eventually(() => begun, Boolean)
  asking?.stop()
  await eventually(() => isOver, Boolean, 2000)
  expect({ told, asked }).toEqual({ told: [], asked: { ok: { value: 0 }, failed: { value: 0 } } })
})
