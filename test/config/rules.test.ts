import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { load } from '../../src/config/load.ts'
import { type CertificateOptions, makeCertificate } from '../support/certificates.ts'
import { loadWith, machine, mistakesOf, REQUIRED } from './given.ts'
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

  test('of unknown recipients an address may have more than its network, of which it never counts for all', () => {
    const env = { SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS: '200/10m' }
    expect(warningsOf(env)).not.toContain('UNKNOWN')
    expect(warningsOf({ ...env, SPILLWAY_LIMIT_NET_UNKNOWN_RECIPIENTS: '100/10m' })).not.toContain('UNKNOWN')
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
    expect(settings).toMatchObject({ tlsCert: ['/crt'], tlsKey: ['/key'] })
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
    ['an empty certificate', both, { '/crt': '\n', '/key': KEY }, 'SPILLWAY_TLS_CERT', 'it is empty'],
    ['an empty key', both, { '/crt': CERT, '/key': '' }, 'SPILLWAY_TLS_KEY', 'it is empty'],
    ['a key with a passphrase', both, { '/crt': CERT, '/key': LOCKED_KEY }, 'SPILLWAY_TLS_KEY', 'has a passphrase'],
    ['the key of another', both, { '/crt': CERT, '/key': OTHER_KEY }, 'SPILLWAY_TLS_KEY', 'this is another'],
  ] as const)('%s', (_, env, files, name, expected) => {
    const mistakes = mistakesOf(env, files)
    expect(mistakes.map((each) => each.name)).toEqual([name])
    expect(mistakes[0]?.expected).toContain(expected)
  })

  test('an RSA key is as good as another', () => {
    const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' })
    const { cert } = makeCertificate({ names: ['DNS:mx1.example.net'], key: String(key) })
    expect(loadWith(both, { '/crt': cert, '/key': String(key) }).warnings).toEqual([])
  })

  const NAMES = ['DNS:mx1.example.net']
  const ISSUER = makeCertificate({ subject: 'An issuer' })
  const DAY = Date.UTC(2026, 11, 24)

  test.each<[what: string, CertificateOptions, now: number, warning: string | undefined]>([
    ['that ends now', { until: DAY }, DAY, 'the certificate in /crt expired at 2026-12-24T00:00:00Z'],
    ['that ends in a second', { until: DAY }, DAY - 1000, undefined],
    ['that begins in a second', { from: DAY }, DAY - 1000, 'in /crt is not valid before 2026-12-24T00:00:00Z'],
    ['that begins now', { from: DAY }, DAY, undefined],
    [
      'for another name',
      { names: ['DNS:mx2.example.net', 'DNS:mx3.example.net'] },
      DAY,
      'no certificate is for SPILLWAY_HOSTNAME (mx1.example.net), only for mx2.example.net, mx3.example.net',
    ],
    [
      'that has our name as its subject only',
      { names: [], subject: 'mx1.example.net' },
      DAY,
      'only for no name at all',
    ],
    ['for a wildcard', { names: ['DNS:*.example.net'] }, DAY, undefined],
    ['for the domain only', { names: ['DNS:example.net'] }, DAY, 'no certificate is for SPILLWAY_HOSTNAME'],
    ['without its issuer', { issuer: ISSUER }, DAY, 'not that of its issuer (CN=An issuer)'],
  ])('a certificate %s', (_, options, now, warning) => {
    const from = DAY - 365 * 86_400_000
    const { cert, key } = makeCertificate({ names: NAMES, from, until: DAY + 365 * 86_400_000, ...options })
    const { warnings } = load({ ...machine({ ...REQUIRED, ...both }, { '/crt': cert, '/key': key }), now })
    expect(warnings).toEqual(warning === undefined ? [] : [expect.stringContaining(warning)])
    expect(warnings.join()).toMatch(warning === undefined ? /^$/ : /senders that verify it \(MTA-STS\) stay away/)
  })

  test('a chain is whole with the issuer behind it, not with any other', () => {
    const { cert, key } = makeCertificate({ names: NAMES, issuer: ISSUER })
    const chained = (other: string): string => warningsOf(both, { '/crt': cert + other, '/key': key })
    expect(chained(ISSUER.cert)).toBe('')
    expect(chained(makeCertificate({ subject: 'Another issuer' }).cert)).toContain('not that of its issuer')
  })

  test('a name that is an address', () => {
    const { cert, key } = makeCertificate({ names: ['IP:192.0.2.25', 'IP:2001:db8::25'] })
    const named = (name: string): string =>
      warningsOf({ ...both, SPILLWAY_HOSTNAME: name }, { '/crt': cert, '/key': key })
    expect([named('[192.0.2.25]'), named('[IPv6:2001:db8::25]')]).toEqual(['', ''])
    expect(named('[192.0.2.26]')).toContain('no certificate is for SPILLWAY_HOSTNAME ([192.0.2.26])')
  })

  test('several pairs, in order', () => {
    const other = makeCertificate({ names: ['DNS:mx2.example.net'] })
    const files = { '/crt': other.cert, '/key': other.key, '/crt2': CERT, '/key2': KEY }
    const pairs = (certs: string, keys: string) => ({ SPILLWAY_TLS_CERT: certs, SPILLWAY_TLS_KEY: keys })
    const { settings, warnings } = loadWith(pairs('/crt, /crt2', '/key,/key2'), files)
    // It is enough that one of them is for our own name.
    expect([settings.tlsCert, settings.tlsKey, warnings]).toEqual([['/crt', '/crt2'], ['/key', '/key2'], []])
    const wrong = (certs: string, keys: string) =>
      mistakesOf(pairs(certs, keys), files).map(({ name, expected }) => `${name}: ${expected}`)
    expect(wrong('/crt,/crt2', '/key')).toEqual([
      'SPILLWAY_TLS_KEY: the key of each certificate, in the same order; SPILLWAY_TLS_CERT names 2, this names 1',
    ])
    expect(wrong('/crt,/crt2', '/key2,/key')).toEqual([
      expect.stringMatching(
        /^SPILLWAY_TLS_KEY: the private key of the first certificate in \/crt; \/key2: this is another/,
      ),
      expect.stringMatching(
        /^SPILLWAY_TLS_KEY: the private key of the first certificate in \/crt2; \/key: this is another/,
      ),
    ])
    expect(wrong('/crt,/none', '/key,/key2')).toEqual([
      'SPILLWAY_TLS_CERT: the path of a certificate in PEM form; /none: there is no such file',
    ])
  })

  test('a key in place of its path is not repeated', () => {
    const [, secret = ''] = KEY.split('\n')
    for (const text of [KEY, KEY.replaceAll('\n', ',')]) {
      const [mistake, ...more] = mistakesOf({ ...both, SPILLWAY_TLS_KEY: text }, { '/crt': CERT })
      expect(mistake?.expected).toContain('this is the text of a file: write its path')
      expect(JSON.stringify([mistake, ...more])).not.toContain(secret)
    }
    const read = mistakesOf({ SPILLWAY_TLS_CERT: '/crt', SPILLWAY_TLS_KEY_FILE: '/key' }, { '/crt': CERT, '/key': KEY })
    expect(read[0]?.expected).toContain('this is the text of a file')
    expect(JSON.stringify(read)).not.toContain(secret)
  })

  test('a file that is missing is told together with a setting that is', () => {
    const mistakes = mistakesOf({ SPILLWAY_TLS_CERT: '/crt' }, {})
    expect(mistakes.map(({ name }) => name)).toEqual(['SPILLWAY_TLS_CERT', 'SPILLWAY_TLS_KEY'])
  })
})

