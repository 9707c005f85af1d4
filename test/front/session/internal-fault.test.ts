/**
 * R47 for a fault in Spillway itself: the command hears 451, and what was pipelined behind it must not hear a 5yz for not
 * having been preceded by one that was granted.
 */
import { afterEach, describe, expect, test } from '@jest/globals'
import { startFront, type TestFront } from '../../support/front.ts'
import { startUpstream } from '../../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** A node whose parts throw from the moment on that `breakNow` is called. */
async function start(): Promise<{ front: TestFront; breakNow: (part: 'sizes' | 'counts' | undefined) => void }> {
  let broken: string | undefined
  const orThrow = (part: string): void => {
    if (broken === part) throw new Error(`${part} are broken`)
  }
  const upstream = await startUpstream()
  ends.push(() => upstream.stop())
  const front = await startFront(upstream.address, {}, {}, (right) => {
    const { policy, limits } = right
    const maxSize = (): number | undefined => {
      orThrow('sizes')
      return policy.maxSize()
    }
    const take: typeof limits.take = (...what) => {
      orThrow('counts')
      return limits.take(...what)
    }
    const breaking = new Proxy(limits, {
      get: (whole, name: keyof typeof limits) => (name === 'take' ? take : whole[name].bind(whole)),
    })
    return { ...right, policy: { ...policy, maxSize }, limits: breaking }
  })
  ends.push(() => front.stop())
  return { front, breakNow: (part) => (broken = part) }
}

const GROUP = ['EHLO client.example', 'MAIL FROM:<a@example.org>', 'RCPT TO:<b@example.net>', 'DATA']

describe('R47 a fault of our own', () => {
  test.each([
    ['EHLO', 0, 'sizes'],
    ['MAIL', 1, 'sizes'],
    ['RCPT', 2, 'counts'],
  ] as const)('at %s puts off what was pipelined behind it, and then mail goes on', async (_, from, part) => {
    const { front, breakNow } = await start()
    const client = await front.client()
    expect(await client.reply()).toMatch(/^220 /)
    for (const line of GROUP.slice(0, from)) expect(await client.command(line)).toMatch(/^250/)
    breakNow(part)
    const rest = GROUP.slice(from)
    client.write(rest.map((line) => `${line}\r\n`).join(''))
    for (const line of rest) expect([line, await client.reply()]).toEqual([line, expect.stringMatching(/^451 4\./)])
    breakNow(undefined)
    expect(await client.command('EHLO client.example')).toMatch(/^250/)
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  })

  test('but who has said no EHLO, or no MAIL that could be read, is out of order', async () => {
    const { front } = await start()
    const client = await front.client()
    await client.reply()
    for (const line of GROUP.slice(1)) expect(await client.command(line)).toMatch(/^503 5\.5\.1 /)
    await client.command('EHLO client.example')
    expect(await client.command('MAIL FROM:<a@example.org> <b@example.org>')).toMatch(/^501 /)
    for (const line of GROUP.slice(2)) expect(await client.command(line)).toMatch(/^503 5\.5\.1 /)
  })
})
