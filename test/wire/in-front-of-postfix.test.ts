/** Spillway in front of a real Postfix, which knows who each client is and gets the mail as it was written, also in a flood. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { type Postfix, startPostfix } from '../services/postfix.ts'
import { runCommand } from '../services/processes.ts'
import { eventually, startApp, type TestApp } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { type DnsServer, reverseName, startDns } from '../support/dns.ts'

const ANNA = 'anna@example.test'
const OTTO = 'otto@example.test'
let postfix: Postfix
let dns: DnsServer
let spillway: TestApp
beforeAll(async () => {
  dns = await startDns({
    [`${reverseName('127.0.0.7')} ptr`]: ['mail.sender.example'],
    'mail.sender.example a': ['127.0.0.7'],
  })
  postfix = await startPostfix({
    recipients: [ANNA, OTTO],
    sizeLimit: 200_000,
    listeners: [{ kind: 'xclient' }, { kind: 'haproxy' }, { kind: 'plain' }],
  })
})
afterAll(async () => {
  await postfix.stop()
  await dns.stop()
})
afterEach(() => spillway.stop())

async function start(mode: string, settings: Record<string, string> = {}): Promise<TestApp> {
  const port = postfix.port(mode === 'xclient' ? 'xclient' : mode.startsWith('proxy') ? 'haproxy' : 'plain')
  spillway = await startApp(`127.0.0.1:${port}`, {
    UPSTREAM_CLIENT_IP: mode,
    DNS_SERVERS: dns.address,
    RELAY_GUARD: 'on',
    ...settings,
  })
  return spillway
}
const swaks = async (to: string, ...args: string[]): Promise<string> =>
  (
    await runCommand('swaks', [
      '--server',
      `127.0.0.1:${spillway.port}`,
      '--from',
      'bert@sender.example',
      '--to',
      to,
      ...args,
    ])
  ).output
/** What Postfix stored behind the header, to which it adds lines of its own. */
const bodyOf = (message: Buffer | undefined): string => {
  const text = (message ?? Buffer.alloc(0)).toString('latin1')
  return text.slice(text.indexOf('\n\n') + 2)
}
const greeted = async (from?: string, helo?: string): Promise<Client> => {
  const client = await spillway.client(from)
  await client.hello(helo)
  return client
}

describe('R36 a real Postfix knows who the client is', () => {
  test.each([
    ['xclient', '127.0.0.7', 'mail.sender.example[127.0.0.7]'],
    ['xclient', '127.0.0.8', 'unknown[127.0.0.8]'],
    ['proxy-v1', '127.0.0.9', 'unknown[127.0.0.9]'],
    ['proxy-v2', '127.0.0.10', 'unknown[127.0.0.10]'],
  ])('by %s: the mail of %s is in the mailbox, and the log has %s', async (mode, from, logged) => {
    await start(mode)
    const id = `${mode}-${from}`
    const said = await swaks(
      ANNA,
      '--local-interface',
      from,
      '--helo',
      'helo.sender.example',
      '--header',
      `Subject: ${id}`,
    )
    expect(said).toContain('250 2.0.0 Ok: queued')
    await postfix.waitForLog(new RegExp(`client=${logged.replace(/[[\].]/g, '\\$&')}`))
    const found = await eventually(
      () => postfix.messages(ANNA).find((message) => message.includes(`Subject: ${id}\n`)),
      (message) => message !== undefined,
    )
    const name = logged.slice(0, logged.indexOf('['))
    expect(String(found)).toContain(`Received: from helo.sender.example (${name} [${from}])`)
    expect(await spillway.ofAnybody('spillway_messages_total', `result="accepted"`)).toBe(1)
  })

  test('a second client never arrives under the first one’s address: many clients, many messages, interleaved', async () => {
    await start('xclient', { UPSTREAM_MAX_CONNECTIONS: '4' })
    const before = postfix.messages(OTTO).length
    const clients = await Promise.all(
      Array.from({ length: 12 }, async (_, i) => ({
        from: `127.0.1.${i + 1}`,
        client: await greeted(`127.0.1.${i + 1}`, `h${i + 1}.example`),
      })),
    )
    await Promise.all(
      clients.map(async ({ from, client }) => {
        for (let i = 0; i < 4; i++) {
          expect(await client.send('a@sender.example', OTTO, `Subject: from ${from} no ${i}\r\n\r\nx\r\n`)).toMatch(
            /^250 2\.0\.0/,
          )
          if (i % 2 === 1) await client.command('EHLO again.example')
        }
        await client.command('QUIT')
      }),
    )
    const messages = (await postfix.waitForMessages(OTTO, before + 48)).slice(before).map(String)
    expect(messages).toHaveLength(48)
    const wrong = messages.filter((message) => {
      const [, claimed] = /^Subject: from (\S+) /m.exec(message) ?? []
      const [, seen] = /^Received: from \S+ \(unknown \[([^\]]+)\]\)/m.exec(message) ?? []
      return claimed === undefined || claimed !== seen
    })
    expect(wrong).toEqual([])
  })
})

