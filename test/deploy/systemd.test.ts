import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { command } from '../services/packages.ts'
import { inRoot } from './image.ts'

const UNIT = inRoot('deploy/systemd/spillway.service')
/** In tenths, as --threshold has it: 2.0 of 10. */
const EXPOSURE = 20

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-unit-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Runs systemd-analyze on a unit; what it wrote and its exit code. It needs no systemd that runs. */
async function analyze(unit: string, ...args: string[]): Promise<{ code: number; output: string }> {
  const { path, env, root } = command('systemd-analyze')
  // That the program is there is verified; on this machine Node is elsewhere.
  const file = join(folder, 'spillway.service')
  writeFileSync(file, unit.replace('ExecStart=/usr/bin/node', `ExecStart=${process.execPath}`))
  const units = ['lib/systemd/system', 'usr/lib/systemd/system'].map((place) => join(root, place)).join(':')
  const options = { env: { ...process.env, ...env, SYSTEMD_UNIT_PATH: units, LC_ALL: 'C', NO_COLOR: '1' } }
  try {
    const { stdout, stderr } = await promisify(execFile)(path, [...args, file], options)
    return { code: 0, output: stdout + stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, output: stdout + stderr }
  }
}

test('systemd has nothing to say about the unit', async () => {
  expect(await analyze(UNIT, 'verify')).toEqual({ code: 0, output: '' })
})

test('systemd is asked in a way that shows mistakes', async () => {
  const { output } = await analyze(UNIT.replace('TimeoutStopSec=720', 'TimeoutStopSec=long\nNoSuchThing=1'), 'verify')
  expect(output).toMatch(/Failed to parse time value/)
  expect(output).toMatch(/NoSuchThing/)
})

test('its exposure is at most 2.0 of 10', async () => {
  const { code, output } = await analyze(UNIT, 'security', '--offline=true', `--threshold=${EXPOSURE}`)
  expect([code, /Overall exposure level .*: (\d+\.\d)/.exec(output)?.[1]]).toEqual([
    0,
    expect.stringMatching(/^(?:[01]\.\d|2\.0)$/),
  ])
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
    'Type=exec',
    'SystemCallFilter=@system-service',
    'Restart=on-failure',
    'RestartPreventExitStatus=64 78',
    'DynamicUser=yes',
    'EnvironmentFile=/etc/spillway/spillway.env',
    'LoadCredential=admin-token:/etc/spillway/admin-token',
    'Environment=SPILLWAY_ADMIN_TOKEN_FILE=%d/admin-token',
    'AmbientCapabilities=CAP_NET_BIND_SERVICE',
    'CapabilityBoundingSet=CAP_NET_BIND_SERVICE',
  ]) {
    expect(UNIT.split('\n')).toContain(line)
  }
})
