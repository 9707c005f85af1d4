import { describe, expect, test } from '@jest/globals'
import { check } from '../../src/cli/check.ts'
import { loadWith, mistakesOf } from './given.ts'

const read = (url: string) => loadWith({ SPILLWAY_REDIS_URL: url }).settings.redisUrl

describe('SPILLWAY_REDIS_URL', () => {
  test.each([
    ['redis://localhost', { topology: 'single', hosts: [{ host: 'localhost', port: 6379 }], tls: false, db: 0 }],
    ['rediss://10.0.0.1:7000/3', { tls: true, hosts: [{ host: '10.0.0.1', port: 7000 }], db: 3 }],
    ['redis://[2001:db8::1]:7000', { hosts: [{ host: '2001:db8::1', port: 7000 }] }],
    ['redis://:pw@h', { username: undefined, password: 'pw' }],
    ['redis://anna:p%2Fw%40:x@h/1', { username: 'anna', password: 'p/w@:x', db: 1 }],
    [
      'redis+sentinel://u:p@s1,s2:7000/mymaster/2',
      {
        topology: 'sentinel',
        master: 'mymaster',
        db: 2,
        password: 'p',
        hosts: [
          { host: 's1', port: 26379 },
          { host: 's2', port: 7000 },
        ],
      },
    ],
    [
      'rediss+cluster://c1:7000,c2/',
      {
        topology: 'cluster',
        tls: true,
        hosts: [
          { host: 'c1', port: 7000 },
          { host: 'c2', port: 6379 },
        ],
      },
    ],
  ])('%s', (url, expected) => {
    expect(read(url)).toMatchObject(expected)
  })

  test('none: limits are in memory', () => {
    expect(loadWith({}).settings.redisUrl).toBeUndefined()
    expect(read('none')).toBeUndefined()
  })

  test.each([
    ['localhost:6379', 'begins with redis://'],
    ['http://h', 'begins with redis://'],
    ['redis://', 'neither'],
    ['redis://h:0', 'a port is'],
    ['redis://h:99999', 'a port is'],
    ['redis://a b', 'a name or an address'],
    ['redis://h1,h2', 'redis+sentinel'],
    ['redis://h/x', 'a database is a number'],
    ['redis://h/1/2', 'a database is a number'],
    ['redis://h?db=1', 'without ?'],
    ['redis+sentinel://h', 'master set is missing'],
    ['redis+cluster://h/1', 'only database 0'],
    ['redis://user@h', 'redis://:password@host'],
    ['redis://u:100%@h', '%25'],
  ])('%s is a mistake', (url, hint) => {
    const [mistake, ...more] = mistakesOf({ SPILLWAY_REDIS_URL: url })
    expect(more).toEqual([])
    expect(mistake?.expected).toContain(hint === 'neither' ? 'a host is' : hint)
  })

  test('the password is shown nowhere', () => {
    const loaded = loadWith({ SPILLWAY_REDIS_URL: 'redis://anna:s3cr%2Ft@h/1' })
    const shown = check(loaded, { json: false }) + check(loaded, { json: true })
    expect(shown).toContain('redis://anna:***@h:6379/1')
    expect(shown).not.toContain('s3cr')
    const wrong = [
      { SPILLWAY_REDIS_URL: 'redis://anna:s3cr/t@h/x' },
      { SPILLWAY_REDIS_URL: 'redis://s3cret@h' },
      { SPILLWAY_REDIS_URL: 'anna:s3cret@h' },
      { SPILLWAY_REDIS_URL: 'redis://anna:s3cret' },
      { SPILLWAY_REDIS_URI: 'redis://:s3cret@h' },
      { SPILLWAY_REDIS_URL_FILE: 'redis://:s3cret@h' },
      { SPILLWAY_REDIS_URL: 'redis://:s3cret@h', SPILLWAY_REDIS_URL_FILE: '/run/url' },
    ]
    for (const env of wrong) expect(JSON.stringify(mistakesOf(env))).not.toContain('s3cr')
  })
})

test('with Redis a rate is over whole seconds', () => {
  const rates = { SPILLWAY_LIMIT_IP_MESSAGES: '5/500ms', SPILLWAY_LIMIT_IP_RECIPIENTS: '10/1500ms' }
  expect(loadWith(rates).settings.limitIpMessages).toEqual({ max: 5, windowMs: 500 })
  const mistakes = mistakesOf({ ...rates, SPILLWAY_REDIS_URL: 'redis://h' })
  expect(mistakes.map(({ name }) => name)).toEqual(Object.keys(rates))
  expect(mistakes[0]?.expected).toContain('whole seconds')
})

test.each(['', 'a b', '{x}:', 'x'.repeat(65)])('the prefix %j is a mistake', (prefix) => {
  if (prefix === '') expect(loadWith({ SPILLWAY_REDIS_PREFIX: '' }).settings.redisPrefix).toBe('spillway:')
  else expect(mistakesOf({ SPILLWAY_REDIS_PREFIX: prefix })).toHaveLength(1)
})