describe('recipients', () => {
  test('R5 R12 the 550 5.1.1 of an unknown one passes, and of a mixed set the known get the mail', async () => {
    await start('xclient')
    const client = await greeted()
    await client.command('MAIL FROM:<bert@sender.example>')
    expect(await client.command('RCPT TO:<nobody@example.test>')).toMatch(
      /^550 5\.1\.1 <nobody@example\.test>: .*User unknown.* \([0-9A-Z]+\)$/,
    )
    expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^250 2\.1\.5 Ok/)
    expect(await client.command('RCPT TO:<a@elsewhere.example>')).toMatch(/^554 5\.7\.1 .*Relay access denied/)
    expect(await client.command('DATA')).toMatch(/^354 /)
    client.write('Subject: mixed\r\n\r\nx\r\n.\r\n')
    expect(await client.reply()).toMatch(/^250 2\.0\.0 Ok: queued as/)
    await eventually(
      () => postfix.messages(ANNA).filter((message) => message.includes('Subject: mixed')).length,
      (count) => count === 1,
    )
  })

  test('R12 where none was taken, DATA is 554', async () => {
    await start('xclient')
    const client = await greeted()
    expect(await client.send('bert@sender.example', 'nobody@example.test')).toMatch(/^550 5\.1\.1/)
    expect(await client.command('DATA')).toMatch(/^554 5\.5\.1/)
  })
})

describe('messages', () => {
  const deliver = async (subject: string, body: string): Promise<string> => {
    await start('xclient')
    const client = await greeted()
    expect(await client.send('bert@sender.example', ANNA, `Subject: ${subject}\r\n\r\n${body}`)).toMatch(/^250 2\.0\.0/)
    const found = await eventually(
      () => postfix.messages(ANNA).find((message) => message.includes(`Subject: ${subject}\n`)),
      (message) => message !== undefined,
    )
    return bodyOf(found)
  }

  test('R28 8-bit bytes and dots are in the mailbox as they were written', async () => {
    const every = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i))
      .filter((char) => !'\r\n\0'.includes(char))
      .join('')
    const lines = ['.', '..', '...a', '.a', '', `x${every}`, 'gr\xc3\xbc\xc3\x9fe', '', '.']
    const wire = lines.map((line) => `${line.startsWith('.') ? '.' : ''}${line}\r\n`).join('')
    expect(await deliver('bytes', wire)).toBe(`${lines.join('\n')}\n`)
  })

  test('R26 R27 bare newlines are set right, end no message and smuggle no second one', async () => {
    const body = 'one\ntwo\rthree\r\n\n.\nMAIL FROM:<evil@evil.example>\n.\r\nfour\r\n'
    expect(await deliver('bare', body)).toBe('one\ntwo three\n\n.\nMAIL FROM:<evil@evil.example>\n.\nfour\n')
    expect(postfix.log()).not.toContain('evil@evil.example')
  })

  test('R16 the limit of its SIZE is learned: said in EHLO, a larger one is refused at MAIL and at the dot', async () => {
    await start('xclient')
    const client = await spillway.client()
    expect(await client.hello()).toMatch(/^250-SIZE 200000\r$/m)
    expect(await client.command('MAIL FROM:<bert@sender.example> SIZE=200001')).toMatch(/^552 5\.3\.4 /)
    const line = `${'x'.repeat(70)}\r\n`
    const body = `Subject: big\r\n\r\n${line.repeat(3000)}`
    expect(await client.send('bert@sender.example', ANNA, body)).toMatch(/^552 5\.3\.4 /)
    expect(await client.send('bert@sender.example', ANNA, 'Subject: small again\r\n\r\nx\r\n')).toMatch(/^250 /)
  })

  test('R14 twenty in one write, and QUIT behind them', async () => {
    await start('xclient')
    const before = postfix.messages(OTTO).length
    const client = await greeted()
    client.write(
      `${Array.from({ length: 20 }, (_, i) => `MAIL FROM:<a@sender.example>\r\nRCPT TO:<${OTTO}>\r\nDATA\r\nSubject: pipe ${i}\r\n\r\n${i}\r\n.\r\n`).join('')}QUIT\r\n`,
    )
    const codes: string[] = []
    for (let i = 0; i < 81; i++) codes.push((await client.reply()).slice(0, 3))
    expect(codes.join(' ')).toBe(`${'250 250 354 250 '.repeat(20)}221`)
    const messages = (await postfix.waitForMessages(OTTO, before + 20)).slice(before)
    expect(new Set(messages.map((message) => /Subject: pipe (\d+)/.exec(String(message))?.[1])).size).toBe(20)
  })
})

