// An operator's day: in the middle of a flood they renew a certificate, deny a /24, halve a limit, add a mail server, and
// upgrade the program. It runs by itself, because it needs a network namespace of its own:
//
//     unshare --net node test/cli/day.ts [WORKERS]
//
// It prints one line of JSON: what became of honest mail, and what showed that each change was in force.
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { AS_OPERATOR } from '../support/app.ts'
import { makeCertificate } from '../support/certificates.ts'
import { connectClient } from '../support/client.ts'
import { Program, SERVE_ENV, TOKEN_ENV } from '../support/program.ts'
import { startUpstream } from '../support/upstream.ts'

const HONEST_PER_SECOND = 15
const FLOOD_PER_SECOND = 150
/** Between two changes. */
const PAUSE_MS = 1000
const DENIED = '127.20.5'
const [PORT, ADMIN] = [2525, 9025]
const workers = process.argv[2] ?? '2'

const folder = mkdtempSync(join(tmpdir(), 'spillway-day-'))
const [first, second] = [await startUpstream(), await startUpstream()]
const file = join(folder, 'env')

/** As certbot and Kubernetes do it: a new folder, and a link that is renamed onto the old one. */
function renew(name: string): void {
  const { cert, key } = makeCertificate({ names: [`DNS:${name}.mx.test.example`, 'DNS:mx.test.example'] })
  mkdirSync(join(folder, name))
  writeFileSync(join(folder, name, 'cert.pem'), cert)
  writeFileSync(join(folder, name, 'key.pem'), key)
  symlinkSync(name, join(folder, 'next'))
  renameSync(join(folder, 'next'), join(folder, 'tls'))
}

const settings: Record<string, string> = {
  UPSTREAMS: first.address,
  LIMIT_IP_CONNECTIONS: '600/1m',
  DENY: 'none',
  TLS_CERT: join(folder, 'tls', 'cert.pem'),
  TLS_KEY: join(folder, 'tls', 'key.pem'),
}
const write = (): void =>
  writeFileSync(
    file,
    Object.entries(settings)
      .map(([name, value]) => `SPILLWAY_${name}=${value}\n`)
      .join(''),
  )

async function reload(changed: Record<string, string>): Promise<void> {
  Object.assign(settings, changed)
  write()
  const response = await fetch(`http://127.0.0.1:${ADMIN}/api/v1/reload`, { method: 'POST', headers: AS_OPERATOR })
  const report = (await response.json()) as { result: string; changed: { setting: string }[] }
  const told = report.changed.map(({ setting }) => setting.replace('SPILLWAY_', ''))
  if (report.result !== 'ok' || told.join() !== Object.keys(changed).join()) throw new Error(JSON.stringify(report))
}

const honest = { sent: 0, accepted: 0, longestMs: 0, names: new Set<string>() }
const faults: string[] = []

/** A message as an honest mail server sends it; whatever is not as usual is a fault. */
async function send(number: number): Promise<void> {
  const begun = performance.now()
  honest.sent++
  const from = `127.64.${number >> 8}.${number & 255 || 1}`
  const client = await connectClient(PORT, { from }).catch((error: unknown) => void faults.push(`${number}: ${error}`))
  if (client === undefined) return
  try {
    const say = async (line: string): Promise<void> => {
      const reply = await client.command(line)
      if (!/^[23]/.test(reply)) throw new Error(`${line}: ${reply}`)
    }
    const greeting = await client.reply()
    if (!greeting.startsWith('220')) throw new Error(greeting)
    await say('EHLO honest.example')
    await client.startTls({ rejectUnauthorized: false })
    const shown = (client.socket as TLSSocket).getPeerX509Certificate()?.subjectAltName ?? ''
    honest.names.add(/^DNS:(\w+)/.exec(shown)?.[1] ?? shown)
    await say('EHLO honest.example')
    await say(`MAIL FROM:<sender${number}@honest.example>`)
    await say('RCPT TO:<anna@example.test>')
    await say('DATA')
    await say(`Subject: ${number}\r\n\r\nhonest\r\n.`)
    honest.accepted++
    await say('QUIT')
  } catch (error) {
    faults.push(`${number}: ${String(error)}`)
  } finally {
    client.destroy()
    honest.longestMs = Math.max(honest.longestMs, performance.now() - begun)
  }
}

