import { createHash } from 'node:crypto'
import { connect, createServer, type Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from '@jest/globals'
import { eventually, type TestApp, turn } from '../support/app.ts'
import { reverseName, startDns } from '../support/dns.ts'
import { stoppedAfterEach } from '../support/started.ts'

/** So that what is measured is what is held, and not what nobody has thrown away yet. */
setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const started = stoppedAfterEach()
const { upstream, atEnd } = started
const app = (servers: readonly { address: string }[], settings: Record<string, string> = {}): Promise<TestApp> =>
  started.app(servers.map(({ address }) => address).join(','), settings)
const slots = (from: TestApp, { address }: { address: string }) =>
  from.metric(`spillway_upstream_connections_open{upstream="${address}"}`)
const open = (from: TestApp) => from.metric('spillway_connections_open{family="ipv4"}')

describe('what the client hears', () => {
  test('an upstream’s lines are kept, all of them, with our id behind a refusal', async () => {
    const server = await upstream({
      script: (verb, line) =>
        verb === 'RCPT' && line.includes('nobody')
          ? '550-5.1.1 nobody\r\n550-5.1.1 \xc3\xbc\r\n550 5.1.1 here'
          : 'default',
    })
    const client = await (await app([server])).client()
    await client.hello()
    await client.command('MAIL FROM:<a@sender.example>')
    expect(await client.command('RCPT TO:<nobody@example.test>')).toMatch(
      /^550-5\.1\.1 nobody\r\n550-5\.1\.1 \?\r\n550 5\.1\.1 here \([0-9A-Z]+\)$/,
    )
    expect(await client.command('RCPT TO:<anna@example.test>')).toMatch(/^250 /)
  })

  test.each(['greeting', 'EHLO', 'MAIL', 'RCPT', 'DATA', 'DOT'])(
    'R44 a 421 of the upstream at %s is a 451, and the session goes on',
    async (when) => {
      let say421 = false
      const server = await upstream({
        greeting: (connection) =>
          say421 && when === 'greeting' ? void connection.socket.end('421 4.3.2 no\r\n') : connection.say('220 hi'),
        script: (verb, _, { socket }) => {
          if (verb !== when || !say421) return 'default'
          socket.end('421 4.3.2 closing\r\n')
          return 'silence'
        },
      })
      const spillway = await app([server], { UPSTREAM_HEALTH_INTERVAL: '1h' })
      say421 = true
      const client = await spillway.client()
      await client.hello()
      expect(await client.send('a@sender.example', 'anna@example.test')).toMatch(/^451 4\.3\.[0-9]+ /)
      say421 = false
      await client.command('RSET')
      expect(await client.send('a@sender.example', 'anna@example.test')).toMatch(/^250 2\.0\.0 Ok: queued/)
      client.end()
      await eventually(
        () => open(spillway),
        (count) => count === 0,
      )
      expect(await slots(spillway, server)).toBeLessThanOrEqual(1)
    },
  )

  test('R1 with all upstreams down: the port is open, the greeting and MAIL are taken, recipients hear 451', async () => {
    const server = await upstream()
    const spillway = await app([server])
    await server.stop()
    await eventually(
      () => spillway.metric(`spillway_upstream_up{upstream="${server.address}"}`),
      (up) => up === 0,
    )
    for (let i = 0; i < 3; i++) {
      const client = await spillway.client()
      expect(await client.hello()).toMatch(/^250-/)
      expect(await client.send('a@sender.example', 'anna@example.test')).toMatch(/^451 4\.3\.2 .*mail servers are away/)
      expect(await client.command('DATA')).toMatch(/^451 /)
      client.end()
    }
    expect((await spillway.get('/readyz')).status).toBe(200)
    expect((await spillway.get('/metrics')).body).not.toMatch(/refusals_total\{[^}]*action="reject"[^}]*\} [1-9]/)
  })

  test('many pipelined messages in one write: each is one upstream, and its replies are in order', async () => {
    const server = await upstream()
    const client = await (await app([server])).client()
    await client.hello()
    const one = (i: number) =>
      `MAIL FROM:<a${i}@sender.example>\r\nRCPT TO:<b${i}@example.test>\r\nDATA\r\nSubject: ${i}\r\n\r\n..${i}\r\n.\r\n`
    client.write(Array.from({ length: 20 }, (_, i) => one(i)).join(''))
    for (let i = 0; i < 20; i++) {
      const heard = [await client.reply(), await client.reply(), await client.reply(), await client.reply()]
      expect(heard.map((reply) => reply.slice(0, 3))).toEqual(['250', '250', '354', '250'])
    }
    expect(server.bodies().map(String)).toEqual(Array.from({ length: 20 }, (_, i) => `Subject: ${i}\r\n\r\n..${i}\r\n`))
    expect(server.mailed()).toHaveLength(1)
  })
})

