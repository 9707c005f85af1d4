import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { load } from '../../src/config/load.ts'
import { command } from '../services/packages.ts'
import { inRoot } from './image.ts'

const UNIT = inRoot('deploy/systemd/spillway.service')
const SOCKET = inRoot('deploy/systemd/spillway.socket')
const SOCKET_ACTIVATION = inRoot('deploy/systemd/socket-activation.conf')
const NOTIFY_RELOAD = inRoot('deploy/systemd/notify-reload.conf')
const KERNEL_OFFLOAD = inRoot('deploy/systemd/kernel-offload.conf')
/** In tenths, as --threshold has it: 2.0 of 10. */
const EXPOSURE = 20

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-unit-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

interface Units {
  readonly unit: string
  readonly socket?: string
  readonly dropIns?: readonly string[]
}

/** Runs systemd-analyze on a unit; what it wrote and its exit code. It needs no systemd that runs. */
async function analyze(units: string | Units, ...args: string[]): Promise<{ code: number; output: string }> {
  const { unit, socket, dropIns = [] } = typeof units === 'string' ? { unit: units } : units
  const { path, env, root } = command('systemd-analyze')
  const own = mkdtempSync(join(folder, 'units-'))
  const file = join(own, 'spillway.service')
  // That the program is there is verified; on this machine Node is elsewhere.
  writeFileSync(file, unit.replace('ExecStart=/usr/bin/node', `ExecStart=${process.execPath}`))
  if (socket !== undefined) writeFileSync(join(own, 'spillway.socket'), socket)
  mkdirSync(`${file}.d`)
  for (const [i, text] of dropIns.entries()) writeFileSync(join(`${file}.d`, `${i}.conf`), text)
  const places = [own, ...['lib/systemd/system', 'usr/lib/systemd/system'].map((place) => join(root, place))].join(':')
  const options = { env: { ...process.env, ...env, SYSTEMD_UNIT_PATH: places, LC_ALL: 'C', NO_COLOR: '1' } }
  try {
    const files = [file, ...(socket === undefined ? [] : [join(own, 'spillway.socket')])]
    const { stdout, stderr } = await promisify(execFile)(path, [...args, ...files], options)
    return { code: 0, output: stdout + stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, output: stdout + stderr }
  }
}

test('systemd has nothing to say about the unit', async () => {
  expect(await analyze(UNIT, 'verify')).toEqual({ code: 0, output: '' })
})

const ACTIVATED: Units = { unit: UNIT, socket: SOCKET, dropIns: [SOCKET_ACTIVATION] }

test('systemd has nothing to say about the socket, and the unit that takes it', async () => {
  expect(await analyze(ACTIVATED, 'verify')).toEqual({ code: 0, output: '' })
  const wrong = SOCKET.replace('Backlog=4096', 'Backlog=many')
  expect((await analyze({ ...ACTIVATED, socket: wrong }, 'verify')).output).toMatch(
    /spillway\.socket:\d+: Failed to parse/,
  )
  // The drop-in is read: without the socket it names, systemd complains.
  expect((await analyze({ unit: UNIT, dropIns: [SOCKET_ACTIVATION] }, 'verify')).output).toMatch(/spillway\.socket/)
})

test('the drop-in for the kernel offload gives CAP_NET_ADMIN and netlink, and takes nothing away', async () => {
  const offload: Units = { unit: UNIT, dropIns: [KERNEL_OFFLOAD] }
  expect(await analyze(offload, 'verify')).toEqual({ code: 0, output: '' })
  const report = async (units: string | Units): Promise<string> =>
    (await analyze(units, 'security', '--offline=true', '--threshold=100')).output
  const marks = (text: string, name: string): string | undefined =>
    text
      .split('\n')
      .find((line) => line.includes(name))
      ?.trim()[0]
  const [before, after] = [await report(UNIT), await report(offload)]
  for (const name of ['CAP_NET_ADMIN', '~AF_NETLINK'])
    expect([name, marks(before, name) === marks(after, name)]).toEqual([name, false])
  expect(marks(after, '~AF_(INET|INET6)')).toBe(marks(before, '~AF_(INET|INET6)'))
})

test('notify-reload.conf is right for systemd 253 and newer, and spoils nothing for an older one', async () => {
  const { path, env } = command('systemd-analyze')
  const { stdout } = await promisify(execFile)(path, ['--version'], { env: { ...process.env, ...env } })
  const { output } = await analyze({ unit: UNIT, dropIns: [NOTIFY_RELOAD] }, 'verify')
  const known = Number(/^systemd (\d+)/.exec(stdout)?.[1]) >= 253
  if (known) expect(output).toBe('')
  else expect(output).toMatch(/^[^\n]*Failed to parse service type, ignoring: notify-reload\n$/)
})

test('systemd is asked in a way that shows mistakes', async () => {
  const { output } = await analyze(UNIT.replace('TimeoutStopSec=720', 'TimeoutStopSec=long\nNoSuchThing=1'), 'verify')
  expect(output).toMatch(/Failed to parse time value/)
  expect(output).toMatch(/NoSuchThing/)
})

