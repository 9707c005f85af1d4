/** Which program has a port, as far as Linux lets us see it (proc_pid_fd(5), proc_net_tcp(5)). */
import { readdirSync, readlinkSync } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { isIP, isIPv6 } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { within } from '../core/deadline.ts'
import { groups, octets } from '../core/ip-bytes.ts'

const SEARCH_MS = 2000
/** Of a command line, in octets that are read and in characters that are told. */
const READ = 512
const TOLD = 100

/** The state LISTEN. */
const LISTEN = '0A'
/** All addresses of this machine, of IPv4 and of IPv6. */
const EVERY_4 = '0'.repeat(8)
const EVERY = [EVERY_4, '0'.repeat(32)]

/**
 * The program that listens on an address, or on all addresses with that port.
 * @returns its command line, cut and without control characters, such as `haproxy -f /etc/haproxy/haproxy.cfg (pid 12)`; undefined where
 * nobody does, or it cannot be seen
 */
export const holderOf = (at: { readonly host: string; readonly port: number }): Promise<string | undefined> =>
  within(search(at), SEARCH_MS, () => undefined).catch(() => undefined)

async function search({ host, port }: { readonly host: string; readonly port: number }): Promise<string | undefined> {
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((path) => readFile(path, 'utf8').catch(() => '')),
  )
  // A name may stand for any.
  const own = isIP(host) === 0 ? EVERY_4 : inTable(host)
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const inodes = new Set(
    tables
      .flatMap((table) => table.split('\n').map((row) => row.trim().split(/\s+/)))
      .filter(([, local = '', , state]) => {
        const [address = '', at] = local.split(':')
        return state === LISTEN && at === hex && (EVERY.includes(own) || [own, ...EVERY].includes(address))
      })
      // The tenth column is the inode.
      .map((columns) => `socket:[${columns[9]}]`),
  )
  if (inodes.size === 0) return undefined
  for (const pid of readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))) {
    if (hasOpen(pid, inodes)) return `${await nameOf(pid)} (pid ${pid})`
    // Whoever waits for this may do something else meanwhile.
    await setImmediate()
  }
  return undefined
}

/** An address as the kernel's tables have it: words of four octets, each in the order of this machine, which is the little end first. */
function inTable(host: string): string {
  const bytes = isIPv6(host) ? groups(host) : octets(host)
  return bytes.swap32().toString('hex').toUpperCase()
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

/** `comm` is the name of a thread, which for Node is `MainThread`: it is told only of a program that has wiped its command line. */
async function nameOf(pid: string): Promise<string> {
  for (const file of ['cmdline', 'comm']) {
    const text = shown(await begunOf(`/proc/${pid}/${file}`))
    if (text !== '') return text
  }
  return 'a program'
}

async function begunOf(path: string): Promise<Buffer> {
  const file = await open(path).catch(() => undefined)
  if (file === undefined) return Buffer.alloc(0)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(READ), 0, READ, 0)
    return buffer.subarray(0, bytesRead)
  } catch {
    return Buffer.alloc(0)
  } finally {
    await file.close()
  }
}

/** A program chooses its command line, and whoever reads it looks at a terminal. */
function shown(line: Buffer): string {
  // Of the program its name will do.
  const named = line.toString('utf8').replace(/^\/[^\0\s]*\/(?=[^\0\s])/, '')
  const text = named.replace(/[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\ufffd]+/gu, ' ')
  const characters = [...text.trim()]
  return characters.length > TOLD ? `${characters.slice(0, TOLD).join('')}…` : characters.join('')
}
