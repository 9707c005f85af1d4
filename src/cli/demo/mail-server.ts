/**
 * The simulated mail server behind Spillway in the demo; its greeting and the log say that it is simulated. It has a handful of mailboxes
 * and refuses all other recipients, as a real one would, and it can look through only so many messages a second. It keeps what it accepts
 * in memory, within bounds, until the demo ends. It offers XCLIENT to Spillway, so that it knows the true address of every client, as
 * Postfix would.
 */
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server'
import type { Log } from '../../telemetry/log.ts'

export const DOMAIN = 'example.test'
export const MAILBOXES = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace', 'postmaster'] as const

const BANNER = 'demo, keeps mail in memory only'
const MAX_SIZE = 10 * 1024 * 1024
/** The rest of a longer message is received and thrown away. */
const KEPT_OF_ONE = 64 * 1024
const KEPT_MESSAGES = 200
const KEPT_BYTES = 4 * 1024 * 1024
/** It looks through this many messages at a time, and takes this long for each, in milliseconds: 50 a second. */
const AT_A_TIME = 4
const LOOKS_MS = 80
/** Half of the demo's spam: what its filter finds. */
const FOUND = /^win\d*[13579]@prize\.example$/

export interface Delivery {
  /** The reverse-path; empty for the null reverse-path. */
  readonly from: string
  readonly to: readonly string[]
  /** The address of the client, as XCLIENT passed it on; not that of Spillway. */
  readonly client: string
  /** The client's forward-confirmed name; empty where it has none. */
  readonly name: string
  /** Size of the whole message. */
  readonly bytes: number
  /** The beginning of the message. */
  readonly content: Buffer
}

export interface MailServer {
  readonly port: number
  /** The latest last. */
  readonly kept: readonly Delivery[]
  /** How many messages were accepted, including those no longer kept. */
  readonly taken: number
  stop(): Promise<void>
}

export interface MailServerOptions {
  readonly log: Log
  /** 0, the default, takes any free port. */
  readonly port?: number
  /** Called before the client receives 250. */
  readonly onDelivery: (delivery: Delivery) => void
}

const no = (code: number, text: string): Error => Object.assign(new Error(text), { responseCode: code })

/** @returns undefined where the recipient is one of the mailboxes */
function refusalOf(address: string): Error | undefined {
  const at = address.lastIndexOf('@')
  if (address.slice(at + 1).toLowerCase() !== DOMAIN) return no(554, '5.7.1 Relay access denied')
  const known = (MAILBOXES as readonly string[]).includes(address.slice(0, at).toLowerCase())
  return known ? undefined : no(550, '5.1.1 No such user here')
}

/** The latest messages that were accepted, within bounds. */
class Store {
  readonly kept: Delivery[] = []
  taken = 0
  #bytes = 0

  keep(delivery: Delivery): void {
    this.taken++
    this.kept.push(delivery)
    this.#bytes += delivery.content.length
    while (this.kept.length > KEPT_MESSAGES || this.#bytes > KEPT_BYTES) {
      this.#bytes -= this.kept.shift()?.content.length ?? 0
    }
  }
}

/** Lets only so many act at a time; the others wait in the order in which they came. */
class Desks {
  #free = AT_A_TIME
  readonly #waiting: (() => void)[] = []

  async with(act: () => Promise<unknown>): Promise<void> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    await act()
    const next = this.#waiting.shift()
    if (next === undefined) this.#free++
    else next()
  }
}

/** Reads to the end, but keeps only the beginning. */
async function read(stream: SMTPServerDataStream): Promise<Buffer> {
  const chunks: Buffer[] = []
  let kept = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (kept >= KEPT_OF_ONE) continue
    chunks.push(chunk.subarray(0, KEPT_OF_ONE - kept))
    kept += chunk.length
  }
  return Buffer.concat(chunks)
}

/** Listens on 127.0.0.1. */
export async function startMailServer({ log, port: wanted = 0, onDelivery }: MailServerOptions): Promise<MailServer> {
  const store = new Store()
  const desks = new Desks()
  const deliver = async (stream: SMTPServerDataStream, session: SMTPServerSession): Promise<string> => {
    const content = await read(stream)
    if (stream.sizeExceeded) throw no(552, '5.3.4 Message too big')
    const { mailFrom, rcptTo } = session.envelope
    const from = mailFrom === false ? '' : mailFrom.address
    await desks.with(() => setTimeout(LOOKS_MS))
    if (FOUND.test(from)) throw no(550, '5.7.1 This looks like spam')
    const to = rcptTo.map(({ address }) => address)
    const delivery = {
      from,
      to,
      client: session.remoteAddress,
      // Where the client has no name, smtp-server has an address in brackets here.
      name: session.clientHostname.startsWith('[') ? '' : session.clientHostname,
      bytes: stream.byteLength,
      content,
    }
    store.keep(delivery)
    onDelivery(delivery)
    const { client, name, bytes } = delivery
    log.info({ from, to, client, name, bytes }, 'demo mail server accepted a message; it keeps mail in memory only')
    return `2.0.0 Ok: kept in memory as ${store.taken}`
  }

  const server = new SMTPServer({
    name: `mail.${DOMAIN}`,
    banner: BANNER,
    size: MAX_SIZE,
    disableReverseLookup: true,
    disabledCommands: ['AUTH', 'STARTTLS'],
    useXClient: ['127.0.0.1'],
    closeTimeout: 200,
    logger: false,
    onRcptTo: ({ address }, _session, callback) => callback(refusalOf(address)),
    onData: (stream, session, callback) => {
      deliver(stream, session).then(
        (reply) => callback(null, reply),
        (error: Error) => callback(error),
      )
    },
  })
  // A client that is cut off in the middle of a message needs no warning here: it is in Spillway's log.
  server.on('error', (error) => log.debug({ err: error.message }, 'demo mail server: connection failed'))
  await new Promise<void>((resolve, reject) => {
    server.server.once('error', reject)
    server.listen(wanted, '127.0.0.1', () => {
      server.server.off('error', reject)
      resolve()
    })
  })
  const { port } = server.server.address() as AddressInfo
  log.info({ host: '127.0.0.1', port }, 'demo mail server: keeps mail in memory only; all of it is gone at the end')
  return {
    port,
    kept: store.kept,
    get taken() {
      return store.taken
    },
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  }
}
