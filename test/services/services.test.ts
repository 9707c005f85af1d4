import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { type Postfix, startPostfix } from './postfix.ts'
import { runCommand } from './processes.ts'
import { startSink } from './sink.ts'

const ANNA = 'anna@example.test'

/** One message by swaks, to a listener of Postfix; resolves with the transcript. */
async function send(port: number, to: string, ...args: string[]): Promise<string> {
  const envelope = [
    '--server',
    `127.0.0.1:${port}`,
    '--from',
    'bert@sender.example',
    '--to',
    to,
    '--helo',
    'sender.example',
  ]
  return (await runCommand('swaks', [...envelope, ...args])).output
}

describe('a real Postfix', () => {
  let postfix: Postfix
  beforeAll(async () => {
    postfix = await startPostfix({
      recipients: [ANNA, 'Otto@Other.test'],
      sizeLimit: 50_000,
      listeners: [
        { kind: 'plain' },
        { kind: 'plain', name: 'odd', params: { smtpd_banner: '$myhostname ESMTP odd, with spaces' } },
        { kind: 'xclient' },
        { kind: 'haproxy' },
        { kind: 'postscreen', deny: ['127.0.0.64/28'] },
      ],
    })
  })
  afterAll(() => postfix.stop())

  test('has an empty log when it is ready', () => {
    expect(postfix.log()).toBe('')
  })

  test('delivers into a mailbox, message after message', async () => {
    expect(await send(postfix.port(), ANNA, '--header', 'Subject: one')).toContain('250 2.0.0 Ok: queued')
    const [first] = await postfix.waitForMessages(ANNA, 1)
    expect(String(first)).toMatch(/^Return-Path: <bert@sender\.example>\n[\s\S]*\nSubject: one\n/)
    await send(postfix.port(), ANNA, '--header', 'Subject: two')
    const subjects = (await postfix.waitForMessages(ANNA, 2)).map(
      (message) => /^Subject: (.*)$/m.exec(String(message))?.[1],
    )
    expect(subjects).toEqual(['one', 'two'])
    expect(postfix.messages('otto@other.test')).toEqual([])
  })

  test.each([
    ['an unknown recipient', 'nobody@example.test', /<\*\* 550 5\.1\.1 <nobody@example\.test>: .*User unknown/],
    ['an unknown recipient of another domain', 'anna@other.test', /<\*\* 550 5\.1\.1 .*User unknown/],
    ['a foreign domain', 'anna@elsewhere.example', /<\*\* 554 5\.7\.1 .*Relay access denied/],
  ])('refuses %s', async (_, to, reply) => {
    expect(await send(postfix.port(), to)).toMatch(reply)
  })

  test('holds to the size limit', async () => {
    const transcript = await send(postfix.port(), ANNA, '--body', 'x'.repeat(70).concat('\\n').repeat(800))
    expect(transcript).toContain('250-SIZE 50000')
    expect(transcript).toMatch(/<\*\* 552 5\.3\.4 /)
  })

  test('logs the name and address that XCLIENT gives', async () => {
    const port = postfix.port('xclient')
    await send(port, ANNA, '--xclient-addr', '203.0.113.7', '--xclient-name', 'mail.sender.example')
    await postfix.waitForLog(/client=mail\.sender\.example\[203\.0\.113\.7\]/)
    await send(port, ANNA, '--xclient-addr', 'IPV6:2001:db8::7')
    await postfix.waitForLog(/client=\S+\[2001:db8::7\]/)
  })

  test.each([
    ['1', 'TCP4', '203.0.113.8'],
    ['1', 'TCP6', '2001:db8::8'],
    ['2', 'AF_INET', '203.0.113.9'],
  ])('logs the address of a PROXY header, version %s, %s', async (version, family, address) => {
    const proxy = { version, family, source: address, 'source-port': '4321', dest: '192.0.2.1', 'dest-port': '25' }
    if (family === 'TCP6') proxy.dest = '2001:db8::1'
    await send(
      postfix.port('haproxy'),
      ANNA,
      ...Object.entries(proxy).flatMap(([key, value]) => [`--proxy-${key}`, value]),
    )
    await postfix.waitForLog(new RegExp(`client=unknown\\[${address}\\]`))
  })

  test('postscreen drops who is on its deny list, and lets others in without a wait', async () => {
    const port = postfix.port('postscreen')
    expect(await send(port, ANNA, '--local-interface', '127.0.0.65')).toMatch(/<\*\* 521 5\.3\.2 /)
    expect(await send(port, ANNA, '--local-interface', '127.0.0.80')).toContain('250 2.0.0 Ok: queued')
  })

  test('takes parameters for one listener', async () => {
    expect(await send(postfix.port('odd'), ANNA, '--quit-after', 'HELO')).toContain(
      '220 mx.test.example ESMTP odd, with spaces',
    )
  })

  test('serves under new parameters after reconfigure()', async () => {
    await postfix.reconfigure({ smtpd_recipient_restrictions: 'defer' })
    expect(await send(postfix.port(), ANNA)).toMatch(/<\*\* 450 4\.3\.2 /)
    await postfix.reconfigure({ smtpd_recipient_restrictions: '' })
    expect(await send(postfix.port(), ANNA)).toContain('250 2.0.0 Ok: queued')
  })
})

test('a Postfix that cannot start says why', async () => {
  await expect(startPostfix({ params: { mail_owner: 'no-such-account' } })).rejects.toThrow(
    /unknown user name value: no-such-account/,
  )
})

test('a sink takes what Postfix relays before the queue', async () => {
  const sink = await startSink()
  const postfix = await startPostfix({
    recipients: [ANNA],
    listeners: [{ kind: 'proxy-filter', filter: `127.0.0.1:${sink.port}` }],
  })
  try {
    expect(await send(postfix.port(), ANNA)).toContain('<-  250 2.0.0 Ok')
    await postfix.waitForLog(/proxy-accept: END-OF-MESSAGE/)
    expect(postfix.messages(ANNA)).toEqual([])
  } finally {
    await postfix.stop()
    await sink.stop()
  }
})

test('ensure.ts has nothing to do and nothing to say when all is there', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(import.meta.dirname, 'ensure.ts')], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH },
  })
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' })
})