describe('the CA of the mail servers', () => {
  const CA = 'SPILLWAY_UPSTREAM_TLS_CA'
  const required = { SPILLWAY_UPSTREAM_TLS: 'required', [CA]: '/ca' }
  const NO_EFFECT = (mode: string): string =>
    `${CA} has no effect with SPILLWAY_UPSTREAM_TLS=${mode}: only \`required\` verifies certificates`
  // Without certificates of our own there is a warning in any case.
  const told = (env: Record<string, string>, ca = CERT): string[] =>
    loadWith(env, { '/ca': ca }).warnings.filter((text) => !text.startsWith('STARTTLS'))

  test('one, several, text between them, and none at all', () => {
    const { cert } = makeCertificate({ subject: 'Another CA' })
    for (const text of [CERT, cert + CERT, `# ours\r\n${cert}\n# theirs\n${CERT}`]) {
      expect(told(required, text)).toEqual([])
    }
    expect(loadWith(required, { '/ca': CERT }).settings.upstreamTlsCa).toBe('/ca')
    expect(told({ SPILLWAY_UPSTREAM_TLS: 'required' })).toEqual([])
    expect(told({ ...required, [CA]: 'none' })).toEqual([])
  })

  test.each(['opportunistic', 'off'])('has no effect with %s', (mode) => {
    expect(told({ SPILLWAY_UPSTREAM_TLS: mode, [CA]: '/ca' })).toEqual([NO_EFFECT(mode)])
    expect(told({ SPILLWAY_UPSTREAM_TLS: mode })).toEqual([])
  })

  test.each([
    ['no such file', undefined, 'there is no such file'],
    ['an empty one', ' \n', 'it is empty'],
    ['another text', 'x', 'it holds no block that begins with -----BEGIN CERTIFICATE-----'],
    ['a key', KEY, 'it holds no block that begins with -----BEGIN CERTIFICATE-----'],
    ['one that is cut off', CERT + CERT.slice(0, 300), 'one of its certificates is cut off'],
    ['damage', CERT.replace('MIIB', 'MIIA'), 'OpenSSL says: '],
  ])('%s is a mistake, in every mode', (_, text, hint) => {
    for (const mode of ['required', 'opportunistic']) {
      const env = { ...required, SPILLWAY_UPSTREAM_TLS: mode }
      const mistakes = mistakesOf(env, text === undefined ? {} : { '/ca': text })
      expect(mistakes.map(({ name, value }) => [name, value])).toEqual([[CA, '/ca']])
      expect(mistakes[0]?.expected).toContain(
        `the path of a PEM file with the CAs that sign the certificates of the mail servers; ${hint}`,
      )
    }
  })

  test('the text in place of its path is a mistake', () => {
    expect(mistakesOf({ ...required, [CA]: CERT })[0]?.expected).toContain('this is the text of a file: write its path')
  })

  test('that is over is told', () => {
    const { cert } = makeCertificate({ subject: 'Old CA', from: 0, until: 86_400_000 })
    expect(told(required, CERT + cert)).toEqual([
      'the CA CN=Old CA in /ca expired at 1970-01-02T00:00:00Z: nothing it has signed is trusted',
    ])
  })
})

