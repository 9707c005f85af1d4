/**
 * No secret is told: one is planted wherever an operator may write it, rightly or by mistake, and what `check` and a start print
 * must not have it.
 */
import { describe, expect, test } from '@jest/globals'
import { check } from '../../src/cli/check.ts'
import { type Loaded, load } from '../../src/config/load.ts'
import { SettingsError } from '../../src/config/mistakes.ts'
import { rereadOf } from '../../src/config/reload.ts'
import { makeCertificate } from '../support/certificates.ts'

/** As `openssl rand -hex 24` and `openssl rand -base64 48` make them. */
const HEX = '5b1fa40c9e77d2386c0f81e4a9d3527b6e10c8f2943ad75e'
const BASE64 = 'qT0/Zk3vXw9Lr+5uYh1GdPcE8mNs/aKfRj7WbOQ2iVtCxSzU4nHyBgIl6eDpMoAJ'
/** A path, if one looks at its beginning only. */
const SLASHED = `/${BASE64.slice(0, 63)}`
/** As authenticator apps and base32 write it. */
const BASE32 = 'MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U'
const WORD = 'Hunter-Two2'
const SECRETS = [HEX, BASE64, SLASHED, BASE32, WORD]

const { key } = makeCertificate({ names: ['DNS:mx.test.example'] })
const pem = String(key)
/** The second line of a key says most of it. */
const keyLine = pem.split('\n')[1] ?? ''

const GOOD = { SPILLWAY_UPSTREAMS: 'mail1.example.net:25', SPILLWAY_UPSTREAM_CLIENT_IP: 'none' }

interface Given {
  readonly env?: Readonly<Record<string, string>>
  readonly files?: Readonly<Record<string, string>>
  readonly envFile?: string
}

/** Everything that is told of these settings: by `check`, at the start, by a reload. */
function toldOf({ env = {}, files = {}, envFile }: Given): string {
  const sources = {
    ...{ env: { ...GOOD, ...env }, hostname: 'mx.test.example', openFiles: 65_536 },
    ...(envFile !== undefined && { envFile: '/e' }),
    readFile: (path: string) => {
      const text = path === '/e' ? envFile : files[path]
      if (text === undefined)
        throw Object.assign(new Error(`ENOENT: no such file or directory, open '${path}'`), { code: 'ENOENT' })
      return text
    },
  }
  let loaded: Loaded | SettingsError
  try {
    loaded = load(sources)
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    loaded = error
  }
  const message = loaded instanceof SettingsError ? loaded.message : ''
  const reread = rereadOf(sources)
  const told = 'mistakes' in reread ? reread : reread.reading.summaries
  return [check(loaded, { json: false }), check(loaded, { json: true }), message, JSON.stringify(told)].join('\n')
}

/** Not eight characters of a secret in a row: line breaks and shortening hide nothing. */
function expectUntold(given: Given, secrets: readonly string[]): void {
  const told = toldOf(given).replace(/\s+/g, '')
  for (const secret of secrets) {
    for (let i = 0; i + 8 <= secret.length; i++) {
      const part = secret.slice(i, i + 8)
      if (told.includes(part)) throw new Error(`${JSON.stringify(given)} tells ${part}:\n${toldOf(given)}`)
    }
  }
}

