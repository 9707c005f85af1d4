/**
 * Whether we are stricter than the servers behind us: every row of spellings.ts, asked of each of them directly and through
 * us. And whether a spelling gets a recipient past the list of domains.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { type Client, connectClient } from '../../support/client.ts'
import { SERVERS } from '../servers.ts'
import type { Scripted } from './scripted.ts'
import { ASKED, SPELLINGS } from './spellings.ts'
import { ANNA, DOMAIN, FROM, OTTO, type Stand, startStand } from './stand.ts'

const MAIL = `MAIL FROM:<${FROM}>`
const EHLO = 'EHLO client.example'
/** All clients of this file are one address. */
const UNLIMITED = Object.fromEntries(
  ['IP_CONNECTIONS', 'IP_CONCURRENCY', 'NET_CONNECTIONS', 'IP_MESSAGES', 'IP_UNKNOWN_RECIPIENTS'].map((limit) => [
    `LIMIT_${limit}`,
    'off',
  ]),
)

/** The command among those that make a transaction of it. */
function transactionOf(line: string): readonly string[] {
  if (/^ *MAIL/i.test(line)) return [EHLO, line, `RCPT TO:<${ANNA}>`]
  return /^RCPT/i.test(line) ? [EHLO, MAIL, line] : [line, MAIL, `RCPT TO:<${ANNA}>`]
}

/** The reply to the first command that is not granted, or to the last; the client is gone behind it. */
async function replyTo(client: Client, line: string): Promise<string> {
  let reply = await client.reply()
  for (const command of transactionOf(line)) {
    reply = await client.command(command)
    if (!/^25/.test(reply)) break
  }
  client.destroy()
  return reply
}
const answer = async (client: Client, line: string): Promise<string> => (await replyTo(client, line)).slice(0, 3)

test('R46 the table of spellings gives a reason wherever a server takes what we do not', () => {
  expect(SPELLINGS.length).toBeGreaterThan(180)
  expect(new Set(SPELLINGS.map(({ line }) => line)).size).toBe(SPELLINGS.length)
  const isStricter = ({ direct, through }: (typeof SPELLINGS)[number]): boolean =>
    direct.some((code, i) => code === '250' && through[i] !== '250')
  expect(SPELLINGS.filter((row) => isStricter(row) !== (row.why !== undefined)).map(({ line }) => line)).toEqual([])
})

describe.each(SERVERS)('with $name', (kind) => {
  const place = ASKED.indexOf(kind.name)
  let stand: Stand
  beforeAll(async () => {
    stand = await startStand(kind, {}, UNLIMITED)
  })
  afterAll(() => stand.stop())

  describe('R46 a spelling that can mean one thing only is taken, one that could mean two is refused', () => {
    test.each(SPELLINGS.map((row) => [JSON.stringify(row.line), row] as const))('%s', async (_, row) => {
      const { line, direct, through, canonical } = row
      if (place >= 0) {
        const said = await answer(await connectClient(stand.server.port(kind.plain)), line)
        const heard = await answer(await stand.app.client(), line)
        expect([said, heard]).toEqual([direct[place], through[place]])
        return
      }
      const { upstream } = stand.server as Scripted
      const before = upstream.mailed().length
      const code = await answer(await stand.app.client(), line)
      const mailed = upstream.mailed().slice(before)
      if (canonical === undefined) {
        // It offers all there is: what is refused in front of it is refused in front of any.
        expect([through.includes(code), mailed]).toEqual([true, []])
      } else {
        expect(mailed).toHaveLength(1)
        expect(mailed[0]?.lines).toContain(canonical)
      }
    })
  })
})

/** Paths of one mailbox whose domain is not listed, as at least one server reads them. */
const HIDDEN: readonly string[] = [
  'secret@elsewhere.example',
  'SECRET@ELSEWHERE.EXAMPLE',
  'secret@elsewhere.example.',
  '"secret"@elsewhere.example',
  's\\ecret@elsewhere.example',
  '"s\\ecret"@elsewhere.example',
  '"secret@elsewhere.example"',
  'secret@"elsewhere.example"',
  '"secret@elsewhere.example"@example.test',
  'secret@elsewhere.example@example.test',
  'secret@elsewhere.example@',
  '@example.test:secret@elsewhere.example',
  '@example.test,@example.test:secret@elsewhere.example',
  '@example.test:@example.test:secret@elsewhere.example',
  'otto@example.test:secret@elsewhere.example',
  'example.test:secret@elsewhere.example',
  'otto:secret@elsewhere.example',
  ':secret@elsewhere.example',
  'group:secret@elsewhere.example;',
  'secret@elsewhere.example,',
  'secret@elsewhere.example;',
  ',secret@elsewhere.example',
  'secret@elsewhere.example(@example.test',
  'secret@elsewhere.example(@example.test)',
  'secret@elsewhere.example (otto@example.test',
  'secret(@example.test)@elsewhere.example',
  'secret @elsewhere.example',
  'secret@ elsewhere.example',
  '<secret@elsewhere.example>',
  'otto <secret@elsewhere.example>',
  '"otto@example.test" <secret@elsewhere.example>',
  'secret@elsewhere.example>@example.test',
  'secret\\@example.test@elsewhere.example',
]

const OURS =
  /^(501 5\.[15]\.[347] (Syntax|Bad parameter|Control characters)|550 5\.7\.1 \[127\.0\.0\.1\] We do not receive)/

describe.each(SERVERS.filter(({ name }) => ASKED.includes(name)))('with $name', (kind) => {
  test('R46 no spelling brings a recipient past the list of domains', async () => {
    const stand = await startStand(
      kind,
      { recipients: [OTTO, 'secret@elsewhere.example'] },
      { ...UNLIMITED, RCPT_DOMAINS: DOMAIN },
    )
    try {
      const taken: string[] = []
      for (const path of HIDDEN) {
        for (const line of [`RCPT TO:<${path}>`, `RCPT TO:${path}`]) {
          if ((await answer(await connectClient(stand.server.port(kind.plain)), line)) === '250') taken.push(line)
          // The server is not even asked.
          expect([line, await replyTo(await stand.app.client(), line)]).toEqual([line, expect.stringMatching(OURS)])
        }
      }
      // Without the list they would be delivered.
      expect(taken.length).toBeGreaterThanOrEqual(4)
      expect(await answer(await stand.app.client(), `RCPT TO:${OTTO}`)).toBe('250')
    } finally {
      await stand.stop()
    }
  })
})
