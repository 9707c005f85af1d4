/** The cluster that lies: its directory fails, and it calls everybody unknown, to senders who would then bounce for good. */
import { utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, jest, test } from '@jest/globals'
import { type Exim, startExim } from '../../services/exim.ts'
import { type Postfix, startPostfix } from '../../services/postfix.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import { type Scripted, startScripted } from './scripted.ts'
import { DOMAIN, FROM } from './stand.ts'

const USERS = Array.from({ length: 60 }, (_, i) => `user${i}@${DOMAIN}`)
const THRESHOLD = 20

interface Directory {
  readonly server: { port(): number; stop(): Promise<void> }
  fail(): Promise<void> | void
  recover(): Promise<void> | void
}

const CLUSTERS = [
  {
    name: 'the scripted upstream',
    async start(): Promise<Directory> {
      const server: Scripted = await startScripted({ recipients: USERS })
      return {
        server,
        fail: () => {
          server.fault = (verb) => (verb === 'RCPT' ? '550 5.1.1 User unknown' : 'default')
        },
        recover: () => {
          server.fault = undefined
        },
      }
    },
  },
  {
    name: 'Postfix',
    async start(): Promise<Directory> {
      const server: Postfix = await startPostfix({ recipients: USERS, params: { in_flow_delay: 0 } })
      const [full, empty] = [join(server.directory, 'config/mailboxes'), join(server.directory, 'config/nobody')]
      writeFileSync(empty, '')
      // A map that was written just now would be waited for.
      utimesSync(empty, 1, 1)
      return {
        server,
        fail: () => server.reconfigure({ virtual_mailbox_maps: `texthash:${empty}` }),
        recover: () => server.reconfigure({ virtual_mailbox_maps: `texthash:${full}` }),
      }
    },
  },
  {
    name: 'Exim',
    async start(): Promise<Directory> {
      const server: Exim = await startExim({ recipients: USERS })
      const file = join(server.directory, 'mailboxes')
      // It reads its table anew for each session.
      const rows = USERS.map((user) => `${user}: ${encodeURIComponent(user)}/\n`).join('')
      return { server, fail: () => writeFileSync(file, ''), recover: () => writeFileSync(file, rows) }
    },
  },
]

/** An honest sender: one session, one recipient. */
async function sender(app: TestApp, to: string): Promise<{ rcpt: string; data: string }> {
  const client = await app.client()
  await client.hello()
  await client.command(`MAIL FROM:<${FROM}>`)
  const rcpt = await client.command(`RCPT TO:<${to}>`)
  const data = rcpt.startsWith('2') ? '' : await client.command('DATA')
  await client.command('QUIT')
  return { rcpt, data }
}

afterEach(() => {
  jest.restoreAllMocks()
})

describe.each(CLUSTERS)('with $name', ({ start }) => {
  test('R43 its directory fails: from the threshold on senders hear 451, and it heals by itself', async () => {
    const { server, fail, recover } = await start()
    const settings = { UPSTREAM_CLIENT_IP: 'none', LIMIT_IP_UNKNOWN_RECIPIENTS: '30/1h' }
    const app = await startApp(`127.0.0.1:${server.port()}`, settings)
    try {
      // A mail server that takes mail for all of them; somebody it has never heard of is unknown, and stays so.
      for (const user of USERS) expect((await sender(app, user)).rcpt).toMatch(/^250/)
      expect((await sender(app, `stranger@${DOMAIN}`)).rcpt).toMatch(/^550/)

      await fail()
      const heard: string[] = []
      let since = 0
      for (const user of USERS.slice(0, 40)) {
        const { rcpt, data } = await sender(app, user)
        heard.push(rcpt.slice(0, 4))
        if (heard.length === THRESHOLD - 1) since = performance.now()
        if (heard.length === THRESHOLD) expect(performance.now() - since).toBeLessThan(1000)
        if (heard.length < THRESHOLD) continue
        expect(rcpt).toMatch(/^451 4\.3\.0 mx\.test\.example .*\([0-9A-Z]{13}\)$/)
        expect(data).toMatch(/^451 /)
      }
      expect(heard).toEqual([...Array(THRESHOLD - 1).fill('550 '), ...Array(41 - THRESHOLD).fill('451 ')])
      expect(await app.metric('spillway_unknown_guard_active')).toBe(1)
      // Nobody is believed meanwhile, and what is not believed is held against no sender: 20 unknown ones, not 41.
      expect((await sender(app, `stranger@${DOMAIN}`)).rcpt).toMatch(/^451 4\.3\.0 /)

      await recover()
      for (const user of USERS.slice(0, 20)) expect((await sender(app, user)).rcpt).toMatch(/^250/)
      expect((await sender(app, `stranger@${DOMAIN}`)).rcpt).toMatch(/^451 4\.3\.0 /)
      // A minute later there is nothing to guard against.
      const now = Date.now.bind(Date)
      jest.spyOn(Date, 'now').mockImplementation(() => now() + 61_000)
      await eventually(
        () => app.metric('spillway_unknown_guard_active'),
        (active) => active === 0,
      )
      expect((await sender(app, USERS[0] as string)).rcpt).toMatch(/^250/)
      expect((await sender(app, `stranger@${DOMAIN}`)).rcpt).toMatch(/^550/)
    } finally {
      await app.stop()
      await server.stop()
    }
  })
})