describe.each(SECRETS)('%s is not told', (secret) => {
  const inUrl = encodeURIComponent(secret)
  const redisUrls = [
    ...['redis', 'rediss', 'redis+sentinel', 'redis+cluster'].flatMap((scheme) => [
      `${scheme}://:${inUrl}@h1:6379${scheme === 'redis+sentinel' ? '/m' : ''}`,
      `${scheme}://anna:${inUrl}@h1${scheme === 'redis+sentinel' ? '/m' : ''}`,
    ]),
    `redis://:${secret}@h1:6379`,
    `redis://${inUrl}@h1`,
    `redis://anna:${secret}@h 1`,
    `redis://anna:${secret}`,
    `redis://:${secret}`,
    `redis://h1?password=${secret}`,
    `redis://h1:6379/0?password=${secret}`,
    `redis://h1:6379#${secret}`,
    `redis:/:${secret}@h1`,
    `redis//:${secret}@h1`,
    `redis//${secret}@h1`,
    `redis+sentinel://:${secret}@h1,h2`,
    `redis+sentinel://h1,h2,:${secret}@h3/m`,
    `http://anna:${secret}@h1`,
    `anna:${secret}@h1:6379`,
    `:${secret}@h1`,
    `${secret}@h1:6379`,
    `${secret}@h1`,
    secret,
    `:${secret}`,
    `anna:${secret}`,
  ]

  test.each(redisUrls)('SPILLWAY_REDIS_URL=%s, and in all other ways to give it', (url) => {
    const file = { '/run/url': `${url}\n` }
    expectUntold({ env: { SPILLWAY_REDIS_URL: url } }, [secret, inUrl])
    expectUntold({ env: { SPILLWAY_REDIS_URL_FILE: '/run/url' }, files: file }, [secret, inUrl])
    expectUntold({ env: { SPILLWAY_REDIS_URL_FILE: url } }, [secret, inUrl])
    expectUntold({ env: { SPILLWAY_REDIS_URL: url, SPILLWAY_REDIS_URL_FILE: url } }, [secret, inUrl])
    expectUntold({ env: { SPILLWAY_REDIS_URLS: url } }, [secret, inUrl])
    expectUntold({ envFile: `SPILLWAY_REDIS_URL=${url}\n` }, [secret, inUrl])
  })

  test.each([
    { SPILLWAY_ADMIN_TOKEN: secret },
    { SPILLWAY_ADMIN_TOKEN: `${secret} ${secret}` },
    { SPILLWAY_ADMIN_TOKEN: `Bearer ${secret}`, SPILLWAY_LISTEN: '25' },
    { SPILLWAY_ADMIN_TOKEN_FILE: secret },
    { SPILLWAY_ADMIN_TOKEN_FILE: `./${secret}` },
    { SPILLWAY_ADMIN_TOKEN: secret, SPILLWAY_ADMIN_TOKEN_FILE: secret },
    { SPILLWAY_ADMIN_TOKEN: secret, SPILLWAY_ADMIN_LISTEN: '0.0.0.0:2525', SPILLWAY_LISTEN: '0.0.0.0:2525' },
    { SPILLWAY_ADMIN_TOKENS: secret },
    { SPILLWAY_TOKEN: secret },
    { SPILLWAY_API_TOKEN_FILE: secret },
    { SPILLWAY_REDIS_PASSWORD: secret },
    { SPILLWAY_REDIS_PASS: secret },
    { SPILLWAY_ADMIN_PASS: secret },
    { SPILLWAY_UPSTREAM_TLS_KEY: secret },
    { SPILLWAY_REDIS_KEY: secret },
    { SPILLWAY_TLS_PASSPHRASE: secret },
    { SPILLWAY_TLS_KEYS: secret },
    { SPILLWAY_TLS_TICKET: secret },
    { SPILLWAY_TLS_TICKET_KEY: secret },
    { SPILLWAY_TLS_TICKET_KEY_FILE: secret },
    { SPILLWAY_UPSTREAMS: `anna:${secret}@mail1.example.net:25` },
    { SPILLWAY_UPSTREAMS: `${secret}@mail1.example.net:25` },
    { SPILLWAY_UPSTREAMS: `mail1:25,smtp://anna:${secret}@mail1.example.net:25` },
    { SPILLWAY_UPSTREAMS_FILE: `smtp://anna:${secret}@mail1.example.net:25` },
    { SPILLWAY_SUPPORT_URL: `https://anna:${encodeURIComponent(secret)}@support.example.net/{id}` },
    { SPILLWAY_SUPPORT_URL: `https://${encodeURIComponent(secret)}@support.example.net/{id}` },
  ] as Record<string, string>[])('%j', (env) => {
    expectUntold({ env }, [secret, encodeURIComponent(secret)])
    const envFile = Object.entries(env).map(([name, value]) => `${name}=${value}\n`)
    expectUntold({ envFile: envFile.join('') }, [secret, encodeURIComponent(secret)])
  })

  test.each([
    `SPILLWAY_ADMIN_TOKEN ${secret}`,
    `SPILLWAY_ADMIN_TOKEN: ${secret}`,
    `SPILLWAY_ADMIN_TOKEN="${secret}`,
    `SPILLWAY_ADMIN_TOKEN="${secret}" ${secret}`,
    `SPILLWAY_ADMIN_TOKEN=\\${secret}`,
    `SPILLWAY_ADMIN_TOKEN=#${secret}`,
    `SPILLWAY_ADMIN_TOKEN=${secret}\nSPILLWAY_ADMIN_TOKEN=${secret}`,
    `SPILLWAY_ADMIN_TOKEN=\n${secret}`,
    `SPILLWAY_ADMIN_TOKEN=\n${secret}:\n${secret} ${secret}`,
    `export ${secret}`,
    `set SPILLWAY_ADMIN_TOKEN ${secret}`,
    `SPILLWAY_ADMIN_TOKEN\n=${secret}`,
    `OTHER=${secret}\nexport OTHER ${secret}`,
  ])('the env file line %j', (envFile) => {
    expectUntold({ envFile }, [secret])
  })

  test('the file of SPILLWAY_TLS_TICKET_KEY', () => {
    const env = { SPILLWAY_TLS_TICKET_KEY: '/run/ticket' }
    for (const text of [secret, `${secret}é`, secret.slice(0, 12), `${secret}\n${secret}`])
      expectUntold({ env, files: { '/run/ticket': text } }, [secret])
  })
})

test('a private key is not told', () => {
  for (const text of [pem, pem.replaceAll('\n', ' '), pem.split('\n').slice(1, -2).join(''), keyLine]) {
    for (const name of ['SPILLWAY_TLS_KEY', 'SPILLWAY_TLS_KEY_FILE', 'SPILLWAY_TLS_CERT', 'SPILLWAY_TLS_TICKET_KEY'])
      expectUntold({ env: { [name]: text } }, [keyLine])
  }
  const { cert } = makeCertificate({ names: ['DNS:mx.test.example'] })
  const env = { SPILLWAY_TLS_CERT: '/run/cert', SPILLWAY_TLS_KEY: '/run/key' }
  const foreign = { '/run/cert': String(cert), '/run/key': pem }
  const broken = { '/run/cert': String(cert), '/run/key': pem.replace('BEGIN', 'BEGGIN') }
  const swapped = { '/run/cert': pem, '/run/key': String(cert) }
  for (const files of [foreign, broken, swapped]) expectUntold({ env, files }, [keyLine])
  expectUntold({ envFile: `SPILLWAY_TLS_KEY="${pem}"\n` }, [keyLine])
})

test('a wrong path is told where it looks like one', () => {
  for (const name of [
    'SPILLWAY_ADMIN_TOKEN_FILE',
    'SPILLWAY_REDIS_URL_FILE',
    'SPILLWAY_TLS_TICKET_KEY',
    'SPILLWAY_TLS_KEY',
  ])
    expect(toldOf({ env: { [name]: '/run/spillway/secret-of-mx1' } })).toContain(`${name}=/run/spillway/secret-of-mx1`)
})
