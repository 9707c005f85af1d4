/** Lists, checks and modes are one value that is swapped whole: sessions go on, and obey the new one from their next command. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { BALANCER, eventually } from '../support/app.ts'
import { startFront, type TestFront } from '../support/front.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
const ends: (() => Promise<unknown>)[] = []
beforeEach(async () => {
  upstream = await startUpstream()
  ends.push(() => upstream.stop())
})
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function front(settings: Record<string, string>): Promise<TestFront> {
  const started = await startFront(upstream.address, { LOG_SAMPLE: '1', ...settings })
  ends.push(() => started.stop())
  return started
}

describe('a policy that is swapped while a session is open', () => {
  test('recipient domains, and the mode of their check, at the next command', async () => {
    const node = await front({ RCPT_DOMAINS: 'example.net' })
    const client = await node.client()
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command('RCPT TO:<a@example.net>')).toMatch(/^250/)
    expect(await client.command('RCPT TO:<a@other.example>')).toMatch(/^550 5\.7\.1/)
    node.swap({ RCPT_DOMAINS: 'other.example' })
    expect(await client.command('RCPT TO:<b@other.example>')).toMatch(/^250/)
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^550 5\.7\.1/)
    node.swap({ RCPT_DOMAINS: 'other.example', OBSERVE: 'domains' })
    expect(await client.command('RCPT TO:<c@example.net>')).toMatch(/^250/)
    node.swap({})
    expect(await client.command('RCPT TO:<d@anywhere.example>')).toMatch(/^250/)
    await client.command('QUIT')
    const line = await eventually(
      () => node.lines.find(({ msg }) => msg === 'session'),
      (found) => found !== undefined,
    )
    expect(line).toMatchObject({ observe: ['domains'] })
  })

  test('the size of a message, and its mode', async () => {
    const node = await front({ MESSAGE_MAX_SIZE: '1KiB' })
    const client = await node.client()
    await client.hello()
    const mail = async (): Promise<string> => {
      await client.command('RSET')
      return client.command('MAIL FROM:<a@example.org> SIZE=5000')
    }
    expect(await mail()).toMatch(/^552 5\.3\.4/)
    node.swap({ MESSAGE_MAX_SIZE: '1KiB', OBSERVE: 'size' })
    expect(await mail()).toMatch(/^250/)
    node.swap({ MESSAGE_MAX_SIZE: '10KiB' })
    expect(await mail()).toMatch(/^250/)
    node.swap({ MESSAGE_MAX_SIZE: '2KiB' })
    expect(await mail()).toMatch(/^552 5\.3\.4/)
    // What only shows in the course of the message goes by the mode that is in force then.
    await client.command('RSET')
    for (const line of ['MAIL FROM:<a@example.org>', 'RCPT TO:<b@example.net>', 'DATA']) await client.command(line)
    node.swap({ MESSAGE_MAX_SIZE: '2KiB', OBSERVE: 'all' })
    client.write(`Subject: x\r\n\r\n${'x'.repeat(70)}\r\n`.repeat(40))
    expect(await client.command('.')).toMatch(/^250/)
  })

  test('the mode of a limit: what it would refuse is charged on while it is observed', async () => {
    const limit = { LIMIT_IP_MESSAGES: '1/1h', LIMIT_GLOBAL_MESSAGES: '3/1h' }
    const node = await front(limit)
    const client = await node.client()
    await client.hello()
    const first = async (): Promise<string> => {
      await client.command('RSET')
      await client.command('MAIL FROM:<a@example.org>')
      return client.command('RCPT TO:<b@example.net>')
    }
    expect(await first()).toMatch(/^250/)
    expect(await first()).toMatch(/^450 4\.7\.28/)
    node.swap({ ...limit, OBSERVE: 'ip-messages' })
    expect(await first()).toMatch(/^250/)
    expect(await first()).toMatch(/^250/)
    // Only the first and the observed ones were charged to everybody.
    expect(await first()).toMatch(/^451 4\.3\.2/)
    node.swap({ ...limit, OBSERVE: 'all' })
    expect(await first()).toMatch(/^250/)
    node.swap(limit)
    expect(await first()).toMatch(/^450 4\.7\.28/)
  })

  test('lists: for new connections at once, and a deny list for whoever is in as well', async () => {
    const node = await front({})
    const at = (ip: string) => node.client(ip)
    const inside = await at('127.0.0.5')
    await inside.hello()
    node.swap({ DENY: '127.0.0.5' })
    expect(await (await at('127.0.0.5')).reply()).toMatch(/^554 5\.7\.1/)
    expect(await (await at('127.0.0.6')).reply()).toMatch(/^220/)
    expect(await inside.command('MAIL FROM:<a@example.org>')).toMatch(/^554 5\.7\.1/)
    node.swap({ DENY: '127.0.0.5', OBSERVE: 'denied' })
    expect(await (await at('127.0.0.5')).reply()).toMatch(/^220/)
    node.swap({ DENY: '127.0.0.5', ALLOW: '127.0.0.5' })
    const allowed = await at('127.0.0.5')
    expect(await allowed.reply()).toMatch(/^220/)
    await allowed.command('QUIT')
    await eventually(
      () => node.lines,
      (lines) => lines.some(({ ip, standing }) => ip === '127.0.0.5' && standing === 'trusted'),
    )
    node.swap({ PROXY_PROTOCOL_FROM: BALANCER, DENY: '203.0.113.0/24' })
    const behind = await at(BALANCER)
    behind.write('PROXY TCP4 203.0.113.7 192.0.2.25 40000 25\r\n')
    expect(await behind.reply()).toMatch(/^554 5\.7\.1 \[203\.0\.113\.7\]/)
    node.swap({})
    const foreign = await at(BALANCER)
    foreign.write('PROXY TCP4 203.0.113.7 192.0.2.25 40000 25\r\n')
    expect(await foreign.closed()).toMatch(/^220 [^\n]*\n421 4\.3\.0 /)
  })
})