/** @returns the first reply; undefined if there was none */
async function knock(from: string): Promise<string | undefined> {
  const client = await connectClient(PORT, { from }).catch(() => undefined)
  const reply = await client?.reply().catch(() => undefined)
  client?.destroy()
  return reply
}

/** Calls at an even rate, until it is stopped; resolves when the last call is over. */
function steadily(perSecond: number, call: (number: number) => Promise<unknown>): () => Promise<unknown> {
  const calls: Promise<unknown>[] = []
  const begun = performance.now()
  const timer = setInterval(() => {
    const due = ((performance.now() - begun) * perSecond) / 1000
    while (calls.length < due) calls.push(call(calls.length))
  }, 10)
  return () => {
    clearInterval(timer)
    return Promise.all(calls)
  }
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
const env = {
  ...SERVE_ENV,
  ...TOKEN_ENV,
  SPILLWAY_UPSTREAMS: undefined,
  SPILLWAY_RELAY_GUARD: 'off',
  SPILLWAY_WORKERS: workers,
  SPILLWAY_LISTEN: `127.0.0.1:${PORT}`,
  SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${ADMIN}`,
  SPILLWAY_ENV_FILE: file,
}
const serving = async (program: Program): Promise<Program> => {
  await program.logged(workers === '1' ? 'listening for the operator' : 'all workers serve')
  return program
}

renew('first')
write()
const programs: Program[] = []
const begin = (...options: string[]): Promise<Program> => {
  const each = new Program(['serve', ...options], { env })
  programs.push(each)
  return serving(each)
}
const program = await begin()
await program.logged('listening for mail')
const stops = [
  steadily(HONEST_PER_SECOND, send),
  steadily(FLOOD_PER_SECOND, (number) => knock(`127.16.${(number >> 8) & 255}.${number & 255}`)),
  steadily(20, (number) => knock(`${DENIED}.${number & 255}`)),
]
const stopAll = (): Promise<unknown> => Promise.all(stops.map((stop) => stop()))
const seen: Record<string, unknown> = {}
try {
  await pause()
  renew('second')
  program.child.kill('SIGHUP')
  await pause()
  seen.beforeDeny = (await knock(`${DENIED}.7`))?.slice(0, 3)
  await reload({ DENY: `${DENIED}.0/24` })
  seen.afterDeny = (await knock(`${DENIED}.7`))?.slice(0, 3)
  await pause()
  await reload({ LIMIT_IP_CONNECTIONS: '300/1m' })
  await pause()
  await reload({ UPSTREAMS: `${first.address},${second.address}` })
  await pause()
  const next = await begin('--take-over')
  seen.upgraded = await program.exited
  await pause()
  await stopAll()
  next.child.kill('SIGTERM')
  seen.stopped = await next.exited
} finally {
  // Also where something failed: who finds the port closed then would say so, and hide what it was.
  void stopAll()
  rmSync(folder, { recursive: true })
  for (const each of programs) await each.end()
}
const bodies = [first, second].map((server) =>
  server.bodies().flatMap((body) => /^Subject: (\d+)/.exec(body.toString())?.[1] ?? []),
)
await Promise.all([first.stop(), second.stop()])
seen.atSecond = bodies[1]?.length
seen.arrived = bodies.flat().length
seen.different = new Set(bodies.flat()).size
console.log(
  JSON.stringify({ ...honest, names: [...honest.names], faults: faults.slice(0, 5), failed: faults.length, ...seen }),
)
process.exit(0)
