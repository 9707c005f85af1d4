/** What the demo simulates, by itself: its mail server, its senders and its DNS. */
import { Resolver } from 'node:dns/promises'
import { createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { Lines } from '../../src/cli/demo/dialogue.ts'
import { startNames } from '../../src/cli/demo/dns.ts'
import { Flood } from '../../src/cli/demo/flood.ts'
import { HONEST, HonestSenders } from '../../src/cli/demo/honest.ts'
import { type Delivery, type MailServer, startMailServer } from '../../src/cli/demo/mail-server.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { eventually } from '../support/app.ts'
import { type Client, connectClient } from '../support/client.ts'
import { startUpstream } from '../support/upstream.ts'

describe('mail server', () => {
  let lines: string[]
  let server: MailServer
  let client: Client
  let delivered: Delivery[]
  beforeEach(async () => {
    delivered = []
    lines = []
    const write: Log['info'] = (fields, msg) => void lines.push(`${msg} ${JSON.stringify(fields)}`)
    const nothing = (): void => undefined
    const levels = { debug: nothing, info: write, warn: write, error: write }
    const log: Log = { ...levels, flush: nothing }
    server = await startMailServer({ log, onDelivery: (delivery) => void delivered.push(delivery) })
    client = await connectClient(server.port)
  })
  afterEach(async () => {
    client.destroy()
    await server.stop()
  })

  test('says what it is, and offers XCLIENT', async () => {
    expect(await client.reply()).toBe('220 mail.example.test ESMTP demo, keeps mail in memory only')
    expect(await client.command('EHLO spillway.example')).toMatch(/^250[ -]XCLIENT NAME ADDR/m)
    expect(lines.join('\n')).toContain('keeps mail in memory only')
  })

  test('knows its mailboxes and its domain', async () => {
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command('RCPT TO:<Alice@Example.TEST>')).toMatch(/^250/)
    expect(await client.command('RCPT TO:<nobody@example.test>')).toMatch(/^550 5\.1\.1 /)
    expect(await client.command('RCPT TO:<alice@example.org>')).toMatch(/^554 5\.7\.1 /)
  })

  test('shows the client that XCLIENT named', async () => {
    await client.hello()
    await client.command('XCLIENT NAME=mx.bakery.example ADDR=127.1.1.25 PORT=1 PROTO=ESMTP HELO=mx.bakery.example')
    await client.command('EHLO mx.bakery.example')
    expect(await client.send('', 'bob@example.test')).toBe('250 2.0.0 Ok: kept in memory as 1')
    const seen = { from: '', to: ['bob@example.test'], client: '127.1.1.25', name: 'mx.bakery.example' }
    expect(delivered).toEqual([expect.objectContaining(seen)])
  })

  test('what it keeps is bounded in messages and in bytes', async () => {
    await client.hello()
    const long = `Subject: long\r\n\r\n${`${'x'.repeat(998)}\r\n`.repeat(100)}`
    for (let i = 0; i < 80; i++) await client.send('a@example.org', 'bob@example.test', long)
    const bytes = server.kept.reduce((sum, { content }) => sum + content.length, 0)
    expect(bytes).toBeLessThanOrEqual(4 * 1024 * 1024)
    expect(server.kept.at(-1)?.bytes).toBeGreaterThan(100_000)
    for (let i = 0; i < 220; i++) await client.send('a@example.org', 'bob@example.test')
    expect(server.kept).toHaveLength(200)
    expect(server.taken).toBe(300)
  })
})

describe('honest senders', () => {
  test('send again what was put off, and count what came back, what was lost, and what arrived twice', async () => {
    let rcpts = 0
    const server = await startUpstream({
      script: (verb, line) => {
        if (verb === 'DOT') honest.arrived(server.bodies().at(-1) as Buffer)
        if (verb !== 'RCPT') return 'default'
        expect(line).toMatch(/^RCPT TO:<[a-z]+@example\.test>$/)
        rcpts++
        return rcpts <= 3 ? '451 4.3.2 later' : rcpts === 4 ? '550 5.1.1 never' : 'default'
      },
    })
    const lines = new Lines({ host: '127.0.0.1', port: server.port })
    const honest = new HonestSenders(lines, () => performance.now())
    honest.start()
    try {
      const seen = (): typeof honest.mail => honest.mail
      const mail = await eventually(seen, ({ cameBack, accepted }) => cameBack === 3 && accepted > 5, 9000)
      expect(mail).toMatchObject({ putOff: 3, lost: 1, twice: 0, arrived: mail.accepted })
      expect(mail.sent).toBe(mail.accepted + mail.waiting + mail.lost)
      honest.arrived(server.bodies()[0] as Buffer)
      expect(honest.mail.twice).toBe(1)
    } finally {
      honest.stop()
      lines.close()
      await server.stop()
    }
    await eventually(
      () => lines.open,
      (open) => open === 0,
    )
  })
})

describe('flood', () => {
  test('stays within its bounds: sockets at once, and connections a second', async () => {
    // A server that takes connections and never says a word.
    const sockets: Socket[] = []
    const silent = createServer((socket) => void sockets.push(socket))
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const lines = new Lines({ host: '127.0.0.1', port: (silent.address() as { port: number }).port })
    // A clock that races: two seconds pass between two ticks, far more than the flood may make up for.
    let at = 0
    const flood = new Flood(lines, () => {
      at += 2000
      return at
    })
    flood.start()
    try {
      await eventually(
        () => lines.open,
        (open) => open >= 200,
        15_000,
      )
      const ticks = at / 2000
      expect(sockets.length).toBeLessThanOrEqual(ticks * 300 * 0.2)
      const full = at
      await eventually(
        () => at,
        (later) => later >= full + 10_000,
      )
      expect(lines.open).toBeLessThanOrEqual(200)
    } finally {
      flood.stop()
      lines.close()
      for (const socket of sockets) socket.destroy()
      silent.close()
    }
  })
})

describe('DNS', () => {
  test('the names of honest senders point both ways, all others have none', async () => {
    const names = await startNames(HONEST)
    const resolver = new Resolver({ timeout: 1000, tries: 1 })
    resolver.setServers([`127.0.0.1:${names.port}`])
    try {
      for (const [ip, name] of HONEST) {
        expect(await resolver.reverse(ip)).toEqual([name])
        expect(await resolver.resolve4(name)).toEqual([ip])
      }
      await expect(resolver.reverse('127.77.7.7')).rejects.toMatchObject({ code: 'ENOTFOUND' })
      await expect(resolver.resolve4('nobody.example')).rejects.toMatchObject({ code: 'ENOTFOUND' })
    } finally {
      resolver.cancel()
      await names.stop()
    }
  })

  test('twenty honest senders, each in a network of its own', () => {
    expect(HONEST.size).toBe(20)
    expect(new Set([...HONEST.keys()].map((ip) => ip.replace(/\.\d+$/, ''))).size).toBe(20)
  })
})