describe('what the upstream is told of the client', () => {
  test('R36 XCLIENT with the name that the DNS has for it', async () => {
    const dns = await startDns({
      [`${reverseName('127.0.0.9')} ptr`]: ['mail.sender.example'],
      'mail.sender.example a': ['127.0.0.9'],
    })
    atEnd(() => dns.stop())
    const server = await upstream({ extensions: ['PIPELINING', 'XCLIENT NAME ADDR PORT PROTO HELO'] })
    const spillway = await app([server], { UPSTREAM_CLIENT_IP: 'xclient', DNS_SERVERS: dns.address })
    for (const from of ['127.0.0.9', '127.0.0.10']) {
      const client = await spillway.client(from)
      await client.hello('MX.sender.example')
      expect(await client.send('a@sender.example', 'anna@example.test')).toMatch(/^250/)
      const name = from === '127.0.0.9' ? 'mail.sender.example' : '[UNAVAILABLE]'
      expect(server.lastMailed()?.lines.slice(0, 3)).toEqual([
        'EHLO MX.sender.example',
        `XCLIENT NAME=${name} ADDR=${from} PORT=${client.port} PROTO=ESMTP HELO=MX.sender.example`,
        'EHLO MX.sender.example',
      ])
    }
    expect(server.mailed()).toHaveLength(2)
  })

  const body = 'Received: from before ([10.0.0.1])\r\n\tby elsewhere\r\nSubject: x\r\n\r\n..dot\r\n\xe9\r\n'
  test.each([
    ['received', 'off', true],
    ['none', 'on', true],
    ['none', 'off', false],
  ])(
    'R35 by %s, TRACE_HEADER %s: the message is as it was, one Received line on top: %s',
    async (mode, trace, line) => {
      const server = await upstream()
      const spillway = await app([server], { UPSTREAM_CLIENT_IP: mode, TRACE_HEADER: trace })
      const client = await spillway.client('127.0.0.9')
      await client.hello('x(y)\\"z')
      expect(await client.send('a@sender.example', 'anna@example.test', body)).toMatch(/^250/)
      const got = server.bodies()[0]?.toString('latin1') ?? ''
      expect(got.endsWith(body)).toBe(true)
      expect(got.slice(0, -body.length)).toMatch(
        line
          ? /^Received: from x\?y\?\?\?z \(\[127\.0\.0\.9\]\)\r\n\tby mx\.test\.example \(Spillway\) with ESMTP id [0-9A-Z]+;\r\n\t\w{3}, .* \+0000\r\n$/
          : /^$/,
      )
    },
  )

  test.each([
    ['a space', ' forged\r\n\r\nx\r\n', ' forged\r\n\r\nx\r\n'],
    ['a tab', '\t; forged\r\nx\r\n', '\t; forged\r\nx\r\n'],
    ['a bare CR, which becomes a space', '\rx\r\n', ' x\r\n'],
    ['a dot that is taken away before a space', '. x\r\n', '. x\r\n'],
  ])('R35 a message that begins with %s does not go on with our line: it is no header', async (_, sent, got) => {
    const server = await upstream()
    const spillway = await app([server], { TRACE_HEADER: 'on' })
    const client = await spillway.client()
    await client.hello()
    expect(await client.send('a@sender.example', 'anna@example.test', sent)).toMatch(/^250/)
    expect(await client.send('a@sender.example', 'anna@example.test', body)).toMatch(/^250/)
    const [first = '', second = ''] = server.bodies().map((each) => each.toString('latin1'))
    expect(first).toMatch(/^Received: (.*\r\n\t){2}.* \+0000\r\n\r\n[^\r]/)
    expect(first.endsWith(`+0000\r\n\r\n${got}`)).toBe(true)
    expect(second.endsWith(`+0000\r\n${body}`)).toBe(true)
  })
})