test('its exposure is at most 2.0 of 10, and less with the socket', async () => {
  const exposure = async (units: string | Units): Promise<number> => {
    const { code, output } = await analyze(units, 'security', '--offline=true', `--threshold=${EXPOSURE}`)
    expect([code, output]).toEqual([0, expect.stringMatching(/Overall exposure level/)])
    return Number(/Overall exposure level .*: (\d+\.\d)/.exec(output)?.[1])
  }
  const alone = await exposure(UNIT)
  expect(alone).toBeLessThanOrEqual(EXPOSURE / 10)
  expect(await exposure({ unit: UNIT, dropIns: [SOCKET_ACTIVATION] })).toBeLessThan(alone)
  expect(
    await analyze(
      UNIT.replace(/^ProtectSystem=.*$|^Restrict.*$/gm, ''),
      'security',
      '--offline=true',
      `--threshold=${EXPOSURE}`,
    ),
  ).toMatchObject({ code: 1 })
})

test('it says what the program obeys', () => {
  for (const line of [
    'Type=notify',
    // systemd-notify is a child.
    'NotifyAccess=all',
    'ExecReload=/usr/bin/kill -HUP $MAINPID',
    'SystemCallFilter=@system-service',
    'Restart=on-failure',
    'RestartPreventExitStatus=64 78 243',
    'DynamicUser=yes',
    'RuntimeDirectory=spillway',
    'RuntimeDirectoryMode=0750',
    'LoadCredential=admin-token:/etc/spillway/admin-token',
    'Environment=SPILLWAY_ADMIN_TOKEN_FILE=%d/admin-token',
    'AmbientCapabilities=CAP_NET_BIND_SERVICE',
    'CapabilityBoundingSet=CAP_NET_BIND_SERVICE',
  ]) {
    expect(UNIT.split('\n')).toContain(line)
  }
})

describe('the settings of the service', () => {
  const values = (directive: string): string[] =>
    [...UNIT.matchAll(new RegExp(`^${directive}=(.*)$`, 'gm'))].map(([, value = '']) => value)

  /** Loads what the unit gives the program where /etc/spillway holds these files: copies of them, under their ids. */
  const loadAsService = (files: Readonly<Record<string, string>>) => {
    const credentials = join(folder, 'credentials')
    mkdirSync(credentials, { recursive: true })
    for (const credential of values('LoadCredential')) {
      const [id = '', path = ''] = credential.split(':')
      const content = files[path]
      if (content === undefined) throw new Error(`the unit wants ${path}`)
      writeFileSync(join(credentials, id), content)
    }
    const env = Object.fromEntries(
      values('Environment').map((line) => line.replaceAll('%d', credentials).split(/=(.*)/s).slice(0, 2)),
    ) as Record<string, string>
    return load({ env, readFile: (path) => readFileSync(path, 'utf8'), hostname: 'mx.example.net', openFiles: 65_536 })
  }
  const token = `${'a1'.repeat(24)}\n`

  test('are read by nobody but Spillway: what systemd would read otherwise arrives as it is meant', () => {
    const { settings, origins } = loadAsService({
      '/etc/spillway/admin-token': token,
      '/etc/spillway/spillway.env': [
        'export SPILLWAY_UPSTREAMS=mail1.example.net:25 # the old one goes in June',
        'SPILLWAY_UPSTREAM_CLIENT_IP="xclient" # main.cf lists us',
        "SPILLWAY_REDIS_URL='redis://:p%5Cw#d@127.0.0.1' # by its password",
      ].join('\n'),
    })
    expect(settings.upstreams.map(({ label }) => label)).toEqual(['mail1.example.net:25'])
    expect(settings.upstreamClientIp).toBe('xclient')
    expect(origins.upstreams).toMatch(/\/spillway\.env:1$/)
    expect(settings.adminToken).toBe(token.trim())
    expect(values('EnvironmentFile')).toEqual([])
  })

  test('may be the example as it comes, with what is required', () => {
    const example = inRoot('.env.example').replace(/^#(?=SPILLWAY_(UPSTREAMS|UPSTREAM_CLIENT_IP)=)/gm, '')
    const { settings } = loadAsService({ '/etc/spillway/admin-token': token, '/etc/spillway/spillway.env': example })
    expect(settings.upstreams).toHaveLength(2)
  })

  test('that stop the start are not tried again, and neither is a missing file', async () => {
    const { path, env } = command('systemd-analyze')
    const { stdout } = await promisify(execFile)(path, ['exit-status', 'CONFIG', 'USAGE', 'CREDENTIALS'], {
      env: { ...process.env, ...env },
    })
    const statuses = [...stdout.matchAll(/^[A-Z]+ +(\d+)/gm)].map(([, status]) => status)
    expect(statuses).toHaveLength(3)
    expect(values('RestartPreventExitStatus').join().split(' ').sort()).toEqual(statuses.sort())
  })
})
