/**
 * Connects to a mail port as a client does, and reads the greeting. There 220 is well, and so is 421: a node that sheds a flood, or is
 * full, does its work, and restarting it would drop all its sessions.
 *
 * The image does so every quarter of a minute, with `healthcheck --mail`. Loading the program would cost more CPU time than the question
 * itself, so this file needs next to nothing. Of the settings it reads the two that say where to connect and how to begin, where these
 * stand in plain words; whatever else there is, `healthcheck.ts` reads all settings.
 */
import { readFileSync } from 'node:fs'
import { createConnection, isIP, isIPv4, isIPv6 } from 'node:net'
import { entriesOf, reader } from '../config/entries.ts'
import { parseEnvFile } from '../config/env-file.ts'
import { messageOf } from '../core/errors.ts'
import { visible } from '../core/visible.ts'
import { reached } from './reached.ts'

export interface Target {
  readonly host: string
  readonly port: number
  /** What must be sent first. */
  readonly header: string
}

export const PATIENCE_MS = 5000
const WELL = /^(?:220|421)[ -]/
const ENV_FILE = 'SPILLWAY_ENV_FILE'
/** The defaults of the two settings. */
const USUAL = { SPILLWAY_LISTEN: '0.0.0.0:2525', SPILLWAY_PROXY_PROTOCOL_FROM: 'none' } as const

type Env = Readonly<Record<string, string | undefined>>
const readText = reader((path) => readFileSync(path, 'utf8'))

/**
 * @param isBalancer whether the settings list an address as a balancer
 * @returns how the mail port at this address is asked. A connection to one of our own addresses comes from that same address. If it is a
 * balancer's, a PROXY header must come first; UNKNOWN marks a health check without a client (PROXY protocol, section 2.1).
 */
export function targetAt(listens: string, port: number, isBalancer: (ip: string) => boolean): Target {
  const host = reached(listens)
  return { host, port, header: isIP(host) !== 0 && isBalancer(host) ? 'PROXY UNKNOWN\r\n' : '' }
}

/** @returns the first line of the greeting, if it is well. Rejects with another one, and if none comes in time. */
export function greetedWell({ host, port, header }: Target): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host, port })
    const end = (error: string): void => {
      clearTimeout(timer)
      socket.destroy()
      reject(new Error(error))
    }
    const fail = (why: string): void => end(`${host}:${port}: ${why}`)
    const timer = setTimeout(fail, PATIENCE_MS, `no greeting within ${PATIENCE_MS / 1000} s`)
    let heard = ''
    socket.on('connect', () => socket.write(header))
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1')
      if (!heard.includes('\n') && heard.length < 1024) return
      const line = heard.split(/\r?\n/)[0] ?? ''
      if (!WELL.test(line)) return end(line)
      clearTimeout(timer)
      socket.end('QUIT\r\n')
      resolve(line)
    })
    socket.on('error', ({ message }) => fail(message))
    socket.on('close', () => fail('closed without a greeting'))
  })
}

/** An address or a name, and a port; undefined for all that needs a closer look. */
function plainHostPort(text: string): { readonly host: string; readonly port: number } | undefined {
  const [, literal, name, digits] = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+)):([1-9]\d{0,4})$/i.exec(text) ?? []
  const host = literal ?? name
  if (host === undefined || Number(digits) > 65_535) return undefined
  if (literal !== undefined ? !isIPv6(literal) : !isIPv4(host) && !/^[a-z]/i.test(host)) return undefined
  return { host, port: Number(digits) }
}

/** What the environment and the env file say of one setting; undefined where it stands in a file of its own, or is not clear. */
function plainText(name: keyof typeof USUAL, sources: readonly Env[]): string | undefined {
  for (const source of sources) {
    if ((source[`${name}_FILE`]?.trim() ?? '') !== '') return undefined
    const text = source[name]?.trim() ?? ''
    if (text !== '') return text
  }
  return USUAL[name]
}

/** @returns where this node greets, as far as the settings say so plainly */
export async function plainTarget(env: Env): Promise<Target | undefined> {
  const sources = [env]
  const path = env[ENV_FILE]?.trim() ?? ''
  if (path !== '') {
    const content = readText(path)
    const file = 'hint' in content ? undefined : parseEnvFile(content.text, 'SPILLWAY_')
    if (file === undefined || file.wrong.length > 0) return undefined
    sources.push(Object.fromEntries(file.lines.map(({ name, value }) => [name, value])))
  }
  const listen = plainText('SPILLWAY_LISTEN', sources)
  const first = listen === undefined ? undefined : plainHostPort(listen.split(',')[0]?.trim() ?? '')
  const balancers = plainText('SPILLWAY_PROXY_PROTOCOL_FROM', sources)
  if (first === undefined || balancers === undefined) return undefined
  const isBalancer = await balancersOf(balancers)
  return isBalancer && targetAt(first.host, first.port, isBalancer)
}

async function balancersOf(text: string): Promise<((ip: string) => boolean) | undefined> {
  if (text === 'none') return () => false
  const { entries, wrong } = entriesOf(text, readText)
  if (wrong.length > 0) return undefined
  const { compile, parseNetwork } = await import('../core/ip.ts')
  try {
    return compile(entries.map((entry) => parseNetwork(entry.text)))
  } catch {
    return undefined
  }
}

/**
 * `healthcheck --mail [HOST:PORT]`, without the rest of the program.
 * @param words what stands behind --mail
 * @returns undefined where the rest is needed
 */
export async function probed(
  words: readonly string[],
  env: Env,
): Promise<{ readonly output: string; readonly code: 0 | 1 } | undefined> {
  const [at, ...more] = words
  if (more.length > 0) return undefined
  const given = at === undefined ? undefined : plainHostPort(at)
  const target = at === undefined ? await plainTarget(env) : given && { ...given, header: '' }
  if (target === undefined) return undefined
  return greetedWell(target).then(
    (line) => ({ output: visible(line), code: 0 }),
    (error: unknown) => ({ output: visible(messageOf(error)), code: 1 }),
  )
}