describe('clients that leave', () => {
  test.each(['close', 'reset'])('R29 in the middle of the body by a %s: no dot, and all gauges at 0', async (how) => {
    const server = await upstream()
    const spillway = await app([server])
    const client = await spillway.client()
    await client.hello()
    for (const line of ['MAIL FROM:<a@sender.example>', 'RCPT TO:<anna@example.test>', 'DATA'])
      await client.command(line)
    client.write('Subject: half\r\n\r\nthis is the first ha\r\n.')
    await eventually(
      () => server.mailed()[0]?.partial.length ?? 0,
      (length) => length > 30,
    )
    if (how === 'close') client.end()
    else client.resetConnection()
    await eventually(
      () => server.mailed()[0]?.closed,
      (closed) => closed === true,
    )
    expect(server.bodies()).toEqual([])
    await eventually(
      async () => [await open(spillway), await slots(spillway, server)],
      (counts) => counts.every((count) => count === 0),
    )
    expect(await spillway.metric('spillway_messages_total{result="aborted",standing="new"}')).toBe(1)
  })

  test('R31 after the dot: the seat is free, the slot is not, and the upstream’s answer is in the log', async () => {
    let answer: (text: string) => void = () => undefined
    const asked = new Promise<string>((resolve) => {
      answer = resolve
    })
    const server = await upstream({ script: (verb) => (verb === 'DOT' ? asked : 'default') })
    const spillway = await app([server])
    const client = await spillway.client()
    await client.hello()
    for (const line of ['MAIL FROM:<a@sender.example>', 'RCPT TO:<anna@example.test>', 'DATA'])
      await client.command(line)
    client.write('Subject: whole\r\n\r\nx\r\n.\r\n')
    await eventually(
      () => server.bodies().length,
      (count) => count === 1,
    )
    client.resetConnection()
    await eventually(
      () => open(spillway),
      (count) => count === 0,
    )
    expect(await slots(spillway, server)).toBe(1)
    answer('250 2.0.0 Ok: queued as LATER')
    const line = await spillway.waitForLog(({ msg }) => msg === 'session')
    expect(line.messages).toMatchObject([{ result: 'accepted', reply: expect.stringContaining('queued as LATER') }])
    // Kept for the next client at most, then free.
    expect(await slots(spillway, server)).toBeLessThanOrEqual(1)
  })

  test('R42 two hundred that leave anywhere: every gauge is back at 0, and mail goes on', async () => {
    const server = await upstream({ extensions: ['PIPELINING', 'XCLIENT NAME ADDR'] })
    const spillway = await app([server], {
      UPSTREAM_CLIENT_IP: 'xclient',
      UPSTREAM_MAX_CONNECTIONS: '5',
      LIMIT_IP_CONCURRENCY: 'off',
    })
    const text =
      'EHLO x.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<anna@example.test>\r\nDATA\r\nhalf\r\n.\r\nQUIT\r\n'
    await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const client = await spillway.client()
        client.write(text.slice(0, (i * 37) % text.length))
        if (i % 3 !== 0) await new Promise((resolve) => setTimeout(resolve, i % 50))
        if (i % 2 === 0) client.resetConnection()
        else client.end()
      }),
    )
    await eventually(
      async () => [await open(spillway), await slots(spillway, server)],
      (counts) => counts.every((count) => count === 0),
      8000,
    )
    const client = await spillway.client()
    await client.hello()
    expect(await client.send('a@sender.example', 'anna@example.test')).toMatch(/^250/)
    expect(spillway.log().filter(({ level }) => level === 'error')).toEqual([])
  })
})

