/** Where `healthcheck --mail` asks by itself: where all settings would say, or it leaves the question to them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { plainTarget, probed, targetAt } from '../../src/cli/mail-probe.ts'
import { load } from '../../src/config/load.ts'
import { compile } from '../../src/core/ip.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-probe-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const REQUIRED = { SPILLWAY_UPSTREAMS: 'mail.example.net:25', SPILLWAY_UPSTREAM_CLIENT_IP: 'xclient' }

const put = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

function byAllSettings(env: Record<string, string>) {
  const readFile = (path: string): string => {
    expect(path.startsWith(folder)).toBe(true)
    return files.get(path) as string
  }
  const { settings } = load({ env: { ...REQUIRED, ...env }, readFile, hostname: 'mx1', openFiles: 65_536 })
  const { host, port } = settings.listen[0] as { host: string; port: number }
  return targetAt(host, port, compile(settings.proxyProtocolFrom))
}
const files = new Map<string, string>()

test.each<[Record<string, string>, string]>([
  [{}, ''],
  [{ SPILLWAY_LISTEN: '' }, ''],
  [{ SPILLWAY_LISTEN: ' 192.0.2.1:25 , [::]:25' }, ''],
  [{ SPILLWAY_LISTEN: '[::]:2525' }, ''],
  [{ SPILLWAY_LISTEN: 'mx1.example.net:25' }, ''],
  [{ SPILLWAY_PROXY_PROTOCOL_FROM: 'none' }, ''],
  [{ SPILLWAY_PROXY_PROTOCOL_FROM: '10.0.0.0/8, 127.0.0.1' }, ''],
  [{ SPILLWAY_LISTEN: '[::1]:25', SPILLWAY_PROXY_PROTOCOL_FROM: '::1' }, ''],
  [{}, 'export SPILLWAY_LISTEN="127.0.0.2:26" # ours\nSPILLWAY_PROXY_PROTOCOL_FROM=127.0.0.0/8\n'],
  [{ SPILLWAY_LISTEN: '127.0.0.3:27' }, 'SPILLWAY_LISTEN=127.0.0.2:26\n'],
])('%j, and the env file %j', async (given, envFile) => {
  const env: Record<string, string> = { ...given }
  if (envFile !== '') {
    env.SPILLWAY_ENV_FILE = put('env', envFile)
    files.set(env.SPILLWAY_ENV_FILE, envFile)
  }
  expect(await plainTarget(env)).toEqual(byAllSettings(env))
})

test.each<Record<string, string>>([
  { SPILLWAY_LISTEN: '25' },
  { SPILLWAY_LISTEN: '0.0.0.0:0' },
  { SPILLWAY_LISTEN: '1.2.3:25' },
  { SPILLWAY_LISTEN_FILE: '/run/listen' },
  { SPILLWAY_LISTEN: '@/run/listen' },
  { SPILLWAY_PROXY_PROTOCOL_FROM: '10.0.0.0/33' },
  { SPILLWAY_PROXY_PROTOCOL_FROM: '@/nowhere' },
  { SPILLWAY_ENV_FILE: '/nowhere' },
])('%j is left to all settings', async (env) => {
  expect(await plainTarget(env)).toBeUndefined()
})

test('so is an env file with a mistake, and a command line with more words', async () => {
  expect(await plainTarget({ SPILLWAY_ENV_FILE: put('wrong', 'nonsense\n') })).toBeUndefined()
  for (const words of [['--json'], ['127.0.0.1:25', '--json'], ['25'], ['--env-file', '/x']])
    expect(await probed(words, {})).toBeUndefined()
})
