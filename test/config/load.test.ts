import { describe, expect, test } from '@jest/globals'
import { load } from '../../src/config/load.ts'
import { keyOf, SETTING_NAMES, settingOf, show } from '../../src/config/settings.ts'
import { failure, loadWith, machine, mistakesOf, REQUIRED } from './given.ts'

describe('defaults', () => {
  const { settings, origins } = loadWith({})

  test('are typed values', () => {
    expect(settings).toMatchObject({
      upstreams: [{ label: 'mail1.example.net:25', host: 'mail1.example.net', port: 25 }],
      upstreamClientIp: 'xclient',
      relayGuard: true,
      unknownGuard: true,
      traceHeader: false,
      upstreamTls: 'opportunistic',
      upstreamTlsCa: undefined,
      upstreamConnectTimeout: 5000,
      upstreamReplyTimeout: 300_000,
      upstreamDataTimeout: 660_000,
      upstreamMaxConnections: { floor: 50, ceiling: 50 },
      upstreamHealthInterval: 5000,
      listen: [
        { host: '0.0.0.0', port: 2525 },
        { host: '::', port: 2525 },
      ],
      hostname: 'mx1.example.net',
      maxConnections: 20_000,
      proxyProtocolFrom: [],
      shutdownTimeout: 60_000,
      idleTimeout: 300_000,
      messageMaxSize: 'upstream',
      tlsCert: [],
      tlsKey: [],
      tlsMinVersion: '1.2',
      tlsHandshakes: { ofOne: 16, ofAll: 64 },
      tlsTicketKey: undefined,
      limitIpConnections: { max: 600, windowMs: 60_000 },
      limitIpConcurrency: 100,
      limitNetConnections: { max: 6000, windowMs: 60_000 },
      limitGlobalConnections: undefined,
      limitIpMessages: { max: 1200, windowMs: 60_000 },
      limitGlobalMessages: undefined,
      limitIpRecipients: { max: 6000, windowMs: 60_000 },
      limitIpUnknownRecipients: { max: 20, windowMs: 600_000 },
      limitRecipientsPerMessage: 1000,
      allow: [],
      deny: [],
      relays: [],
      rcptDomains: [],
      bareNewline: 'normalize',
      dnsServers: [],
      historyDomains: true,
      dnsblZones: [],
      dnsblThreshold: 1,
      dnsbl: 'defer',
      adminListen: { host: '127.0.0.1', port: 9025 },
      adminToken: undefined,
      observe: [],
      logLevel: 'info',
      logSample: 'auto',
      logLocalParts: false,
      supportUrl: undefined,
    })
  })

  test('there is a value and an origin for every setting', () => {
    for (const name of SETTING_NAMES) expect(origins).toHaveProperty(keyOf(name))
    expect(Object.keys(settings).sort()).toEqual(SETTING_NAMES.map(keyOf).sort())
    expect(origins.listen).toBe('default')
    expect(origins.upstreams).toBe('environment')
  })

  test('what is shown of a setting can be read again and is the same', () => {
    const shown = Object.fromEntries(SETTING_NAMES.map((name) => [name, show(name, settings)]))
    expect(loadWith(shown).settings).toEqual(settings)
  })

  test.each([
    [1024, 460],
    [65_536, 20_000],
    [Number.POSITIVE_INFINITY, 20_000],
  ])('with %d open files there are %d connections', (openFiles, connections) => {
    expect(load({ ...machine(REQUIRED), openFiles }).settings.maxConnections).toBe(connections)
  })

  test.each([
    ['3f9a1c', '3f9a1c'],
    ['my_host', 'my-host'],
    ['', 'localhost'],
  ])('a machine called "%s" greets as %s, with a warning', (hostname, greets) => {
    const { settings, warnings } = load({ ...machine(REQUIRED), hostname })
    expect(settings.hostname).toBe(greets)
    expect(warnings.join()).toContain('SPILLWAY_HOSTNAME is not set')
  })
})

describe('required settings', () => {
  test('without them the start stops and says what to write, for both at once', () => {
    const { mistakes, message } = failure(machine({}))
    expect(mistakes.map(({ name }) => name)).toEqual(['SPILLWAY_UPSTREAMS', 'SPILLWAY_UPSTREAM_CLIENT_IP'])
    expect(message).toContain('SPILLWAY_UPSTREAMS=mail1.example.net:25,mail2.example.net:25')
    for (const choice of ['xclient', 'proxy-v1', 'proxy-v2', 'received', 'none']) {
      expect(mistakes[1]?.expected).toMatch(new RegExp(`^ +${choice} +\\w`, 'm'))
    }
  })

  test('empty is unset', () => {
    const names = failure(machine({ SPILLWAY_UPSTREAMS: ' ', SPILLWAY_UPSTREAM_CLIENT_IP: '' })).mistakes
    expect(names).toHaveLength(2)
    expect(loadWith({ SPILLWAY_IDLE_TIMEOUT: '' }).settings.idleTimeout).toBe(300_000)
  })
})

