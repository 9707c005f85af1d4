import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { connectClient } from '../support/client.ts'
import { type Exim, startExim } from './exim.ts'
import type { MailServer, MailServerOptions } from './mail-server.ts'
import { startOpenSmtpd } from './opensmtpd.ts'
import { startPostfix } from './postfix.ts'
import { alive, runCommand, waitUntil } from './processes.ts'

const ANNA = 'anna@example.test'
const SENDER = 'bert@sender.example'

/** One message by swaks; resolves with the transcript. */
async function send(port: number, to: string, ...args: string[]): Promise<string> {
  const envelope = ['--server', `127.0.0.1:${port}`, '--from', SENDER, '--to', to, '--helo', 'sender.example']
  return (await runCommand('swaks', [...envelope, ...args])).output
}

const viaProxy = (version: string, address: string) => {
  const family = version === '1' ? 'TCP4' : 'AF_INET'
  const header = { version, family, source: address, 'source-port': '4321', dest: '192.0.2.1', 'dest-port': '25' }
  return Object.entries(header).flatMap(([key, value]) => [`--proxy-${key}`, value])
}

interface Kind {
  readonly name: string
  readonly start: (options: MailServerOptions) => Promise<MailServer>
  readonly queued: RegExp
  readonly unknown: RegExp
  readonly foreign: RegExp
  readonly tooBig: RegExp
  readonly extensions: readonly string[]
  readonly proxyVersions: readonly string[]
}

const KINDS: readonly Kind[] = [
  {
    name: 'Exim',
    start: startExim,
    queued: /<- {2}250 OK id=/,
    unknown: /<\*\* 550 Unrouteable address/,
    foreign: /<\*\* 550 relay not permitted/,
    tooBig: /<\*\* 552 /,
    extensions: ['8BITMIME', 'CHUNKING', 'HELP', 'PIPECONNECT', 'PIPELINING', 'SIZE 50000', 'SMTPUTF8'],
    proxyVersions: ['1', '2'],
  },
  {
    name: 'OpenSMTPD',
    start: startOpenSmtpd,
    queued: /<- {2}250 2\.0\.0 \w+ Message accepted/,
    unknown: /<\*\* 550 Invalid recipient: <nobody@example\.test>/,
    foreign: /<\*\* 550 Invalid recipient: <anna@elsewhere\.example>/,
    tooBig: /<\*\* 554 5\.3\.4 Message too big/,
    extensions: ['8BITMIME', 'DSN', 'ENHANCEDSTATUSCODES', 'HELP', 'SIZE 50000'],
    proxyVersions: ['2'],
  },
]

/** Mount points of this process: what a server mounts must not be among them. */
const mounts = () => readFileSync('/proc/self/mountinfo', 'utf8')
const machine = () => ({
  passwd: readFileSync('/etc/passwd', 'utf8'),
  group: readFileSync('/etc/group', 'utf8'),
  spool: readdirSync('/var/spool'),
  run: existsSync('/run/smtpd.sock'),
})

