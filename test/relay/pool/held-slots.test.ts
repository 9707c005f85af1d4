/** Slots held on purpose, through the whole app with the values it ships with, by clients on real sockets. */
import { afterEach, expect, test } from '@jest/globals'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import type { Client } from '../../support/client.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let app: TestApp
let server: Upstream
let senders: NodeJS.Timeout[] = []
afterEach(async () => {
  for (const each of senders) clearInterval(each)
  senders = []
  await app.stop()
  await server.stop()
})

async function inText(from: string): Promise<Client> {
  const client = await app.client(from)
  await client.hello()
  for (const line of ['MAIL FROM:<a@flood.example>', 'RCPT TO:<anna@example.test>', 'DATA']) await client.command(line)
  return client
}

test.each([
  ['one address sends 520 octets a second on each of 50 connections', 1, 520],
  ['25 addresses send 260 octets a second on each of two', 25, 260],
])('S7 %s: an honest client is served within two seconds', async (_, addresses, rate) => {
  server = await startUpstream()
  app = await startApp(server.address)
  const holders = await Promise.all(Array.from({ length: 50 }, (_, i) => inText(`127.1.0.${1 + (i % addresses)}`)))
  expect(server.mailed()).toHaveLength(50)
  for (const holder of holders) {
    senders.push(setInterval(() => holder.write('x'.repeat(rate / 10)), 100))
  }
  // Each is at the pace it keeps: what it sends in a second and a half has come through. Of 25 addresses some were cut before:
  // the last ones waited for the slots that are left to others, and the first ones had sent nothing yet.
  const holding = () => server.mailed().filter(({ closed }) => !closed)
  await eventually(
    () => Math.min(...holding().map(({ partial }) => partial.length)),
    (octets) => octets >= 1.5 * rate,
  )
  expect(holding().length).toBeGreaterThanOrEqual(45)
  for (let i = 1; i <= 5; i++) {
    const started = performance.now()
    const honest = await app.client(`127.2.0.${i}`)
    await honest.hello()
    expect(await honest.send('a@honest.example', 'anna@example.test')).toMatch(/^250/)
    expect(performance.now() - started).toBeLessThan(2000)
    honest.end()
  }
  // None of what was cut has come to its dot.
  expect(server.bodies()).toHaveLength(5)
})

/** A client that has sent MAIL; there may be no slot for it yet. */
async function wanting(from: string): Promise<Client> {
  const client = await app.client(from)
  await client.hello()
  client.write('MAIL FROM:<a@flood.example>\r\nRCPT TO:<anna@example.test>\r\nDATA\r\n')
  return client
}

test.each([
  ['one address', (i: number) => `127.1.0.${1 + (i & 0)}`],
  ['a network of 100 addresses', (i: number) => `127.1.0.${1 + i}`],
])('S7 %s that wants twice all slots is no overload: nobody else is put off for it', async (_, from) => {
  server = await startUpstream()
  app = await startApp(server.address, { OVERLOAD: 'auto' })
  const holders = await Promise.all(Array.from({ length: 100 }, (_, i) => wanting(from(i))))
  for (const holder of holders) senders.push(setInterval(() => holder.write('x'.repeat(52)), 100))
  const pressure = 'spillway_overload_pressure_ratio{signal="upstream_slots"}'
  await eventually(
    () => app.metric(pressure),
    (value) => value !== 0,
  )
  // A level would begin after three seconds.
  const until = performance.now() + 4500
  let visits = 0
  while (performance.now() < until) {
    const honest = await app.client(`127.2.0.${1 + (visits++ % 250)}`)
    await honest.hello()
    expect(await honest.send('a@honest.example', 'anna@example.test')).toMatch(/^250/)
    honest.end()
    expect(await app.metric(pressure)).toBeLessThan(0.8)
    expect(await app.metric('spillway_overload_level')).toBe(0)
  }
  expect(visits).toBeGreaterThan(3)
})
