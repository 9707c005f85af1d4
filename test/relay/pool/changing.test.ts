/** Mail servers that come and go while names resolve, are checked, or are out of reach. */
import { describe, expect, test } from '@jest/globals'
import type { UpstreamAddress } from '../../../src/config/address-kinds.ts'
import { eventually } from '../../support/app.ts'
import type { Upstream } from '../../support/upstream.ts'
import { MAIL, RCPT, read, send } from '../relays.ts'
import { relays, start, stopAfterEach, upstream } from '../scene.ts'

stopAfterEach()
/** Questions to the DNS, each answered by the test. */
interface Question {
  readonly answer: (addresses: readonly string[]) => void
  readonly fail: (error: Error) => void
}
async function startNaming(): Promise<{ server: Upstream; named: UpstreamAddress; questions: Question[] }> {
  const server = await upstream()
  const questions: Question[] = []
  await start([server], {
    healthIntervalMs: 3_600_000,
    resolve: () => new Promise((answer, fail) => questions.push({ answer, fail })),
  })
  const { port } = server
  return { server, named: { label: `mail.test:${port}`, host: 'mail.test', port }, questions }
}
const change = (...addresses: readonly UpstreamAddress[]): void => relays.upstreams.apply({ ...relays.pool, addresses })
const states = (): string[] =>
  relays.upstreams.conditions().map(({ upstream: label, condition }) => `${label} ${condition.state}`)

describe('a server that is added by name, in the place of the only one', () => {
  test('is waited for until its name has been resolved', async () => {
    const { named, questions } = await startNaming()
    change(named)
    const sent = send(relays.client())
    await eventually(
      () => questions.length,
      (count) => count === 1,
    )
    expect(relays.upstreams.slots.wanted).toBe(true)
    questions[0]?.answer(['127.0.0.1'])
    expect(await sent).toMatch(/^250/)
    expect(states()).toEqual([`${named.label} up`])
  })

  test('is waited for no longer once its name is known not to resolve', async () => {
    const { named, questions } = await startNaming()
    change(named)
    const sent = send(relays.client())
    await eventually(
      () => relays.upstreams.slots.wanted,
      (isWanted) => isWanted,
    )
    const asked = performance.now()
    questions[0]?.fail(new Error('ENOTFOUND'))
    expect(await sent).toBe('refused: upstream_down')
    expect(performance.now() - asked).toBeLessThan(2000)
  })

  test('and removed again before its name has been resolved, is not used and not spoken of', async () => {
    const { server, named, questions } = await startNaming()
    const [plain] = relays.pool.addresses
    change(named, plain as UpstreamAddress)
    change(plain as UpstreamAddress)
    expect(questions).toHaveLength(1)
    questions[0]?.answer(['127.0.0.1'])
    await new Promise(setImmediate)
    expect(states()).toEqual([`${server.address} up`])
    expect((await relays.metrics.registry.metrics()).includes('mail.test')).toBe(false)
    change(named)
    questions[1]?.fail(new Error('ENOTFOUND'))
    change(plain as UpstreamAddress)
    await new Promise(setImmediate)
    expect(relays.told.filter(({ msg }) => msg.includes('not resolved'))).toEqual([])
  })
})

test('a client whose mail server is removed before it takes MAIL goes to another that has room', async () => {
  const hangs = await upstream((verb) => (/MAIL|RCPT/.test(verb) ? 'silence' : 'default'))
  await start([hangs], { dial: { connectTimeoutMs: 60_000, replyTimeoutMs: 60_000 } })
  const waits = relays.client().rcpt(MAIL, RCPT)
  await eventually(
    () => hangs.mailed().length,
    (count) => count === 1,
  )
  const good = await upstream()
  const address = { label: good.address, host: '127.0.0.1', port: good.port }
  const [first] = relays.pool.addresses
  change(first as UpstreamAddress, address)
  await eventually(
    () => relays.upstreams.isUp(good.address),
    (isUp) => isUp,
  )
  change(address)
  expect(read(await waits)).toMatch(/^250/)
  expect(good.mailed()).toHaveLength(1)
  expect(states()).toEqual([`${good.address} up`])
})

test('a message at a server that was removed is not ended for the sake of clients that wait: it would not help them', async () => {
  const [old, fresh] = [await upstream(), await upstream()]
  await start([old], { maxConnections: 1 })
  const slow = relays.client()
  await slow.rcpt(MAIL, RCPT)
  await slow.data()
  change({ label: fresh.address, host: '127.0.0.1', port: fresh.port })
  const holds = relays.client('holds.example', '203.0.113.1')
  expect(read(await holds.rcpt(MAIL, RCPT))).toMatch(/^250/)
  const waits = relays.client('waits.example', '203.0.113.2').rcpt(MAIL, RCPT)
  // The one at the server in use is late, and gives way. The one at the old server is as late, and goes on.
  expect(read(await waits)).toMatch(/^250/)
  expect(old.mailed()[0]?.closed).toBe(false)
  await slow.write(Buffer.from('Subject: slow\r\n\r\n'))
  expect(read((await slow.end()).answer)).toMatch(/^250/)
})