describe.each(KINDS)('a real $name', (kind) => {
  let server: MailServer
  const before = { mounts: mounts(), machine: machine() }
  beforeAll(async () => {
    server = await kind.start({ recipients: [ANNA, 'Otto@Other.test'], sizeLimit: 50_000 })
  })
  afterAll(() => server.stop())

  test('has an empty log when it is ready', () => {
    expect(server.log()).toBe('')
  })

  test('shows the machine nothing of what it mounts, and leaves it as it is', () => {
    expect({ mounts: mounts(), machine: machine() }).toEqual(before)
  })

  test('delivers into a mailbox, message after message', async () => {
    expect(await send(server.port(), ANNA, '--header', 'Subject: one')).toMatch(kind.queued)
    const [first] = await server.waitForMessages(ANNA, 1)
    expect(String(first)).toMatch(/^Return-[Pp]ath: <bert@sender\.example>\n[\s\S]*\nSubject: one\n/)
    await send(server.port(), ANNA, '--header', 'Subject: two')
    const subjects = (await server.waitForMessages(ANNA, 2)).map(
      (message) => /^Subject: (.*)$/m.exec(String(message))?.[1],
    )
    expect(subjects).toEqual(['one', 'two'])
    expect(await send(server.port(), 'OTTO@other.TEST')).toMatch(kind.queued)
    expect(await server.waitForMessages('otto@other.test', 1)).toHaveLength(1)
  })

  test('offers what it is known to offer', async () => {
    const transcript = await send(server.port(), ANNA, '--quit-after', 'HELO')
    const offered = [...transcript.matchAll(/<- {2}250[- ](.*)/g)].slice(1).map(([, line]) => line)
    expect(offered.sort()).toEqual(kind.extensions)
  })

  test('refuses an unknown recipient and a foreign domain', async () => {
    expect(await send(server.port(), 'nobody@example.test')).toMatch(kind.unknown)
    expect(await send(server.port(), 'anna@elsewhere.example')).toMatch(kind.foreign)
  })

  test('holds to the size limit', async () => {
    const body = 'x'.repeat(70).concat('\\n').repeat(800)
    expect(await send(server.port(), ANNA, '--body', body)).toMatch(kind.tooBig)
  })

  test('takes hundreds of messages from one client, also over one connection', async () => {
    const client = await connectClient(server.port())
    await client.hello()
    const have = server.messages(ANNA).length
    for (let sent = 0; sent < 150; sent++) expect(await client.send(SENDER, ANNA)).toMatch(/^250/)
    expect(await client.command('QUIT')).toMatch(/^221/)
    await server.waitForMessages(ANNA, have + 150, 10_000)
  })

  test.each(kind.proxyVersions)('logs the address of a PROXY header, version %s', async (version) => {
    const address = `203.0.113.${version}`
    expect(await send(server.port('haproxy'), ANNA, ...viaProxy(version, address))).toMatch(kind.queued)
    await server.waitForLog(new RegExp(`(\\[|address=)${address.replaceAll('.', '\\.')}\\b`))
  })

  test('has no other listener', () => {
    expect(() => server.port('xclient')).toThrow('has no listener xclient')
  })
})

describe.each([
  ['Postfix', startPostfix, 'postfix.ts'],
  ['Exim', startExim, 'exim.ts'],
  ['OpenSMTPD', startOpenSmtpd, 'opensmtpd.ts'],
] as const)('%s leaves nothing behind', (_, start, file) => {
  test('when it is stopped: no process, no directory, also with a client connected', async () => {
    const server = await start({ recipients: [ANNA] })
    await send(server.port(), ANNA)
    await server.waitForMessages(ANNA, 1)
    const client = createConnection(server.port(), '127.0.0.1').on('error', () => undefined)
    await once(client, 'data')
    const pids = server.pids()
    expect(pids.length).toBeGreaterThan(1)
    const closed = once(client, 'close')
    await server.stop()
    expect(pids.filter(alive)).toEqual([])
    expect(existsSync(server.directory)).toBe(false)
    await closed
  })

  test('when the test process is killed', async () => {
    const script = `
      import { ${start.name} as start } from ${JSON.stringify(pathToFileURL(join(import.meta.dirname, file)).href)}
      const server = await start()
      console.log(JSON.stringify({ pids: server.pids(), directory: server.directory }))`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = await once(child.stdout, 'data')
    const { pids, directory } = JSON.parse(String(line)) as { pids: number[]; directory: string }
    expect(pids.every(alive)).toBe(true)
    child.kill('SIGKILL')
    const left = () => [...pids.filter(alive), ...(existsSync(directory) ? [directory] : [])]
    await waitUntil(
      () => (left().length === 0 ? true : undefined),
      5_000,
      () => `left behind: ${left()}`,
    )
  })
})

