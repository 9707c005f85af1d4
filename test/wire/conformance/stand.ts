/** A mail server, and the whole app in front of it: what every transcript stands on. */
import type { Settings } from '../../../src/config/settings.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import { type Client, connectClient } from '../../support/client.ts'
import { type DnsServer, startDns } from '../../support/dns.ts'
import type { Behind, ServerKind, Wanted, Way } from '../servers.ts'

export const DOMAIN = 'example.test'
export const ANNA = `anna@${DOMAIN}`
export const OTTO = `otto@${DOMAIN}`
export const FROM = 'bert@sender.example'

export interface Stand {
  readonly kind: ServerKind
  readonly server: Behind
  /** Under the settings of the stand. */
  readonly app: TestApp
  /** One more app in front of the same server; `way`: how the client's address reaches it. */
  another(settings?: Record<string, string>, change?: (settings: Settings) => Settings, way?: Way): Promise<TestApp>
  /** A client that has said EHLO. */
  greeted(app?: TestApp): Promise<Client>
  /** One that has said EHLO to the server itself; once, since OpenSMTPD takes no second. */
  direct(): Promise<Client>
  /** What the server itself answers to EHLO. */
  offer(): Promise<string>
  /** Waits for the one message to `recipient` that contains `marker`. */
  delivered(recipient: string, marker: string): Promise<Buffer>
  stop(): Promise<void>
}

export async function startStand(
  kind: ServerKind,
  wanted: Partial<Wanted> = {},
  settings: Record<string, string> = {},
): Promise<Stand> {
  const ends: (() => Promise<unknown>)[] = []
  const stop = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end()
  }
  try {
    const dns: DnsServer = await startDns()
    ends.push(() => dns.stop())
    const server = await kind.start({ recipients: [ANNA, OTTO], ...wanted })
    ends.push(() => server.stop())
    const another: Stand['another'] = async (more = {}, change, way = kind.ways[0] as Way) => {
      const given = { UPSTREAM_CLIENT_IP: way.clientIp, DNS_SERVERS: dns.address, LOG_SAMPLE: '1', ...more }
      const app = await startApp(`127.0.0.1:${server.port(way.listener)}`, given, change)
      ends.push(() => app.stop())
      return app
    }
    const app = await another(settings)
    return {
      kind,
      server,
      app,
      another,
      async greeted(on = app) {
        const client = await on.client()
        await client.hello()
        return client
      },
      async direct() {
        const client = await connectClient(server.port(kind.plain))
        ends.push(async () => client.destroy())
        await client.hello()
        return client
      },
      async offer() {
        const client = await connectClient(server.port(kind.plain))
        ends.push(async () => client.destroy())
        return client.hello()
      },
      delivered: (recipient, marker) =>
        eventually(
          () => server.messages(recipient).find((message) => message.includes(marker)) as Buffer,
          (message) => message !== undefined,
        ),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** How many messages to `recipient` contain `marker`. */
export const copies = (server: Behind, recipient: string, marker: string): number =>
  server.messages(recipient).filter((message) => message.includes(marker)).length

/** Everybody has left, and nothing is held any more, towards nobody. */
export async function settled(app: TestApp): Promise<void> {
  for (const client of app.clients) client.destroy()
  await eventually(
    async () => {
      const { body } = await app.get('/metrics')
      return [...body.matchAll(/^spillway_(?:upstream_)?connections_open\{.*\} (?!0$)\S+$/gm)].map(([line]) => line)
    },
    (open) => open.length === 0,
    // A connection that may serve the next client is kept for five seconds.
    8000,
  )
}

/** What stands behind the header of a message as it was delivered. */
export function bodyOf(message: Buffer): string {
  const text = message.toString('latin1')
  return text.slice(text.indexOf('\n\n') + 2)
}

/** A reply as the server worded it: without the id that refusals get on their way. */
export const asSaid = (reply: string): string => reply.replace(/ \([0-9A-HJKMNP-TV-Z]{13}\)$/, '')

export const ID = /\([0-9A-HJKMNP-TV-Z]{13}\)$/