describe('memory', () => {
  /** Takes one message, reading only when told; counts and digests what it read. */
  async function startSlowSink() {
    const hash = createHash('sha256')
    const sink = { received: 0, tail: '', socket: undefined as Socket | undefined, port: 0, address: '' }
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.write('220 slow\r\n')
      let inBody = false
      socket.on('data', (chunk: Buffer) => {
        if (inBody) {
          sink.received += chunk.length
          hash.update(chunk)
          sink.tail = (sink.tail + chunk.subarray(-5).toString('latin1')).slice(-5)
          if (sink.tail === '\r\n.\r\n') socket.write('250 2.0.0 Ok: slowly\r\n')
          return
        }
        for (const line of chunk.toString('latin1').split('\r\n').slice(0, -1)) {
          socket.write(line === 'DATA' ? '354 go\r\n' : '250 ok\r\n')
          if (line !== 'DATA') continue
          inBody = true
          sink.socket = socket
          socket.pause()
        }
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    sink.port = (server.address() as { port: number }).port
    sink.address = `127.0.0.1:${sink.port}`
    atEnd(
      () =>
        new Promise<void>((resolve) => {
          sink.socket?.destroy()
          server.close(() => resolve())
        }),
    )
    return { sink, hash }
  }

  test('50 MB to an upstream that does not read, and then reads slowly: what we hold does not grow with it', async () => {
    const { sink, hash } = await startSlowSink()
    const spillway = await app([sink], { UPSTREAM_HEALTH_INTERVAL: '1h' })
    atEnd(() => void sink.socket?.destroy())
    const client = await spillway.client()
    await client.hello()
    for (const line of ['MAIL FROM:<a@sender.example>', 'RCPT TO:<anna@example.test>', 'DATA'])
      await client.command(line)
    const line = `..${'0123456789abcdef\xe9'.repeat(4)}\r\n`
    const block = Buffer.from(line.repeat(Math.ceil(1_000_000 / line.length)), 'latin1')
    const expected = createHash('sha256')
    const held = (): number => {
      collectGarbage()
      return process.memoryUsage().arrayBuffers
    }
    const before = held()
    let most = 0
    let sent = 0
    const { socket } = client
    const sending = (async () => {
      for (; sent < 50; sent++) {
        expected.update(block)
        if (!socket.write(block)) await new Promise((resolve) => socket.once('drain', resolve))
      }
      expected.update('.\r\n')
      socket.write('.\r\n')
    })()
    // It comes to a stand: all that was sent and not received lies in the sockets' buffers.
    const QUIET_TURNS = 20
    for (let last = -1, quiet = 0; quiet < QUIET_TURNS; quiet = last === sent ? quiet + 1 : 0) {
      last = sent
      await turn(spillway)
    }
    expect(sent).toBeLessThan(50)
    // What is thrown away is swept up in the background.
    await eventually(held, (now) => now - before < 1_000_000)
    const upstreamSocket = sink.socket as Socket
    while (sink.tail !== '\r\n.\r\n') {
      const goal = sink.received + 2_500_000
      upstreamSocket.resume()
      await eventually(
        () => sink.received >= goal || sink.tail === '\r\n.\r\n',
        (enough) => enough,
      )
      upstreamSocket.pause()
      most = Math.max(most, held() - before)
    }
    upstreamSocket.resume()
    await sending
    expect(await client.reply()).toMatch(/^250 2\.0\.0 Ok: slowly/)
    expect(sink.received).toBe(50 * block.length + 3)
    expect(hash.digest('hex')).toBe(expected.digest('hex'))
    // The test's own ends of both connections are in it.
    expect(most).toBeLessThan(16_000_000)
  })

  test('an upstream that floods a client’s connection with text is cut off', async () => {
    let flood: Socket | undefined
    const server = await upstream({
      script: (verb, _, { socket }) => {
        if (verb !== 'RCPT') return 'default'
        flood = socket
        socket.write('250 2.1.5 Ok\r\n')
        return 'silence'
      },
    })
    const spillway = await app([server], { UPSTREAM_HEALTH_INTERVAL: '1h' })
    const client = await spillway.client()
    await client.hello()
    await client.command('MAIL FROM:<a@sender.example>')
    await client.command('RCPT TO:<anna@example.test>')
    const socket = flood as unknown as Socket
    let wrote = 0
    while (!socket.destroyed && wrote < 100_000_000) {
      wrote += 65_536
      if (!socket.write(Buffer.alloc(65_536, 'x'))) {
        await new Promise<void>((resolve) => {
          socket.once('drain', resolve)
          socket.once('close', resolve)
        })
      }
    }
    expect(wrote).toBeLessThan(20_000_000)
    expect(await client.command('DATA')).toMatch(/^451 4\.3\.0/)
  })
})

test('nobody listens any more when the app has stopped, and nothing goes to the upstream', async () => {
  const server = await upstream()
  const spillway = await app([server])
  const { port } = spillway
  await spillway.stop()
  const error = await new Promise<NodeJS.ErrnoException>((resolve) => connect(port, '127.0.0.1').once('error', resolve))
  expect(error.code).toBe('ECONNREFUSED')
  await eventually(
    () => server.connections.every(({ closed }) => closed),
    (closed) => closed,
  )
})
