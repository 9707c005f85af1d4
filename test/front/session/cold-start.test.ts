/**
 * R47 for a node that has reached no mail server yet: it cannot know what they offer, so EHLO promises nothing, and what a
 * client says all the same is no mistake of the client's that a 5yz could be told for.
 */
import { afterEach, describe, expect, test } from '@jest/globals'
import { freePorts } from '../../services/ports.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import type { Client } from '../../support/client.ts'
import { startUpstream, type Upstream, type UpstreamOptions } from '../../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** `appears`: the cluster comes up; resolves when it is in use. */
interface Cold {
  readonly app: TestApp
  readonly client: Client
  appears(options?: UpstreamOptions): Promise<Upstream>
}

async function start(settings: Record<string, string> = {}): Promise<Cold> {
  const [port] = (await freePorts(1)) as [number]
  const app = await startApp(`127.0.0.1:${port}`, settings)
  ends.push(() => app.stop())
  const client = await app.client()
  expect(await client.hello()).toBe('250-mx.test.example\r\n250 PIPELINING')
  const appears: Cold['appears'] = async (options = {}) => {
    const upstream = await startUpstream({ ...options, port })
    ends.push(() => upstream.stop())
    await eventually(
      () => app.metric(`spillway_upstream_up{upstream="127.0.0.1:${port}"}`),
      (up) => up === 1,
    )
    return upstream
  }
  return { app, client, appears }
}

const MAIL = 'MAIL FROM:<a@example.org> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x'
const RCPT = 'RCPT TO:<b@example.net> NOTIFY=NEVER ORCPT=rfc822;b@example.net'

describe('R47 before any mail server was reached', () => {
  test.each(['SIZE=1000', 'BODY=8BITMIME', 'BODY=7BIT', 'SMTPUTF8', 'RET=FULL', 'ENVID=x'])(
    'MAIL with %s is taken, and ends in 451',
    async (parameter) => {
      const { client } = await start()
      expect(await client.command(`MAIL FROM:<a@example.org> ${parameter}`)).toBe('250 2.1.0 Ok')
      expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451 4\.3\.2 /)
      expect(await client.command('DATA')).toMatch(/^451 4\.5\.0 /)
    },
  )

  test.each(['NOTIFY=NEVER', 'ORCPT=rfc822;b@example.net'])('RCPT with %s is 451', async (parameter) => {
    const { client } = await start()
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command(`RCPT TO:<b@example.net> ${parameter}`)).toMatch(/^451 4\.3\.2 /)
    expect(await client.command('DATA')).toMatch(/^451 4\.5\.0 /)
  })

  test('what no server could be given is refused all the same, and so is what the operator does not take', async () => {
    const { client } = await start({ MESSAGE_MAX_SIZE: '1MB' })
    expect(await client.command('MAIL FROM:<a@example.org> XFOO=1')).toMatch(/^555 5\.5\.4 /)
    expect(await client.command('MAIL FROM:<a@example.org> BODY=BINARYMIME')).toMatch(/^504 5\.5\.4 /)
    expect(await client.command('MAIL FROM:<a@example.org> SIZE=many')).toMatch(/^501 5\.5\.4 /)
    expect(await client.command('MAIL FROM:<a@example.org> SIZE=1000001')).toMatch(/^552 5\.3\.4 /)
    expect(await client.command('MAIL FROM:<a@example.org> SIZE=1000000')).toMatch(/^250 /)
  })
})

describe('R47 when the mail servers appear within the session', () => {
  test('and offer it, the message is relayed with all its parameters', async () => {
    const { client, appears } = await start()
    const upstream = await appears()
    for (const line of [MAIL, RCPT]) expect(await client.command(line)).toMatch(/^250 /)
    expect(await client.command('DATA')).toMatch(/^354 /)
    client.write('Subject: x\r\n\r\nx\r\n.\r\n')
    expect(await client.reply()).toMatch(/^250 /)
    expect(upstream.mailed()[0]?.lines).toEqual(expect.arrayContaining([MAIL, RCPT]))
  })

  test('and lack it, it is 451, until the next EHLO can tell', async () => {
    const { client, appears } = await start()
    const upstream = await appears({ extensions: ['PIPELINING', 'SIZE'] })
    expect(await client.command(MAIL)).toMatch(/^250 /)
    expect(await client.command(RCPT)).toMatch(/^451 4\.3\.0 /)
    expect(await client.command('DATA')).toMatch(/^451 4\.5\.0 /)
    expect(upstream.mailed()).toEqual([])
    expect(await client.command('EHLO client.example')).not.toContain('DSN')
    expect(await client.command(MAIL)).toMatch(/^555 5\.5\.4 /)
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250 /)
  })

  test('and take less than it declares, it is 451, and 552 once the client was told', async () => {
    const { client, appears } = await start()
    const upstream = await appears({ extensions: ['PIPELINING', 'SIZE 500'] })
    expect(await client.command('MAIL FROM:<a@example.org> SIZE=1000')).toMatch(/^250 /)
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451 4\.3\.0 /)
    expect(upstream.mailed()).toEqual([])
    expect(await client.command('EHLO client.example')).toContain('SIZE 500')
    expect(await client.command('MAIL FROM:<a@example.org> SIZE=1000')).toMatch(/^552 5\.3\.4 /)
  })
})
