/**
 * Mail of real clients through Spillway into a real Postfix: messages that can be told apart and checked by themselves,
 * and the count of everything at the end, so that nothing lost, doubled or changed goes unseen.
 */
import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from '@jest/globals'
import { countMaildir, maildir } from '../services/maildir.ts'
import { type Postfix, startPostfix } from '../services/postfix.ts'
import { eventually, startApp, type TestApp } from '../support/app.ts'

export const SENDER = 'bert@sender.example'

/** A message with LF for CRLF; its header has its number and the SHA-256 of its body. */
export interface Mail {
  readonly number: number
  readonly text: string
}

const sha256 = (text: string): string => createHash('sha256').update(text, 'latin1').digest('hex')

/** Lines that have been changed on the way by one program or another; UTF-8 as latin1. */
const HARD_LINES = [
  '.',
  '..',
  '.x',
  '. ',
  'From here on',
  '>From',
  '',
  'blanks at the end  ',
  '\t',
  Buffer.from('Grüße aus Zürich, 你好').toString('latin1'),
  'y'.repeat(990),
  'QUIT',
  'RCPT TO:<other@example.test>',
]

/** As many messages, every one different, the same in each run; up to thirty lines. */
export function mails(count: number, name: string): Mail[] {
  return Array.from({ length: count }, (_, number) => {
    const random = createHash('sha512').update(`${name} ${number}`).digest()
    const lines = Array.from({ length: 1 + ((random[0] as number) % 100) }, (_, at) => {
      const dice = random[(at + 1) % random.length] as number
      return dice < 64
        ? (HARD_LINES[(dice + at) % HARD_LINES.length] as string)
        : `${at} ${random.toString('base64url', at % 60)}`
    })
    // The last line has text: who adds or takes away empty lines at the end does not do it here.
    const body = `${[...lines, `end of ${number}`].join('\n')}\n`
    const header = [
      `From: <${SENDER}>`,
      `Subject: ${name} ${number}`,
      'Date: Sat, 1 Aug 2026 00:00:00 +0000',
      `Message-ID: <${name}.${number}@sender.example>`,
      'MIME-Version: 1.0',
      'Content-Type: text/plain; charset=utf-8',
      'Content-Transfer-Encoding: 8bit',
      `X-Number: ${number}`,
      `X-Sha256: ${sha256(body)}`,
    ]
    return { number, text: `${header.join('\n')}\n\n${body}` }
  })
}

/** The form on the wire, with the dots of RFC 5321 section 4.5.2, without the last one. */
export const onTheWire = ({ text }: Mail): string => text.replace(/^\./gm, '..').replaceAll('\n', '\r\n')

export interface Path {
  readonly spillway: TestApp
  readonly postfix: Postfix
  /**
   * Waits until as many are in the mailbox, and sees that each is there once, as it was sent; and that Spillway has
   * accepted as many, has nothing else to tell of, and holds nothing any more.
   */
  expectEachOnce(sent: readonly Mail[], recipient: string): Promise<void>
  /** The last part of that, for messages that are looked at elsewhere. */
  expectAllAccepted(count: number): Promise<void>
  stop(): Promise<void>
}

/** The clients of these tests all come from one address. */
const NO_LIMITS = {
  LIMIT_IP_CONNECTIONS: 'off',
  LIMIT_NET_CONNECTIONS: 'off',
  LIMIT_IP_CONCURRENCY: 'off',
  LIMIT_IP_MESSAGES: 'off',
  LIMIT_IP_RECIPIENTS: 'off',
}

/** For thousands of messages that go to disk twice, on a machine that has other things to do. */
const DEADLINE_MS = 60_000

/** A Spillway in front of a Postfix, which it tells the client's address by XCLIENT. */
/** @param more settings of Spillway */
export async function startPath(recipients: readonly string[], more: Record<string, string> = {}): Promise<Path> {
  const postfix = await startPostfix({ recipients, listeners: [{ kind: 'xclient' }] })
  const upstream = `127.0.0.1:${postfix.port()}`
  const spillway = await startApp(upstream, { UPSTREAM_CLIENT_IP: 'xclient', ...NO_LIMITS, ...more })

  const count = (recipient: string) => countMaildir(join(postfix.directory, 'mail', maildir(recipient)))
  const expectAllAccepted = async (sent: number): Promise<void> => {
    const inUse = await eventually(() => totals(spillway, 'connections_open', 'upstream_connections_open'), empty)
    expect(inUse).toEqual({})
    expect(await totals(spillway, 'messages_total', 'messages_client_left_total')).toEqual({
      'messages_total{accepted}': sent,
    })
    // A message that Postfix took and has not delivered yet would still come: all of them have left its queue.
    const queue = () => ['incoming', 'active'].flatMap((name) => readdirSync(join(postfix.directory, 'queue', name)))
    await eventually(queue, ({ length }) => length === 0, DEADLINE_MS)
    const lines = () => postfix.log().match(/postfix\/qmgr\[\d+\]: \w+: (?:from=|removed)/g)?.length
    expect(await eventually(lines, (found) => (found ?? 0) >= 2 * sent)).toBe(2 * sent)
  }
  return {
    spillway,
    postfix,
    expectAllAccepted,
    async expectEachOnce(sent, recipient) {
      await eventually(
        () => count(recipient),
        (found) => found >= sent.length,
        DEADLINE_MS,
      )
      await expectAllAccepted(sent.length)
      const found = postfix.messages(recipient).map((message) => message.toString('latin1'))
      expect(found.map(numberOf).sort((a, b) => a - b)).toEqual(sent.map(({ number }) => number))
      expect(found.filter((message) => sha256(bodyOf(message)) !== fieldOf(message, 'X-Sha256')).slice(0, 1)).toEqual(
        [],
      )
    },
    async stop() {
      await spillway.stop()
      await postfix.stop()
    },
  }
}

const fieldOf = (message: string, name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(message)?.[1]
const numberOf = (message: string): number => Number(fieldOf(message, 'X-Number'))
const bodyOf = (message: string): string => message.slice(message.indexOf('\n\n') + 2)
const empty = (values: object): boolean => Object.keys(values).length === 0

/** Sums of series over all labels but `result`; those that are 0 are left out. */
async function totals(spillway: TestApp, ...names: readonly string[]): Promise<Record<string, number>> {
  const { body } = await spillway.get('/metrics')
  const sums: Record<string, number> = {}
  for (const [, name, labels, value] of body.matchAll(/^spillway_(\w+)\{(.*)\} (\S+)$/gm)) {
    if (!names.includes(name as string) || Number(value) === 0) continue
    const result = /result="(\w+)"/.exec(labels as string)?.[1]
    const key = result === undefined ? (name as string) : `${name}{${result}}`
    sums[key] = (sums[key] ?? 0) + Number(value)
  }
  return sums
}