test('an Exim that cannot start says why', async () => {
  await expect(startExim({ params: { no_such_option: 'x' } })).rejects.toThrow(/"no_such_option" unknown/)
})

test('a server whose table cannot hold a recipient says so', async () => {
  await expect(startExim({ recipients: ['a b@example.test'] })).rejects.toThrow('cannot hold the recipient')
  await expect(startOpenSmtpd({ recipients: ['a b@example.test'] })).rejects.toThrow('cannot hold the recipient')
})

test('an Exim that sends hands its queue, when it is run, to the port it is told', async () => {
  const receiver = await startPostfix({ recipients: [ANNA] })
  let sender: Exim | undefined
  try {
    sender = await startExim({ sendTo: receiver.port() })
    const message = `MAIL FROM:<${SENDER}>\nRCPT TO:<${ANNA}>\nDATA\nSubject: queued\n\nhello\n.\n`
    await sender.run(['-bS', '-odq'], message.repeat(3))
    expect(receiver.messages(ANNA)).toEqual([])
    await sender.run(['-qff'])
    expect(await receiver.waitForMessages(ANNA, 3)).toHaveLength(3)
    await sender.waitForLog(/Completed[\s\S]*Completed[\s\S]*Completed/)
  } finally {
    await sender?.stop()
    await receiver.stop()
  }
})

// Whoever compares what a client sent with what a server stored relies on these.
const HEADER = 'Subject: form\r\nDate: Sat, 1 Aug 2026 00:00:00 +0000\r\nMessage-ID: <form@sender.example>\r\n\r\n'
const EVERY_BYTE = Buffer.from(
  Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => ![0, 10, 13].includes(byte)),
)
const UNCHANGED = [
  'From me\r\n>From you\r\n',
  'blanks at the end  \t\r\n\t\r\n\r\n\r\n',
  `${EVERY_BYTE.toString('latin1')}\r\n`,
  `${'long'.repeat(5_000)}\r\n`,
]
const FORMS: Record<string, readonly [body: string, stored: string][]> = {
  Postfix: [
    ['nul \0 nul\r\n', 'nul \0 nul\n'],
    ['a\nb\r\n', 'a\nb\n'],
    ['a\rb\r\n', 'a b\n'],
    ['a\r\r\nb\r\n', 'a\nb\n'],
  ],
  Exim: [
    ['nul \0 nul\r\n', 'nul \0 nul\n'],
    ['a\nb\r\n', 'a b\n'],
    ['a\n.\r\nb\r\n', 'a .\nb\n'],
    ['a\r\n.\nb\r\n', 'a\n b\n'],
    ['a\rb\r\n', 'a\nb\n'],
  ],
  OpenSMTPD: [
    ['nul \0 nul\r\n', 'nul \n'],
    ['a\nb\r\n', 'a\nb\n'],
    ['a\rb\r\n', 'a\rb\n'],
  ],
}

test.each([
  ['Postfix', startPostfix],
  ['Exim', startExim],
  ['OpenSMTPD', startOpenSmtpd],
] as const)('%s stores a body in the form that its configuration tells', async (name, start) => {
  const forms = [...UNCHANGED.map((body) => [body, body.replaceAll('\r\n', '\n')] as const), ...(FORMS[name] ?? [])]
  const server = await start({ recipients: [ANNA] })
  try {
    const client = await connectClient(server.port())
    await client.hello()
    for (const [index, [body, stored]] of forms.entries()) {
      expect(await client.send(SENDER, ANNA, HEADER + body)).toMatch(/^250/)
      const message = (await server.waitForMessages(ANNA, index + 1))[index]?.toString('latin1') ?? ''
      expect(message.slice(message.indexOf('\nSubject: form\n') + 1)).toBe(HEADER.replaceAll('\r\n', '\n') + stored)
    }
    client.end()
  } finally {
    await server.stop()
  }
})