describe('mistakes', () => {
  test('are all told at once, each with name, value, origin, what was expected and the default', () => {
    const mistakes = mistakesOf({ SPILLWAY_IDLE_TIMEOUT: '30', SPILLWAY_LISTEN: '2525', SPILLWAY_LISTN: 'x' })
    expect(mistakes).toHaveLength(3)
    expect(mistakes).toContainEqual({
      name: 'SPILLWAY_IDLE_TIMEOUT',
      value: '30',
      origin: 'environment',
      expected: 'a duration with its unit, such as 30s, 10m or 1h; a bare 30 has no unit: write 30s, 30m or 30h',
      default: '300s',
    })
  })

  test('the text has all of it, and no control character of a value reaches the terminal', () => {
    const { message } = failure(machine({ ...REQUIRED, SPILLWAY_IDLE_TIMEOUT: '30\u001b[2J', SPILLWAY_LISTEN: 'x' }))
    expect(message).toContain('2 mistakes')
    expect(message).toContain('SPILLWAY_IDLE_TIMEOUT=30?[2J')
    expect(message).toContain('300s')
    expect(message).not.toContain('\u001b')
  })

  test('a text too long for a line goes on under itself', () => {
    const { message } = failure(machine({ SPILLWAY_UPSTREAMS: 'mail1:25', SPILLWAY_UPSTREAM_DATA_TIMEOUT: '1m' }))
    for (const line of message.split('\n')) expect(line.length).toBeLessThanOrEqual(116)
    expect(message).toMatch(/^ {26}\w/m)
  })

  test('a secret is never told, not even under a mistyped name or in a broken line', () => {
    const env = {
      SPILLWAY_ADMIN_TOKEN: 'hunter two',
      SPILLWAY_ADMIN_TOKN: 'hunter2',
      SPILLWAY_ADMIN_TOKEN_FILE: 'hunter3',
    }
    const files = { '/e': 'SPILLWAY_ADMIN_TOKEN hunter4\nSPILLWAY_ADMIN_TOKEN="hunter5\nhunter6\n' }
    const error = failure({ ...machine({ ...REQUIRED, ...env }, files), envFile: '/e' })
    expect(error.mistakes.length).toBeGreaterThanOrEqual(5)
    expect(JSON.stringify([error.mistakes, error.message])).not.toContain('hunter')
    expect(JSON.stringify(mistakesOf({ SPILLWAY_ADMIN_TOKEN: 'hunter two' }))).not.toContain('hunter')
    expect(JSON.stringify(mistakesOf({ SPILLWAY_ADMIN_TOKEN_FILE: 'hunter2' }))).not.toContain('hunter')
  })

  test.each([
    ['SPILLWAY_LISTN', 'SPILLWAY_LISTEN'],
    ['SPILLWAY_UPSTREAM', 'SPILLWAY_UPSTREAMS'],
    ['SPILLWAY_IP_CONNECTIONS', 'SPILLWAY_LIMIT_IP_CONNECTIONS'],
    ['SPILLWAY_ADMIN_TOKN_FILE', 'SPILLWAY_ADMIN_TOKEN_FILE'],
    ['SPILLWAY_TLS_CRET', 'SPILLWAY_TLS_CERT'],
    ['SPILLWAY_LOG_LEVL', 'SPILLWAY_LOG_LEVEL'],
    ['SPILLWAY_PORT', 'SPILLWAY_LISTEN'],
  ])('%s: did you mean %s?', (name, meant) => {
    expect(mistakesOf({ [name]: '1' })[0]?.expected).toContain(`did you mean ${meant}?`)
  })

  test('the value of a mistyped name is told where it cannot be a secret', () => {
    expect(mistakesOf({ SPILLWAY_LISTN: '0.0.0.0:25' })[0]?.value).toBe('0.0.0.0:25')
    expect(mistakesOf({ SPILLWAY_ADMIN_TOKN: 'hunter2' })[0]?.value).toBe('(hidden)')
  })

  test('a name near to none gets no advice that misleads', () => {
    expect(mistakesOf({ SPILLWAY_FROBNICATE: '1' })[0]?.expected).not.toContain('did you mean')
  })

  test('of a list with thousands of wrong entries ten are told', () => {
    const deny = Array.from({ length: 5000 }, (_, i) => `x${i}`).join(',')
    const mistakes = mistakesOf({ SPILLWAY_DENY: deny })
    expect(mistakes).toHaveLength(11)
    expect(mistakes[10]?.value).toContain('4990 more')
  })

  test.each([
    ['SPILLWAY_UPSTREAM_DATA_TIMEOUT', '659s', 'RFC 1047'],
    ['SPILLWAY_IDLE_TIMEOUT', '9s', 'at least 10s'],
    ['SPILLWAY_MAX_CONNECTIONS', '65281', 'ulimit -n 65537'],
    ['SPILLWAY_UPSTREAMS', '127.0.0.1:2525', 'a loop'],
    ['SPILLWAY_ADMIN_LISTEN', '127.0.0.1:2525', 'a port of its own'],
  ])('%s=%s: %s', (name, value, expected) => {
    const mistakes = mistakesOf({ [name]: value })
    expect(mistakes).toHaveLength(1)
    expect(mistakes[0]).toMatchObject({ name, value })
    expect(mistakes[0]?.expected).toContain(expected)
  })

  test('just inside those bounds is right', () => {
    const { settings } = loadWith({
      SPILLWAY_UPSTREAM_DATA_TIMEOUT: '660s',
      SPILLWAY_IDLE_TIMEOUT: '10s',
      SPILLWAY_MAX_CONNECTIONS: '65280',
    })
    expect(settings).toMatchObject({ upstreamDataTimeout: 660_000, idleTimeout: 10_000, maxConnections: 65_280 })
  })

  test('an open-file limit without room for anybody', () => {
    const { mistakes } = failure({ ...machine(REQUIRED), openFiles: 256 })
    expect(mistakes[0]?.expected).toContain('ulimit -n 65536')
  })
})

