/**
 * The scripted upstream as one more mail server: it has recipients, keeps what it is given by recipient, and is told apart
 * from real ones only by what it can be made to do besides, and by showing every byte it heard.
 */
import { eventually } from '../../support/app.ts'
import { EXTENSIONS, type Script, startUpstream, type Upstream } from '../../support/upstream.ts'
import type { Behind, Wanted } from '../servers.ts'

export interface Scripted extends Behind {
  readonly upstream: Upstream
  /** Asked before it answers as a good server would; see support/upstream.ts. */
  fault: Script | undefined
}

const OK = '250 2.1.5 Ok'

export async function startScripted({ recipients, sizeLimit = 10_000_000, unsaid = [] }: Wanted): Promise<Scripted> {
  const known = new Set(recipients.map((each) => each.toLowerCase()))
  const domains = new Set(recipients.map((each) => each.slice(each.lastIndexOf('@') + 1).toLowerCase()))
  const delivered = new Map<string, Buffer[]>()
  /** Of the transaction under way, by connection. */
  const taken = new WeakMap<object, string[]>()
  /** Who is on the line, as it was told: by XCLIENT, else by the socket. */
  const visitors = new WeakMap<object, { helo: string; ip: string }>()
  let serial = 0
  let log = ''

  const answer: Script = (verb, line, connection) => {
    if (verb === 'MAIL' || verb === 'RSET' || verb === 'EHLO') taken.set(connection, [])
    const visitor = visitors.get(connection) ?? { helo: '', ip: connection.socket.remoteAddress ?? '' }
    visitors.set(connection, visitor)
    if (verb === 'EHLO') visitor.helo = line.slice(5)
    if (verb === 'XCLIENT') visitor.ip = / ADDR=(?:IPV6:)?(\S+)/.exec(line)?.[1] ?? ''
    if (verb === 'RCPT') {
      const [, address = ''] = /<(.*)>/.exec(line) ?? []
      const to = address.toLowerCase()
      if (to !== 'postmaster' && !known.has(to)) {
        const domain = to.slice(to.lastIndexOf('@') + 1)
        return domains.has(domain) ? '550 5.1.1 No such user here' : '554 5.7.1 Relay access denied'
      }
      taken.get(connection)?.push(to)
      return OK
    }
    if (verb === 'DOT') {
      const id = `S${String(++serial).padStart(6, '0')}`
      const body = (connection.bodies.at(-1) as Buffer).toString('latin1').replace(/(^|\r\n)\./g, '$1')
      const trace = `Received: from ${visitor.helo} ([${visitor.ip}]) by upstream.example with id ${id}\n`
      const message = Buffer.from(trace + body.replace(/\r\n/g, '\n'), 'latin1')
      for (const to of taken.get(connection) ?? []) delivered.set(to, [...(delivered.get(to) ?? []), message])
      taken.set(connection, [])
      return `250 2.0.0 Ok: queued as ${id}`
    }
    return 'default'
  }
  const scripted: Pick<Scripted, 'fault'> = { fault: undefined }
  const upstream = await startUpstream({
    extensions: [...EXTENSIONS.map((each) => (each.startsWith('SIZE') ? `SIZE ${sizeLimit}` : each)), XCLIENT].filter(
      (each) => !unsaid.includes(each),
    ),
    script: async (verb, line, connection) => {
      log += `${line}\n`
      const said = await (scripted.fault?.(verb, line, connection) ?? 'default')
      return said === 'default' ? answer(verb, line, connection) : said
    },
  })
  const messages = (recipient: string): Buffer[] => delivered.get(recipient.toLowerCase()) ?? []
  return Object.assign(scripted, {
    upstream,
    port: () => upstream.port,
    log: () => log,
    messages,
    waitForMessages: (recipient: string, count: number, ms?: number) =>
      eventually(
        () => messages(recipient),
        (found) => found.length >= count,
        ms,
      ),
    stop: () => upstream.stop(),
  })
}

const XCLIENT = 'XCLIENT NAME ADDR PORT PROTO HELO'
