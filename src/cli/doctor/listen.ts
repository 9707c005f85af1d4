/**
 * Whether each address of SPILLWAY_LISTEN can be listened on, or is in the hands of the node that runs. A port that is free is
 * taken for a moment and let go.
 */
import { connect, createServer, isIPv6 } from 'node:net'
import { type HostPort, hostPortsText } from '../../config/address-kinds.ts'
import type { PlainSettings } from '../../config/settings.ts'
import { readId } from '../../core/id.ts'
import { adviceOn } from '../listen-advice.ts'
import { holderOf } from '../port-holder.ts'
import type { Budget, Findings } from './finding.ts'
import type { RunningNode } from './node.ts'

const GREETING_MS = 4000
const LONGEST_GREETING = 512
const JUST_NOW_MS = 30_000

export interface Listening {
  readonly settings: PlainSettings
  /** SPILLWAY_LISTEN was not given. Without IPv6 its [::] is then left out. */
  readonly isDefault: boolean
  readonly budget: Budget
  readonly node: Promise<RunningNode | undefined>
}

export async function aboutListening(listening: Listening, found: Findings): Promise<void> {
  // One after the other: an address and the one that stands for all have the same port.
  for (const at of listening.settings.listen) await look(at, listening, found)
}

async function look(at: HostPort, { settings, isDefault, budget, node }: Listening, found: Findings): Promise<void> {
  const where = hostPortsText([at])
  if (at.port === 0) return found.ok(where, 'any free port')
  const error = await bindError(at)
  if (error === undefined) return found.ok(where, 'free')
  const cure = adviceOn({ code: error.code, setting: 'SPILLWAY_LISTEN', address: at.host }, settings)
  if (isDefault && isIPv6(at.host) && (error.code === 'EAFNOSUPPORT' || error.code === 'EADDRNOTAVAIL'))
    return found.ok(where, 'left out: this machine has no IPv6')
  if (error.code === 'EACCES')
    return found.warn(
      where,
      'the user of this command may not listen there',
      cure ?? 'run it as the user of the service',
    )
  if (error.code !== 'EADDRINUSE') return found.fail(where, error.message, cure ?? 'choose another address')
  const holder = await holderOf(at)
  if ((await node) === undefined) {
    if (holder?.startsWith('systemd '))
      return found.ok(where, `held by ${holder}, which will pass it on (spillway.socket)`)
    const by = holder === undefined ? 'another program' : holder
    return found.fail(where, `${by} listens there, and it is no node with these settings`, cure ?? '')
  }
  const greeting = await greetingAt(at, budget.left(GREETING_MS))
  if (greeting?.includes(settings.hostname)) return found.ok(where, 'in the hands of the node that runs')
  if (greeting !== undefined && isRefusal(greeting))
    return found.ok(where, `in the hands of the node that runs, which turns away whoever comes from here: ${greeting}`)
  if (greeting !== undefined && greeting !== '')
    return found.fail(where, `another program listens there (${holder ?? 'unknown'}) and says: ${greeting}`, cure ?? '')
  found.ok(
    where,
    `in use while a node runs${holder === undefined ? '' : ` (${holder})`}; it has not greeted this command`,
  )
}

function bindError({ host, port }: HostPort): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', resolve)
    server.listen({ host, port, exclusive: true, ipv6Only: isIPv6(host) }, () => server.close(() => resolve(undefined)))
  })
}

/** Whether a node has said this just now: a refusal for good does not name it, and has an id that says when it was made. */
const isRefusal = (greeting: string): boolean =>
  /^5/.test(greeting) &&
  (greeting.match(/[0-9A-Z]{13}/g) ?? []).some(
    (id) => Math.abs((readId(id)?.at.getTime() ?? Number.NaN) - Date.now()) < JUST_NOW_MS,
  )

/** The first line of what listens there; undefined if it cannot be connected to, or says nothing. */
function greetingAt({ host, port }: HostPort, ms: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    let text = ''
    const socket = connect({ host: host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host, port })
    const end = (): void => {
      clearTimeout(timer)
      // RST would count as a client that broke off; QUIT is what honest clients say.
      socket.end('QUIT\r\n')
      setTimeout(() => socket.destroy(), 200).unref()
      resolve(text === '' ? undefined : (text.split('\n')[0] ?? ''))
    }
    const timer = setTimeout(end, ms)
    socket.on('error', end)
    socket.on('end', end)
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (text.includes('\n') || text.length > LONGEST_GREETING) end()
    })
  })
}
