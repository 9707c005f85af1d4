/** What is made of an HTTP server that answers well, badly, late, or not at all. */
import { createServer, type RequestListener, type Server } from 'node:http'
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
  asking = new PressureUrl({ settings: () => settings, take: (report) => void taken.push(report), asked, log })
  asking.start()
  const over = (count: number) =>
    eventually(
      () => asked.ok.value + asked.failed.value,
      (done) => done === count,
    )
  return { taken, told, asked, settings, over }
}

test('what it answers is taken, every five seconds anew', async () => {
  let value = 0.5
  const { taken, asked, over, settings } = await ask((_, response) => response.end(`{"a:25": ${value}}`))
  await over(1)
  value = 2
  jest.advanceTimersByTime(4999)
  expect(asked.ok.value).toBe(1)
  jest.advanceTimersByTime(1)
  await over(2)
  expect(taken).toEqual([
    { upstream: 'a:25', value: 0.5 },
    { upstream: 'a:25', value: 2 },
  ])
  settings.url = undefined
  jest.advanceTimersByTime(5000)
  expect(asked).toEqual({ ok: { value: 2 }, failed: { value: 0 } })
})

test('a fault is told once and counted each time, and so is its end', async () => {
  let isWell = false
  const { taken, told, asked, over } = await ask((_, response) => response.writeHead(isWell ? 200 : 503).end('1'))
  await over(1)
  jest.advanceTimersByTime(5000)
  await over(2)
  isWell = true
  jest.advanceTimersByTime(5000)
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
