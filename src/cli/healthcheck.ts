/**
 * `spillway healthcheck`: is the node well? It asks /livez, or /readyz, or connects to the mail port as a client does and reads the
 * greeting. There 220 is well, and so is 421: a node that sheds a flood, or is full, does its work, and restarting it would drop all its
 * sessions. The exit code is 0 or 1, as for HEALTHCHECK of an image, and one line says why.
 */
import { createConnection, isIP } from 'node:net'
import { hostPort } from '../config/address-kinds.ts'
import type { Loaded } from '../config/load.ts'
import { describe, SettingsError } from '../config/mistakes.ts'
import { messageOf } from '../core/errors.ts'
import { compile } from '../core/ip.ts'
import { visible } from '../core/visible.ts'
import { askFor, NotDone } from './admin-verb.ts'
import { reached } from './ask-node.ts'

export interface HealthTold {
  readonly output: string
  readonly code: 0 | 1 | 64
}

interface HealthOptions {
  readonly ready: boolean
  readonly mail: boolean
  readonly json: boolean
}

const PATIENCE_MS = 5000
/** A client may be told that there is no place for it: that is an answer. */
const WELL = /^(?:220|421)[ -]/

interface Target {
  readonly host: string
  readonly port: number
  /** What must be sent first. */
  readonly header: string
}

/** The first address of SPILLWAY_LISTEN. */
function mailPortOf({ settings: { listen, proxyProtocolFrom } }: Loaded): Target {
  const [first] = listen
  if (first === undefined || first.port === 0)
    throw new NotDone('Which port the node has is not known: SPILLWAY_LISTEN has port 0.')
  const host = reached(first.host)
  // A connection to one of our own addresses comes from that same address. If the settings list it as a balancer, a PROXY
  // header must come first. UNKNOWN marks a health check without a client (PROXY protocol, section 2.1).
  const isBalancer = isIP(host) !== 0 && compile(proxyProtocolFrom)(host)
  return { host, port: first.port, header: isBalancer ? 'PROXY UNKNOWN\r\n' : '' }
}

/** @returns the first line of the greeting. Rejects if none comes in time. */
function greeting({ host, port, header }: Target): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host, port })
    const fail = (why: string): void => {
      clearTimeout(timer)
      socket.destroy()
      reject(new NotDone(`${host}:${port}: ${why}`))
    }
    const timer = setTimeout(fail, PATIENCE_MS, `no greeting within ${PATIENCE_MS / 1000} s`)
    let heard = ''
    socket.on('connect', () => socket.write(header))
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1')
      if (!heard.includes('\n') && heard.length < 1024) return
      clearTimeout(timer)
      socket.end('QUIT\r\n')
      resolve(heard.split(/\r?\n/)[0] ?? '')
    })
    socket.on('error', ({ message }) => fail(message))
    socket.on('close', () => fail('closed without a greeting'))
  })
}

/** @param at HOST:PORT of a mail port, which needs no settings */
async function look(
  loaded: Loaded | SettingsError,
  at: string | undefined,
  { ready, mail }: HealthOptions,
): Promise<string> {
  if (at !== undefined && !mail) throw new NotDone('HOST:PORT is for --mail.', 64)
  if (ready && mail) throw new NotDone('Give --ready or --mail, not both.', 64)
  if (at !== undefined) {
    const parsed = hostPort(25).parse(at)
    if ('hint' in parsed) throw new NotDone(`${at} is no HOST:PORT: ${parsed.hint}.`, 64)
    return greeted(await greeting({ ...parsed.value, header: '' }))
  }
  if (loaded instanceof SettingsError) throw new NotDone(describe(loaded.mistakes))
  if (mail) return greeted(await greeting(mailPortOf(loaded)))
  const path = ready ? '/readyz' : '/livez'
  const answer = String(await askFor(loaded.settings, { method: 'GET', path, longestMs: PATIENCE_MS }, 'text'))
  return `${path}: ${answer.trim()}`
}

function greeted(line: string): string {
  if (WELL.test(line)) return line
  throw new NotDone(line)
}

/** Never rejects. @param positionals HOST:PORT of a mail port */
export async function healthcheck(
  loaded: Loaded | SettingsError,
  [at]: readonly string[],
  options: HealthOptions,
): Promise<HealthTold> {
  const told = (why: string, code: HealthTold['code']): HealthTold => ({
    output: visible(options.json ? `${JSON.stringify({ healthy: code === 0, why })}\n` : `${why}\n`),
    code,
  })
  try {
    return told(await look(loaded, at, options), 0)
  } catch (error) {
    return told(messageOf(error), error instanceof NotDone ? error.code : 1)
  }
}
