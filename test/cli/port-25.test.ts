/**
 * Port 25 without root, by each way of docs/deploy/one-box.md: bound for real by a user who is nobody, in a network of its own.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { command } from '../services/packages.ts'
import { eventually } from '../support/app.ts'
import { Program, ROOT, SERVE_ENV } from '../support/program.ts'

/** Nobody's, as that of systemd's DynamicUser=. */
const UID = 64_321
const ENV = { ...SERVE_ENV, SPILLWAY_LISTEN: '0.0.0.0:25,[::]:25' }
const CAP_NET_BIND_SERVICE = 1n << 10n

let folder: string
let program: Program | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-port-25-'))
})
afterEach(async () => {
  await program?.end()
  program = undefined
  rmSync(folder, { recursive: true })
})

/**
 * A network where all ports are free. The checkout and Node are shown at places that anybody can reach, wherever they are.
 * @param first done by root in that network
 */
function ownNetwork(first = 'true'): string[] {
  const shown = new Map([
    [dirname(process.execPath), join(folder, 'node')],
    [fileURLToPath(ROOT).replace(/\/$/, ''), join(folder, 'spillway')],
  ])
  const lines: string[] = ['ip link set lo up', `chmod 0755 ${folder}`, first]
  for (const [from, to] of shown) {
    mkdirSync(to)
    lines.push(`mount --bind '${from}' '${to}'`, `set -- "\${@//'${from}'/'${to}'}"`)
  }
  return ['unshare', '--net', '--mount', 'bash', '-ec', `${lines.join('\n')}\nexec "$@"`, 'bash']
}

const unprivileged = (...more: string[]): string[] => {
  const user = [`--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--no-new-privs']
  return ['setpriv', ...user, ...(more.length > 0 ? more : ['--bounding-set=-all', '--inh-caps=-all']), '--']
}

/** The first line that a client in the network of that process reads. */
async function greeting(pid: number, address: string): Promise<string> {
  const script = `exec 3<>/dev/tcp/${address}/25; head -n 1 <&3`
  const { stdout } = await promisify(execFile)('nsenter', ['-t', String(pid), '-n', 'bash', '-ec', script])
  return stdout
}

/** Who the program is, and what it may. */
function credentials(pid: number): { uid: number; capabilities: bigint } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string): string => new RegExp(`^${name}:\\s+(\\w+)`, 'm').exec(status)?.[1] ?? ''
  return { uid: Number(field('Uid')), capabilities: BigInt(`0x${field('CapEff')}`) }
}

test.each([
  [
    'the capability, as by AmbientCapabilities=',
    'true',
    ['--inh-caps=-all,+net_bind_service', '--ambient-caps=+net_bind_service', '--bounding-set=-all,+net_bind_service'],
    CAP_NET_BIND_SERVICE,
  ],
  ['sysctl net.ipv4.ip_unprivileged_port_start', 'echo 25 >/proc/sys/net/ipv4/ip_unprivileged_port_start', [], 0n],
] as const)('by %s', async (_, first, privileges, capabilities) => {
  program = new Program(['serve'], { env: ENV, within: [...ownNetwork(first), ...unprivileged(...privileges)] })
  await program.logged('listening for the operator')
  const pid = program.child.pid ?? 0
  for (const address of ['127.0.0.1', '::1']) expect(await greeting(pid, address)).toMatch(/^220 mx\.test\.example /)
  expect(credentials(pid)).toEqual({ uid: UID, capabilities })
})

test('by a socket that systemd opens: no privilege is left', async () => {
  const { path, env: libraries } = command('systemd-socket-activate')
  const settings = Object.entries(ENV).flatMap(([name, value]) => ['-E', `${name}=${value}`])
  const within = [...ownNetwork(), path, '-l', '0.0.0.0:25', ...settings, ...unprivileged()]
  program = new Program(['serve'], { env: libraries, within })
  await eventually(
    () => program?.err.includes('Listening on'),
    (is) => is === true,
  )
  const pid = program.child.pid ?? 0
  expect(await greeting(pid, '127.0.0.1')).toMatch(/^220 mx\.test\.example /)
  expect(credentials(pid)).toEqual({ uid: UID, capabilities: 0n })
})

test.each(['1', '2'])(
  'by none of them it does not start, and the error tells them; SPILLWAY_WORKERS=%s',
  async (workers) => {
    const env = { ...ENV, SPILLWAY_WORKERS: workers }
    program = new Program(['serve'], { env, within: [...ownNetwork(), ...unprivileged()] })
    expect(await program.exited).toBe(1)
    const { err, advice, setting } = await program.logged('cannot start')
    expect(err).toMatch(/EACCES/)
    expect(setting).toBe('SPILLWAY_LISTEN')
    for (const way of [
      'AmbientCapabilities=',
      'spillway.socket',
      'ip_unprivileged_port_start=25',
      'docs/deploy/one-box.md',
    ])
      expect(advice).toContain(way)
  },
)
