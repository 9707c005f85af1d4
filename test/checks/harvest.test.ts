/** Guessing addresses, with the limits as they are shipped: what hides a guess, and what is no guess. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { ACCEPTS_EVERYTHING } from '../../src/state/known-recipients.ts'
import { startApp, type TestApp } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let app: TestApp
beforeAll(async () => {
  upstream = await startUpstream({
    script: (verb, line) => (verb === 'RCPT' && /<(no|guess)/.test(line) ? '550 5.1.1 no such user' : 'default'),
  })
  app = await startApp(upstream.address)
  // That a domain takes everything is known when so many of its mailboxes were taken.
  const honest = await connected()
  for (let i = 0; i < ACCEPTS_EVERYTHING; i += 100) {
    await message(
      honest,
      Array.from({ length: 100 }, (_, k) => `u${i + k}@all.example`),
    )
  }
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})

/** One message that names all of these, a few hundred at most. */
async function message(client: Client, to: readonly string[]): Promise<string[]> {
  await client.command('MAIL FROM:<a@example.org>')
  client.write(to.map((each) => `RCPT TO:<${each}>\r\n`).join(''))
  const codes: string[] = []
  for (const _ of to) codes.push((await client.reply()).slice(0, 9))
  await client.command('RSET')
  return codes
}

let address = 10
/** An address that no test has used, of a network that none has used. */
const someone = (): string => `127.0.${address++}.4`
const connected = async (from = someone()): Promise<Client> => {
  const client = await app.client(from)
  await client.hello()
  return client
}

describe('1,500 guesses', () => {
  test.each<[string, (guess: number, cover: number) => string]>([
    ['three times one valid address before each', () => 'valid@example.net'],
    ['postmaster', () => 'postmaster@example.net'],
    [
      'abuse and postmaster in turn',
      (guess, cover) => ['abuse@example.net', 'Postmaster', 'PostMaster@x.example'][(guess + cover) % 3] as string,
    ],
    ['abuse of every domain there is', (guess, cover) => `abuse@d${guess}.${cover}.example`],
    ['a domain that takes everything', (guess, cover) => `${guess}.${cover}@all.example`],
    ['its spellings', (guess, cover) => `valid+${guess}.${cover}@example.net`],
    ['a handful of valid addresses in turn', (guess, cover) => `valid${(3 * guess + cover) % 10}@example.net`],
  ])('behind %s: 20 are answered', async (_, cover) => {
    const from = someone()
    let answered = 0
    // A session that hears so many refusals is closed: the guesser comes back.
    for (let session = 0; session < 75; session++) {
      const client = await connected(from)
      const to = Array.from({ length: 80 }, (__, i) => {
        const guess = session * 20 + Math.floor(i / 4)
        return i % 4 === 3 ? `guess${guess}@example.net` : cover(guess, i % 4)
      })
      const codes = await message(client, to)
      client.destroy()
      answered += codes.filter((code) => code === '550 5.1.1').length
      if (session > 0) expect(codes.filter((__, i) => i % 4 === 3)).toEqual(Array(20).fill('450 4.7.1'))
    }
    expect(answered).toBe(20)
  })
})

test('an honest list of a thousand, one in ten of them dead, passes; and so does the next to the same', async () => {
  const client = await connected()
  for (let mailing = 0; mailing < 2; mailing++) {
    for (let batch = 0; batch < 5; batch++) {
      const to = Array.from({ length: 200 }, (_, i) => `${i % 10 === 9 ? 'no' : 'u'}${batch}.${i}@example.net`)
      const codes = await message(client, to)
      expect(codes.filter((code) => code.startsWith('250'))).toHaveLength(180)
      expect(codes.filter((code) => code === '550 5.1.1')).toHaveLength(20)
    }
  }
})

test('a sender that writes to the same few all day, one of whom is gone, passes', async () => {
  const client = await connected()
  for (let i = 0; i < 100; i++) {
    const codes = await message(client, ['one@example.net', 'two@example.net', 'nobody@example.net'])
    expect(codes).toEqual(['250 2.1.5', '250 2.1.5', '550 5.1.1'])
  }
})

describe('a harvest that is spread over the addresses of a network, as shipped', () => {
  const guesses = (by: string, count: number): string[] =>
    Array.from({ length: count }, (_, i) => `guess${by}.${i}@example.net`)
  const unknown = (codes: readonly string[]): number => codes.filter((code) => code === '550 5.1.1').length

  test('is answered a hundred times; a neighbour without part in it waits, one of another network does not', async () => {
    let answered = 0
    for (let host = 1; host <= 30; host++)
      answered += unknown(await message(await connected(`127.9.1.${host}`), guesses(`a${host}`, 12)))
    expect(answered).toBeGreaterThanOrEqual(100)
    expect(answered).toBeLessThan(112)
    expect(await message(await connected('127.9.1.200'), ['u1@example.net'])).toEqual(['450 4.7.1'])
    expect(await message(await connected('127.9.1.201'), ['postmaster@example.net'])).toEqual(['250 2.1.5'])
    expect(await message(await connected('127.9.2.1'), ['u1@example.net'])).toEqual(['250 2.1.5'])
  })

  test('of four customers of a provider puts off none of the others', async () => {
    for (let host = 1; host <= 4; host++) {
      for (let i = 0; i < 3; i++) await message(await connected(`127.9.3.${host}`), guesses(`b${host}.${i}`, 20))
    }
    expect(await message(await connected('127.9.3.200'), ['u1@example.net', 'nobody@example.net'])).toEqual([
      ...['250 2.1.5', '550 5.1.1'],
    ])
  })

  test('is none where seven in ten of what the network names exist', async () => {
    for (let host = 1; host <= 20; host++) {
      const alive = Array.from({ length: 20 }, (_, i) => `u${host}.${i}@example.net`)
      const codes = await message(await connected(`127.9.4.${host}`), [...alive, ...guesses(`c${host}`, 8)])
      expect([codes.filter((code) => code.startsWith('250')).length, unknown(codes)]).toEqual([20, 8])
    }
  })

  test('with a null sender is bounded in the same way, and one who is verified passes', async () => {
    let answered = 0
    for (let host = 1; host <= 15; host++) {
      const client = await connected(`127.9.5.${host}`)
      for (let i = 0; i < 12; i++) {
        await client.command('MAIL FROM:<>')
        answered += unknown([(await client.command(`RCPT TO:<guessd${host}.${i}@example.net>`)).slice(0, 9)])
        await client.command('RSET')
      }
    }
    expect(answered).toBeGreaterThanOrEqual(100)
    expect(answered).toBeLessThan(112)
  })
})
