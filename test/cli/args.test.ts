import { describe, expect, test } from '@jest/globals'
import { parse } from '../../src/cli/args.ts'
import { SETTING_NAMES } from '../../src/config/settings.ts'

const helpOf = (argv: string[]): string => {
  const parsed = parse(argv)
  return 'help' in parsed ? parsed.help : ''
}
const errorOf = (argv: string[]): string => {
  const parsed = parse(argv)
  return 'error' in parsed ? parsed.error : ''
}

test.each([
  [[], 'serve', undefined, false],
  [['serve'], 'serve', undefined, false],
  [['check', '--json'], 'check', undefined, true],
  [['--env-file', '/etc/s.env', 'check'], 'check', '/etc/s.env', false],
  [['check', '--env-file=/etc/s.env'], 'check', '/etc/s.env', false],
  [['demo'], 'demo', undefined, false],
] as const)('%j', (argv, verb, envFile, json) => {
  expect(parse(argv)).toEqual({ verb, options: { envFile, json } })
})

test('options of the demo', () => {
  const parsed = parse(['demo', '--port', '2526', '--admin-port=0', '--seconds', '6'])
  expect(parsed).toMatchObject({ verb: 'demo', options: { port: 2526, adminPort: 0, seconds: 6 } })
})

test('--version, before or behind a verb', () => {
  expect(parse(['--version'])).toEqual({ version: true })
  expect(parse(['check', '-V'])).toEqual({ version: true })
})

describe('help', () => {
  test('alone it lists the verbs and options', () => {
    for (const word of ['serve', 'check', 'demo', '--env-file', '--json', '--version'])
      expect(helpOf(['--help'])).toContain(word)
    expect(helpOf(['-h'])).toBe(helpOf(['--help']))
  })

  test.each(['serve', 'check'])('%s --help lists every setting', (verb) => {
    for (const name of [...SETTING_NAMES, 'SPILLWAY_ENV_FILE']) expect(helpOf([verb, '--help'])).toContain(name)
  })

  test('demo --help has the options of the demo, and no settings', () => {
    for (const word of ['--port', '--admin-port', '--seconds']) expect(helpOf(['demo', '--help'])).toContain(word)
    expect(helpOf(['demo', '--help'])).not.toContain('--env-file')
    expect(helpOf(['serve', '--help'])).not.toContain('--port')
  })

  test('no line of it is much wider than a terminal', () => {
    for (const line of helpOf(['serve', '--help']).split('\n')) expect(line.length).toBeLessThanOrEqual(132)
  })
})

test.each([
  [['chekc'], 'There is no verb chekc; did you mean check?'],
  [['relay'], 'There is no verb relay. Verbs: serve, check, demo.'],
  [['toString'], 'There is no verb toString'],
  [['check', '--jsn'], 'There is no option --jsn; did you mean --json?'],
  [['-x'], 'There is no option -x.'],
  [['check', '--envfile', '/x'], 'did you mean --env-file?'],
  [['--env-file'], '--env-file needs the path'],
  [['--env-file='], '--env-file needs the path'],
  [['--env-file', '--json'], '--env-file needs the path'],
  [['--json=yes'], '--json takes no value'],
  [['demo', '--port'], '--port needs a port'],
  [['demo', '--port', '65536'], '--port needs a port'],
  [['demo', '--admin-port', '-1'], '--admin-port needs a port'],
  [['demo', '--seconds', '0'], '--seconds needs a whole number'],
  [['demo', '--seconds', '1.5'], '--seconds needs a whole number'],
  [['serve', '--port', '2525'], '--port is for the demo'],
  [['--seconds', '5'], '--seconds is for the demo'],
  [['demo', '--env-file', '/x'], 'it takes no --env-file'],
  [['serve', 'check'], 'One verb at a time'],
])('%j is an error', (argv, error) => {
  expect(errorOf(argv)).toContain(error)
})
