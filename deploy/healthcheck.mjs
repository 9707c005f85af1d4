/**
 * Is this node healthy? Connects as a client does and reads the greeting. 220 is healthy, and so is 421: a node that sheds a
 * flood, or is full, is doing its work, and restarting it would drop all its sessions. The exit code is 0 or 1, and one line
 * says why.
 *
 *     node deploy/healthcheck.mjs [HOST:PORT]
 *
 * Without an argument it asks the first address of SPILLWAY_LISTEN, which it reads from the same places as the node itself.
 */
import { readFileSync } from 'node:fs'
import { createConnection, isIP } from 'node:net'
import { hostname } from 'node:os'

const PATIENCE_MS = 5_000

/** @returns {Promise<{ host: string, port: number, header: string }>} where to ask, and what must be sent first */
async function fromSettings() {
  const { load } = await import('../dist/config/load.js')
  const { openFiles } = await import('../dist/cli/open-files.js')
  const { compile } = await import('../dist/core/ip.js')
  const { settings } = load({
    env: process.env,
    readFile: (path) => readFileSync(path, 'utf8'),
    hostname: hostname(),
    openFiles: openFiles(),
  })
  const { host: listening, port } = settings.listen[0]
  const host = { '0.0.0.0': '127.0.0.1', '::': '::1' }[listening] ?? listening
  // A connection to one of our own addresses comes from that same address. If the settings list it as a balancer, a PROXY
  // header must come first. UNKNOWN marks a health check without a client (PROXY protocol, section 2.1).
  const asBalancer = isIP(host) !== 0 && compile(settings.proxyProtocolFrom)(host)
  return { host, port, header: asBalancer ? 'PROXY UNKNOWN\r\n' : '' }
}

function fromArgument(text) {
  const colon = text.lastIndexOf(':')
  const host = text.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  const port = Number(text.slice(colon + 1))
  if (colon < 1 || !Number.isInteger(port) || port < 1 || port > 65_535) throw new Error(`HOST:PORT, not ${text}`)
  return { host, port, header: '' }
}

/** @returns {Promise<string>} the first line of the greeting; rejects if none comes in time */
function greeting({ host, port, header }) {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host, port })
    let heard = ''
    const fail = (why) => {
      socket.destroy()
      reject(new Error(`${host}:${port}: ${why}`))
    }
    const timer = setTimeout(fail, PATIENCE_MS, `no greeting within ${PATIENCE_MS / 1000} s`)
    socket.on('connect', () => socket.write(header))
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1')
      if (!heard.includes('\n') && heard.length < 1024) return
      clearTimeout(timer)
      socket.end('QUIT\r\n')
      resolve(heard.split(/\r?\n/)[0])
    })
    socket.on('error', (error) => {
      clearTimeout(timer)
      fail(error.message)
    })
    socket.on('close', () => {
      clearTimeout(timer)
      fail('closed without a greeting')
    })
  })
}

try {
  const [argument] = process.argv.slice(2)
  const line = await greeting(argument === undefined ? await fromSettings() : fromArgument(argument))
  console.log(line)
  process.exitCode = /^(220|421)[ -]/.test(line) ? 0 : 1
} catch (error) {
  console.log(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
setTimeout(() => process.exit(), 500).unref()