test.each([
  [{ SPILLWAY_DENY: '0.0.0.0/0' }, 'which is everybody'],
  [{ SPILLWAY_PROXY_PROTOCOL_FROM: '::/0' }, 'anybody may claim any address'],
  [{ SPILLWAY_RELAYS: '0.0.0.0/0' }, 'no history is kept of anybody'],
  [
    { SPILLWAY_RELAYS: '192.0.2.0/24', SPILLWAY_ALLOW: '198.51.100.1,192.0.2.7' },
    'SPILLWAY_RELAYS and SPILLWAY_ALLOW both have 192.0.2.7/32: there SPILLWAY_ALLOW wins',
  ],
  [
    { SPILLWAY_RELAYS: '2001:db8:1::1', SPILLWAY_DENY: '2001:db8::/32' },
    'SPILLWAY_RELAYS and SPILLWAY_DENY both have 2001:db8:1::1/128: there SPILLWAY_RELAYS wins',
  ],
  [{ SPILLWAY_LIMIT_RECIPIENTS_PER_MESSAGE: '99' }, 'less than the 100'],
  [{ SPILLWAY_MESSAGE_MAX_SIZE: '10KB' }, 'less than the 64KiB'],
  [{ SPILLWAY_RELAY_GUARD: 'off' }, 'SPILLWAY_RELAY_GUARD is off'],
  [{ SPILLWAY_KNOWN_DAYS: '30', SPILLWAY_HISTORY_TTL: '29d' }, 'forgotten before it is known'],
  [{ SPILLWAY_OBSERVE: 'all' }, 'refuse nobody'],
  [{ SPILLWAY_ADMIN_LISTEN: '0.0.0.0:9025' }, 'off loopback'],
  [{ SPILLWAY_ADMIN_TOKEN: 'short' }, 'guessed'],
  [{ SPILLWAY_MAX_CONNECTIONS: '65270' }, 'ulimit -n 98211'],
] as const)('%j is taken, with a warning', (env, warning) => {
  expect(warningsOf(env)).toContain(warning)
  expect(warningsOf({})).not.toContain(warning)
})