test('names that Kubernetes makes are passed over in one warning; a real setting is not', () => {
  const { warnings } = loadWith({
    SPILLWAY_SERVICE_HOST: '10.0.0.1',
    SPILLWAY_SERVICE_PORT: '25',
    SPILLWAY_SERVICE_PORT_SMTP: '25',
    SPILLWAY_PORT: 'tcp://10.0.0.1:25',
    SPILLWAY_PORT_25_TCP: 'tcp://10.0.0.1:25',
    SPILLWAY_PORT_25_TCP_PROTO: 'tcp',
    SPILLWAY_PORT_25_TCP_PORT: '25',
    SPILLWAY_PORT_25_TCP_ADDR: '10.0.0.1',
    SPILLWAY_ADMIN_SERVICE_HOST: '10.0.0.2',
    SPILLWAY_ADMIN_PORT: 'tcp://10.0.0.2:9025',
  })
  expect(warnings.filter((each) => each.includes('Kubernetes'))).toEqual([
    expect.stringContaining('SPILLWAY_SERVICE_HOST and 9 more names'),
  ])
})

describe('files', () => {
  test('NAME_FILE gives the value without the line end', () => {
    const { settings, origins } = loadWith(
      { SPILLWAY_ADMIN_TOKEN_FILE: '/run/secrets/token' },
      { '/run/secrets/token': '0123456789abcdef\n' },
    )
    expect(settings.adminToken).toBe('0123456789abcdef')
    expect(origins.adminToken).toBe('file /run/secrets/token')
  })

  test('a required setting may come from a file', () => {
    const env = { SPILLWAY_UPSTREAMS_FILE: '/u', SPILLWAY_UPSTREAM_CLIENT_IP: 'none' }
    expect(load(machine(env, { '/u': 'mail1:25\nmail2:25 # the new one\n' })).settings.upstreams).toHaveLength(2)
  })

  test('both NAME and NAME_FILE', () => {
    const [mistake] = mistakesOf({ SPILLWAY_LOG_LEVEL: 'info', SPILLWAY_LOG_LEVEL_FILE: '/x' }, { '/x': 'info' })
    expect(mistake?.expected).toBe('either SPILLWAY_LOG_LEVEL or SPILLWAY_LOG_LEVEL_FILE, not both')
  })

  test('a file that is not there', () => {
    const mistakes = mistakesOf({ SPILLWAY_UPSTREAMS: '', SPILLWAY_UPSTREAMS_FILE: '/gone' })
    expect(mistakes).toHaveLength(1)
    expect(mistakes[0]).toMatchObject({ name: 'SPILLWAY_UPSTREAMS_FILE', value: '/gone' })
    expect(mistakes[0]?.expected).toContain('there is no such file')
  })

  test('an empty file is unset, with a warning', () => {
    const { settings, warnings } = loadWith({ SPILLWAY_ADMIN_TOKEN_FILE: '/t' }, { '/t': '\n' })
    expect(settings.adminToken).toBeUndefined()
    expect(warnings.join()).toContain('/t is an empty file')
  })

  test('@ lists: an entry a line, comments, beside other entries', () => {
    const { settings, origins } = loadWith(
      { SPILLWAY_DENY: '192.0.2.1, @/etc/deny' },
      { '/etc/deny': '# bad people\n198.51.100.0/24 # since May\r\n\n2001:db8::/32\n' },
    )
    expect(settings.deny.map(({ text }) => text)).toEqual(['192.0.2.1/32', '198.51.100.0/24', '2001:db8::/32'])
    expect(origins.deny).toBe('environment')
  })

  test('a wrong line of an @ list is told by file and line', () => {
    const [mistake] = mistakesOf({ SPILLWAY_DENY: '@/etc/deny' }, { '/etc/deny': '192.0.2.1\n\n192.0.2.999\n' })
    expect(mistake).toMatchObject({ name: 'SPILLWAY_DENY', value: '192.0.2.999', origin: '/etc/deny:3' })
  })

  test('an @ list that is not there, or whose path is not whole', () => {
    const [gone, ...rest] = mistakesOf({ SPILLWAY_LISTEN: '@/gone' })
    expect(gone?.expected).toContain('there is no such file')
    expect(rest).toEqual([])
    expect(mistakesOf({ SPILLWAY_RCPT_DOMAINS: '@example.net' })[0]?.expected).toContain('a whole path')
  })
})

