/** `spillway bans`: what it asks of a running node, what it prints, and its exit code. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { bans } from '../../src/cli/bans.ts'
import { load } from '../../src/config/load.ts'
import { SettingsError } from '../../src/config/mistakes.ts'
import { freePorts } from '../services/ports.ts'
import { startApp, type TestApp, testSources } from '../support/app.ts'
import { run, SERVE_ENV } from '../support/program.ts'

const TOKEN = 'a-token-of-some-length'
let app: TestApp
let env: Record<string, string>
const loadedWith = (more: Record<string, string> = {}) =>
  load(testSources('127.0.0.1:1', { ADMIN_LISTEN: `127.0.0.1:${app.adminPort}`, ADMIN_TOKEN: TOKEN, ...more }))
const words = { json: false }

beforeAll(async () => {
  const [port] = await freePorts(1)
  env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${port}`, SPILLWAY_ADMIN_TOKEN: TOKEN }
  app = await startApp('127.0.0.1:1', {
    ADMIN_LISTEN: `127.0.0.1:${port}`,
    ADMIN_TOKEN: TOKEN,
    ALLOW: '198.51.100.0/24',
  })
})
afterAll(() => app.stop())

describe('from the command line', () => {
  test('it bans, lists and lifts', async () => {
    const verb = (...args: string[]) => run(['bans', ...args], { env })
    expect(await verb()).toEqual({ code: 0, output: 'Nobody is banned.\n' })
    const added = await verb('add', '192.0.2.0/24', '--time', '6h', '--reason', 'harvest since noon')
    expect(added.output).toMatch(/^192\.0\.2\.0\/24 is banned until 20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ\.\n$/)
    expect(added.code).toBe(0)
    const list = await verb('list', '--json')
    expect(JSON.parse(list.output)).toMatchObject({
      total: 1,
      bans: [{ network: '192.0.2.0/24', by: 'operator', reason: 'harvest since noon', before: 0 }],
    })
    expect((await verb('list')).output).toMatch(/^192\.0\.2\.0\/24 +operator +.* until .* harvest since noon\n$/)
    expect(await verb('remove', '192.0.2.0/24')).toMatchObject({
      code: 0,
      output: expect.stringContaining('The ban of 192.0.2.0/24 is lifted (operator: harvest since noon).'),
    })
    expect(await verb('remove', '192.0.2.0/24')).toMatchObject({ code: 1 })
  })

  test('its help names the actions', async () => {
    const { output, code } = await run(['bans', '--help'], { env })
    expect(code).toBe(0)
    for (const each of ['ACTION', 'NETWORK', '--time TIME', '--reason TEXT', '--json', 'Exit codes']) {
      expect(output).toContain(each)
    }
  })
})

describe('what goes wrong is told with what to do', () => {
  test.each<[string[], Record<string, string>, string, number]>([
    [['ban', '192.0.2.1'], {}, 'There is no ban of bans: list, add and remove.', 64],
    [['add'], {}, 'add needs an address or a network: spillway bans add 192.0.2.1.', 64],
    [['list', '192.0.2.1'], {}, 'list takes no network.', 64],
    [['add', '0.0.0.0/0'], {}, '0.0.0.0/0 is too wide', 1],
    [['add', '198.51.100.7'], {}, 'SPILLWAY_ALLOW', 1],
    [['add', 'mail.example'], {}, 'names are not looked up here', 1],
    [['remove', '192.0.2.99'], {}, '192.0.2.99/32 is not banned', 1],
    [['list'], { ADMIN_TOKEN: 'another-token-of-length' }, '', 0],
    [['add', '192.0.2.1'], { ADMIN_TOKEN: 'another-token-of-length' }, 'does not take the token', 1],
    [['list'], { ADMIN_LISTEN: '127.0.0.1:1' }, 'Nothing listens at 127.0.0.1:1 (SPILLWAY_ADMIN_LISTEN)', 1],
    [['list'], { ADMIN_LISTEN: '127.0.0.1:0' }, 'SPILLWAY_ADMIN_LISTEN has port 0', 1],
  ])('%j with %j', async (args, more, said, code) => {
    const told = await bans(loadedWith(more), args, words)
    expect(told.output).toContain(said)
    expect(told.code).toBe(code)
    const json = await bans(loadedWith(more), args, { json: true })
    if (code !== 0) expect((JSON.parse(json.output) as { error: string }).error).toContain(said)
  })

  test('--time and --reason are for add', async () => {
    expect(await bans(loadedWith(), ['list'], { json: false, time: '1h' })).toMatchObject({ code: 64 })
  })

  test('mistakes in the settings are 78', async () => {
    const mistaken = (() => {
      try {
        return load(testSources('127.0.0.1:1', { BAN_TIME: '5' }))
      } catch (error) {
        return error as SettingsError
      }
    })()
    expect(mistaken).toBeInstanceOf(SettingsError)
    const { output, code } = await bans(mistaken, [], words)
    expect(output).toMatch(
      /SPILLWAY_BAN_TIME=5\n[\s\S]*The node was not asked\. .*--env-file PATH\); spillway check, .*\n$/,
    )
    expect(code).toBe(78)
  })
})
