import { describe, expect, test } from '@jest/globals'
import { loadWith, mistakesOf } from './given.ts'
import { CERT, KEY, LOCKED_KEY, OTHER_KEY } from './pem.ts'

const warningsOf = (env: Record<string, string>, files?: Record<string, string>): string =>
  loadWith(env, files).warnings.join('\n')

describe('limits against each other', () => {
  test.each([
    ['SPILLWAY_LIMIT_IP_CONNECTIONS', 'SPILLWAY_LIMIT_NET_CONNECTIONS'],
    ['SPILLWAY_LIMIT_IP_CONNECTIONS', 'SPILLWAY_LIMIT_GLOBAL_CONNECTIONS'],
    ['SPILLWAY_LIMIT_NET_CONNECTIONS', 'SPILLWAY_LIMIT_GLOBAL_CONNECTIONS'],
    ['SPILLWAY_LIMIT_IP_MESSAGES', 'SPILLWAY_LIMIT_GLOBAL_MESSAGES'],
  ])('%s over %s, both given, is a mistake', (narrow, wide) => {
    const mistakes = mistakesOf({ [narrow]: '200/1m', [wide]: '100/1m' })
    expect(mistakes.map(({ name }) => name)).toEqual([narrow])
    expect(mistakes[0]?.expected).toContain(`at most 100/1m, which is ${wide}`)
    expect(mistakes[0]?.value).toBe('200/1m')
  })

  test('equal ones, other windows and limits that are off do not meet', () => {
    const pairs = [
      ['100/1m', '100/1m'],
      ['200/10m', '100/1m'],
      ['100/1m', 'off'],
    ] as const
    for (const [narrow, wide] of pairs) {
      const env = { SPILLWAY_LIMIT_IP_MESSAGES: narrow, SPILLWAY_LIMIT_GLOBAL_MESSAGES: wide }
      expect(warningsOf(env)).not.toContain('LIMIT')
    }
  })

  test('the same window in another unit is the same window', () => {
    expect(
      mistakesOf({ SPILLWAY_LIMIT_IP_MESSAGES: '200/1m', SPILLWAY_LIMIT_GLOBAL_MESSAGES: '100/60s' }),
    ).toHaveLength(1)
  })

  test('a default that can never be reached is a warning', () => {
    expect(warningsOf({ SPILLWAY_LIMIT_NET_CONNECTIONS: '100/1m' })).toContain(
      'SPILLWAY_LIMIT_IP_CONNECTIONS (600/1m, the default) can never be reached: SPILLWAY_LIMIT_NET_CONNECTIONS (100/1m) is lower',
    )
  })

  test('so is a limit that a default cuts off', () => {
    expect(warningsOf({ SPILLWAY_LIMIT_IP_CONNECTIONS: '7000/1m' })).toContain(
      'SPILLWAY_LIMIT_NET_CONNECTIONS (6000/1m, the default) is lower',
    )
  })
})

describe('TLS', () => {
  const both = { SPILLWAY_TLS_CERT: '/crt', SPILLWAY_TLS_KEY: '/key' }

  test('a pair that fits', () => {
    const { settings, warnings } = loadWith(both, { '/crt': CERT, '/key': KEY })
    expect(settings).toMatchObject({ tlsCert: '/crt', tlsKey: '/key' })
    expect(warnings).toEqual([])
  })

  test('without it that is said loudly', () => {
    expect(warningsOf({})).toContain('STARTTLS is not offered')
  })

  test.each([
    [
      'only the certificate',
      { SPILLWAY_TLS_CERT: '/crt' },
      { '/crt': CERT },
      'SPILLWAY_TLS_KEY',
      'set both of SPILLWAY_TLS_CERT and SPILLWAY_TLS_KEY, or neither',
    ],
    ['only the key', { SPILLWAY_TLS_KEY: '/key' }, { '/key': KEY }, 'SPILLWAY_TLS_CERT', 'set both of'],
    ['no such file', both, { '/key': KEY }, 'SPILLWAY_TLS_CERT', 'there is no such file'],
    ['no certificate', both, { '/crt': 'x', '/key': KEY }, 'SPILLWAY_TLS_CERT', 'OpenSSL says'],
    ['no key', both, { '/crt': CERT, '/key': 'x' }, 'SPILLWAY_TLS_KEY', 'OpenSSL says'],
    ['a key with a passphrase', both, { '/crt': CERT, '/key': LOCKED_KEY }, 'SPILLWAY_TLS_KEY', 'has a passphrase'],
    ['the key of another', both, { '/crt': CERT, '/key': OTHER_KEY }, 'SPILLWAY_TLS_KEY', 'this is another'],
  ] as const)('%s', (_, env, files, name, expected) => {
    const mistakes = mistakesOf(env, files)
    expect(mistakes.map((each) => each.name)).toEqual([name])
    expect(mistakes[0]?.expected).toContain(expected)
  })

  test('a file that is missing is told together with a setting that is', () => {
    const mistakes = mistakesOf({ SPILLWAY_TLS_CERT: '/crt' }, {})
    expect(mistakes.map(({ name }) => name)).toEqual(['SPILLWAY_TLS_CERT', 'SPILLWAY_TLS_KEY'])
  })
})

test.each([
  [{ SPILLWAY_DENY: '0.0.0.0/0' }, 'which is everybody'],
  [{ SPILLWAY_PROXY_PROTOCOL_FROM: '::/0' }, 'anybody may claim any address'],
  [{ SPILLWAY_LIMIT_RECIPIENTS_PER_MESSAGE: '99' }, 'less than the 100'],
  [{ SPILLWAY_MESSAGE_MAX_SIZE: '10KB' }, 'less than the 64KiB'],
  [{ SPILLWAY_RELAY_GUARD: 'off' }, 'SPILLWAY_RELAY_GUARD is off'],
  [{ SPILLWAY_OBSERVE: 'all' }, 'refuse nobody'],
  [{ SPILLWAY_ADMIN_LISTEN: '0.0.0.0:9025' }, 'off loopback'],
  [{ SPILLWAY_ADMIN_TOKEN: 'short' }, 'guessed'],
  [{ SPILLWAY_MAX_CONNECTIONS: '65270' }, 'ulimit -n 98211'],
] as const)('%j is taken, with a warning', (env, warning) => {
  expect(warningsOf(env)).toContain(warning)
  expect(warningsOf({})).not.toContain(warning)
})