describe('env file', () => {
  const withFile = (text: string, env = {}) =>
    loadWith({ SPILLWAY_ENV_FILE: '/etc/spillway.env', ...env }, { '/etc/spillway.env': text })

  test('KEY=VALUE, comments, quotes, export; foreign names are not taken', () => {
    const { settings, origins } = withFile(
      [
        '# Spillway',
        '',
        'SPILLWAY_LOG_LEVEL=debug # while looking',
        'export SPILLWAY_IDLE_TIMEOUT="60s"',
        "SPILLWAY_SUPPORT_URL='https://help.example.net/#{id}'",
        'PATH=/nowhere',
        'SPILLWAY_ALLOW=',
      ].join('\r\n'),
    )
    expect(settings).toMatchObject({
      logLevel: 'debug',
      idleTimeout: 60_000,
      supportUrl: 'https://help.example.net/#{id}',
    })
    expect(origins.logLevel).toBe('env file /etc/spillway.env:3')
    expect(origins.allow).toBe('default')
  })

  test('the process environment wins, but what is empty there is unset', () => {
    const text = 'SPILLWAY_LOG_LEVEL=debug\nSPILLWAY_IDLE_TIMEOUT=60s\n'
    const { settings } = withFile(text, { SPILLWAY_LOG_LEVEL: 'warn', SPILLWAY_IDLE_TIMEOUT: '' })
    expect(settings).toMatchObject({ logLevel: 'warn', idleTimeout: 60_000 })
  })

  test('--env-file wins over SPILLWAY_ENV_FILE', () => {
    const sources = machine({ ...REQUIRED, SPILLWAY_ENV_FILE: '/a' }, { '/b': 'SPILLWAY_LOG_LEVEL=debug' })
    expect(load({ ...sources, envFile: '/b' }).settings.logLevel).toBe('debug')
  })

  test.each([
    ['SPILLWAY_LOG_LEVEL info', 'SPILLWAY_LOG_LEVEL', 'write SPILLWAY_LOG_LEVEL=…'],
    ['SPILLWAY_LOG_LEVEL="info', 'SPILLWAY_LOG_LEVEL', 'a closing "'],
    ['SPILLWAY_LOG_LEVEL="info" x', 'SPILLWAY_LOG_LEVEL', 'nothing after the closing "'],
    ['=info', 'line 2', 'a line KEY=VALUE'],
    ['SPILLWAY_IDLE_TIMEOUT=90s', 'SPILLWAY_IDLE_TIMEOUT', 'on line 1 already'],
    ['SPILLWAY_ENV_FILE=/other', 'SPILLWAY_ENV_FILE', 'cannot name another'],
    ['SPILLWAY_LOG_LEVLE=info', 'SPILLWAY_LOG_LEVLE', 'did you mean SPILLWAY_LOG_LEVEL?'],
    ['SPILLWAY_LOG_LEVEL=loud', 'SPILLWAY_LOG_LEVEL', 'one of fatal'],
  ])('%s is a mistake of line 2', (line, name, expected) => {
    const { mistakes } = failure({
      ...machine(REQUIRED, { '/e': `SPILLWAY_IDLE_TIMEOUT=60s\n${line}\n` }),
      envFile: '/e',
    })
    expect(mistakes).toHaveLength(1)
    expect(mistakes[0]).toMatchObject({ name, origin: 'env file /e:2' })
    expect(mistakes[0]?.expected).toContain(expected)
  })

  test('a file that is not there', () => {
    const [mistake] = mistakesOf({ SPILLWAY_ENV_FILE: '/gone' })
    expect(mistake).toMatchObject({ name: 'SPILLWAY_ENV_FILE', value: '/gone' })
  })
})

test('only the required settings have no default', () => {
  expect(SETTING_NAMES.filter((name) => settingOf(name).required)).toEqual(Object.keys(REQUIRED))
})
