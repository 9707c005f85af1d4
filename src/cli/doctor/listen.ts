/**
 * Whether each address of SPILLWAY_LISTEN can be listened on, or is in the hands of the node that runs. A port that is free is
 * taken for a moment and let go.
 */
import { readdirSync, readlinkSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { connect, createServer, isIPv6 } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { type HostPort, hostPortsText } from '../../config/address-kinds.ts'
import type { PlainSettings } from '../../config/settings.ts'
import { within } from '../../core/deadline.ts'
import { adviceOn } from '../listen-advice.ts'
import type { Budget, Findings } from './finding.ts'
import type { RunningNode } from './node.ts'

const GREETING_MS = 4000
const SEARCH_MS = 2000
const LONGEST_GREETING = 512

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
  const holder = await within(holderOf(at.port), SEARCH_MS, () => undefined).catch(() => undefined)
  if ((await node) === undefined) {
    if (holder?.startsWith('systemd '))
      return found.ok(where, `held by ${holder}, which will pass it on (spillway.socket)`)
    const by = holder === undefined ? 'another program' : holder
    return found.fail(where, `${by} listens there, and it is no node with these settings`, cure ?? '')
  }
  const greeting = await greetingAt(at, budget.left(GREETING_MS))
  if (greeting?.includes(settings.hostname)) return found.ok(where, 'in the hands of the node that runs')
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

/** The program that listens on a port, as `name (pid 12)`; undefined where the system does not let us see it. */
async function holderOf(port: number): Promise<string | undefined> {
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((path) => readFile(path, 'utf8').catch(() => '')),
  )
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const inodes = new Set(
    tables
      .flatMap((table) => table.split('\n').map((row) => row.trim().split(/\s+/)))
      // 0A is LISTEN; the tenth column is the inode.
      .filter((columns) => columns[1]?.endsWith(`:${hex}`) && columns[3] === '0A')
      .map((columns) => `socket:[${columns[9]}]`),
  )
  if (inodes.size === 0) return undefined
  for (const pid of readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))) {
    if (hasOpen(pid, inodes))
      return `${(await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'a program')).trim()} (pid ${pid})`
    // Other probes measure times meanwhile.
    await setImmediate()
  }
  return undefined
}

/** All at once: a machine may have a hundred thousand open files, and a look at each by the thread pool takes seconds. */
function hasOpen(pid: string, targets: ReadonlySet<string>): boolean {
  const folder = `/proc/${pid}/fd`
  try {
    return readdirSync(folder).some((file) => targets.has(targetOf(`${folder}/${file}`)))
  } catch {
    return false
  }
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link)
  } catch {
    return ''
  }
}
