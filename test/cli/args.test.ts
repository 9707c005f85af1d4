import { describe, expect, test } from '@jest/globals'
import { parse } from '../../src/cli/args.ts'
import type { Verb, Verbs } from '../../src/cli/verb-options.ts'
import { VERBS } from '../../src/cli/verbs.ts'
import { SETTING_NAMES } from '../../src/config/settings.ts'

const helpOf = (argv: string[], verbs?: Verbs): string => {
  const parsed = parse(argv, verbs)
  return 'help' in parsed ? parsed.help : ''
}
const errorOf = (argv: string[], verbs?: Verbs): string => {
  const parsed = parse(argv, verbs)
  return 'error' in parsed ? parsed.error : ''
}

test.each([
  [[], 'serve', undefined, false],
  [['serve'], 'serve', undefined, false],
  [['check', '--json'], 'check', undefined, true],
  [['--env-file', '/etc/s.env', 'check'], 'check', '/etc/s.env', false],
  [['check', '--env-file=/etc/s.env'], 'check', '/etc/s.env', false],
  [['--env-file=-', 'check'], 'check', '-', false],
] as const)('%j', (argv, verb, envFile, json) => {
  const options = { envFile, json, ...(verb === 'serve' && { takeOver: false }) }
  expect(parse(argv)).toEqual({ verb, options, positionals: [] })
})

test('options of the demo', () => {
  const none = { port: undefined, adminPort: undefined, seconds: undefined, log: undefined, json: false }
  expect(parse(['demo'])).toEqual({ verb: 'demo', options: none, positionals: [] })
  const parsed = parse(['demo', '--port', '2526', '--admin-port=0', '--seconds', '6', '--log', '/tmp/log'])
  const options = { port: 2526, adminPort: 0, seconds: 6, log: '/tmp/log', json: false }
  expect(parsed).toEqual({ verb: 'demo', options, positionals: [] })
})

test('--version, before or behind a verb', () => {
  expect(parse(['--version'])).toEqual({ version: true })
  expect(parse(['check', '-V'])).toEqual({ version: true })
})

describe('help', () => {
  test('alone it lists the verbs and options', () => {
    for (const word of ['serve', 'check', 'reload', 'demo', '--env-file', '--json', '--version'])
      expect(helpOf(['--help'])).toContain(word)
    expect(helpOf(['-h'])).toBe(helpOf(['--help']))
  })

  test.each(Object.entries(VERBS))('%s --help is its table', (name, verb: Verb) => {
    const help = helpOf([name, '--help'])
    expect(help.toLowerCase()).toContain(verb.summary.toLowerCase())
    expect(help).toContain(`Example: ${verb.example}`)
    for (const option of Object.values(verb.options)) expect(help).toContain(option.help)
    // And the example is right.
    expect(parse(verb.example.split(' ').slice(1))).toMatchObject({ verb: name })
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
  [['mail'], `There is no verb mail. Verbs: ${Object.keys(VERBS).join(', ')}.`],
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
  [['serve', '--port', '2525'], '--port is for demo; serve does not take it'],
  [['--seconds', '5'], '--seconds is for demo; serve does not take it'],
  [['demo', '--env-file', '/x'], '; demo does not take it'],
  [['demo', '--log'], '--log needs the path'],
  [['demo', '--log', '--json'], '--log needs the path'],
  [['bans', 'add', '192.0.2.1', '--time', '5'], '--time needs a duration with its unit'],
  [['bans', 'add', '192.0.2.1', '--reason', 'x'.repeat(201)], '--reason needs a text of at most 200 characters'],
  [['bans', 'add', '192.0.2.1', 'more'], 'bans takes 2 arguments, and was given more as well.'],
  [['serve', 'check'], 'serve takes no arguments, and was given check.'],
  [['check', '--', '--json'], 'check takes no arguments, and was given --json.'],
])('%j is an error', (argv, error) => {
  expect(errorOf(argv)).toContain(error)
})

describe('arguments', () => {
  const verbs = {
    explain: {
      summary: 'tell why somebody was refused',
      options: {},
      positionals: [{ name: 'WHAT', help: 'an id of a refusal, an address, or a sender' }],
      example: 'spillway explain 192.0.2.1',
    },
    bans: {
      summary: 'list, add or remove bans',
      options: { minutes: { value: 'N', help: 'for so long', needs: 'a number', read: Number } },
      positionals: [
        { name: 'ACTION', help: 'list, add or remove', optional: true },
        { name: 'NETWORK', help: 'an address or a network', optional: true },
      ],
      example: 'spillway bans add 192.0.2.0/24',
    },
  } as const satisfies Verbs

  test('come in their order, wherever options stand', () => {
    expect(parse(['bans', 'add', '--minutes', '5', '192.0.2.0/24'], verbs)).toEqual({
      verb: 'bans',
      options: { minutes: 5, json: false },
      positionals: ['add', '192.0.2.0/24'],
    })
    expect(parse(['bans'], verbs)).toMatchObject({ verb: 'bans', positionals: [] })
    expect(parse(['explain', '--', '-x'], verbs)).toMatchObject({ positionals: ['-x'] })
  })

  test('too few and too many are told with what is wanted', () => {
    const wanted = 'explain needs WHAT: an id of a refusal, an address, or a sender. spillway explain 192.0.2.1'
    expect(errorOf(['explain'], verbs)).toContain(wanted)
    expect(errorOf(['explain', 'a', 'b', 'c'], verbs)).toContain(
      'explain takes one argument, and was given b c as well.',
    )
    expect(errorOf(['bans', 'add', 'a', 'b'], verbs)).toContain('bans takes 2 arguments, and was given b as well.')
  })

  test('help names them', () => {
    expect(helpOf(['explain', '--help'], verbs)).toContain('Usage: spillway explain WHAT [OPTIONS]')
    const help = helpOf(['bans', '-h'], verbs)
    expect(help).toContain('Usage: spillway bans [ACTION] [NETWORK] [OPTIONS]')
    expect(help).toMatch(/^ {2}NETWORK {2}an address or a network$/m)
  })
})