describe('the relay guard', () => {
  test('a Postfix that trusts our address is not used by none: it would be an open relay', async () => {
    await postfix.reconfigure({
      smtpd_relay_restrictions: 'permit_mynetworks, reject_unauth_destination',
      // It would take what is foreign; so that it still goes nowhere, it is thrown away.
      default_transport: 'discard:',
    })
    await start('none')
    const client = await greeted()
    expect(await client.send('bert@sender.example', ANNA)).toMatch(/^451 4\.3\.2 /)
    expect(spillway.log().find(({ level }) => level === 'error')?.msg).toMatch(/open relay/)
    await spillway.stop()
    // The same server, told by XCLIENT that the client is a stranger, refuses what is foreign: it is used.
    await start('xclient')
    const other = await greeted()
    expect(await other.send('bert@sender.example', ANNA, 'Subject: guarded\r\n\r\nx\r\n')).toMatch(/^250 /)
  })
})

describe('a flood', () => {
  test('thousands of sources over their limits hear 421 4.7.28, and honest mail is delivered meanwhile', async () => {
    await start('xclient', { LIMIT_NET_CONNECTIONS: '20/1m', LOG_LEVEL: 'warn' })
    const before = postfix.messages(ANNA).length
    const heard = new Map<string, number>()
    const visit = async (from: string): Promise<void> => {
      const client = await spillway.client(from)
      const reply = await client.reply()
      const kind = reply.replace(/\[[^\]]*\]|\([^)]*\)/g, '').slice(0, 10)
      heard.set(kind, (heard.get(kind) ?? 0) + 1)
      client.destroy()
    }
    let flooding = true
    const flood = (async () => {
      // 10 neighbourhoods of 250 addresses each, 3,000 connections in all.
      for (let i = 0; i < 3000; i += 60) {
        await Promise.all(
          Array.from({ length: 60 }, (_, j) => visit(`127.9.${(i + j) % 10}.${1 + (Math.floor((i + j) / 10) % 250)}`)),
        )
      }
      flooding = false
    })()
    let delivered = 0
    while (flooding || delivered < 5) {
      const client = await greeted('127.0.0.7', 'mail.sender.example')
      expect(await client.send('honest@sender.example', ANNA, `Subject: honest ${delivered}\r\n\r\nx\r\n`)).toMatch(
        /^250 2\.0\.0/,
      )
      await client.command('QUIT')
      if (++delivered === 19) break
    }
    await flood
    expect(Object.fromEntries(heard)).toEqual({ '220 mx.tes': 200, '421 4.7.28': 2800 })
    await postfix.waitForMessages(ANNA, before + delivered)
    expect(postfix.log()).not.toContain('127.9.')
    await eventually(
      () => spillway.metric('spillway_connections_open{family="ipv4"}'),
      (open) => open === 0,
    )
    expect((await spillway.get('/metrics')).body).not.toMatch(/refusals_total\{[^}]*action="reject"[^}]*\} [1-9]/)
  })
})
