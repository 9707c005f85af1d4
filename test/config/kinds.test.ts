import { describe, expect, test } from '@jest/globals'
import {
  dnsServers,
  domains,
  hostname,
  hostPort,
  hostPorts,
  hosts,
  networks,
  pressureUrl,
  supportUrl,
  upstreams,
} from '../../src/config/address-kinds.ts'
import {
  dataRate,
  duration,
  expectation,
  flag,
  integer,
  type Kind,
  oneOf,
  or,
  orNone,
  orOff,
  path,
  rate,
  secret,
  size,
} from '../../src/config/kinds.ts'
import { checkNames, paths } from '../../src/config/list-kinds.ts'
import { pattern } from '../../src/config/pattern-kind.ts'

/** What a kind makes of a text (a list of its entries), or the message it has for it. */
function read(kind: Kind<unknown>, text: string): unknown {
  if (!kind.list) {
    const parsed = kind.parse(text)
    return 'value' in parsed ? parsed.value : expectation(kind, parsed.hint)
  }
  const parsed = kind.parse(text.split(',').filter(Boolean))
  return 'value' in parsed ? parsed.value : parsed.wrong.map(({ expected }) => expected).join('\n')
}

describe('durations', () => {
  test.each([
    ['250ms', 250],
    ['30s', 30_000],
    ['10m', 600_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
  ])('%s is %d ms', (text, ms) => {
    expect(read(duration(), text)).toBe(ms)
    expect(duration().show(ms)).toBe(text)
  })

  test.each([
    ['30', 'a bare 30 has no unit: write 30s, 30m or 30h'],
    ['1.5h', 'whole numbers only'],
    ['30 s', 'without a space'],
    ['-1s', 'the units are'],
    ['5S', 'the units are'],
    ['30d', 'at most 24d'],
    ['0s', 'at least 1ms'],
    ['off', 'cannot be turned off'],
  ])('%s is refused: %s', (text, message) => {
    expect(read(duration(), text)).toContain(message)
  })

  test('a bound says what it is and why', () => {
    expect(read(duration({ min: 660_000, because: 'it makes duplicates' }), '10m')).toContain(
      'at least 11m: it makes duplicates',
    )
  })
})

describe('sizes', () => {
  test.each([
    ['25MB', 25_000_000],
    ['25MiB', 26_214_400],
    ['64KB', 64_000],
    ['64KiB', 65_536],
    ['1GiB', 2 ** 30],
    ['512B', 512],
  ])('%s is %d bytes', (text, bytes) => {
    expect(read(size, text)).toBe(bytes)
    expect(read(size, size.show(bytes))).toBe(bytes)
  })

  test.each([
    ['25', 'write 25MB, or 25B for bytes'],
    ['25mb', 'write 25MB'],
    ['25M', 'write 25MB'],
    ['25mib', 'write 25MiB'],
    ['1.5MB', 'whole numbers only'],
    ['0MB', 'more than nothing'],
    ['huge', 'the units are'],
  ])('%s is refused: %s', (text, message) => {
    const told = read(size, text)
    expect(told).toContain('a size with its unit')
    expect(told).toContain(message)
  })

  test('or a word', () => {
    const kind = or(size, 'upstream', 'upstream')
    expect(read(kind, 'upstream')).toBe('upstream')
    expect(read(kind, 'Upstream')).toContain('small letters')
    expect(read(kind, '10')).toContain('or upstream')
    expect(kind.show('upstream')).toBe('upstream')
  })
})

describe('hosts', () => {
  test.each([
    ['Status.example.net,10.1.2.3', ['status.example.net', '10.1.2.3']],
    ['[2001:DB8::1],2001:db8:0::2', ['2001:db8::1', '2001:db8::2']],
    ['none', []],
  ])('%s', (text, value) => {
    expect(read(hosts, text)).toEqual(value)
    expect(read(hosts, hosts.show(value))).toEqual(value)
  })

  test.each([
    ['https://status.example.net/x', 'write status.example.net'],
    ['status.example.net:443', 'write status.example.net'],
    ['a b', 'neither a name nor an address'],
  ])('%s is refused: %s', (text, message) => {
    expect(read(hosts, text)).toContain(message)
  })
})

describe('rates', () => {
  test.each([
    ['600/1m', 600, 60_000],
    ['20/10m', 20, 600_000],
    ['1/100ms', 1, 100],
  ])('%s', (text, max, windowMs) => {
    expect(read(rate, text)).toEqual({ max, windowMs })
    expect(rate.show({ max, windowMs })).toBe(text)
  })

  test.each([
    ['600', 'write 600/1m'],
    ['600/m', 'write 600/1m'],
    ['600/60', 'write 600/60s or 600/60m'],
    ['0/1m', 'would refuse everybody'],
    ['600/30d', 'at most 7d'],
    ['600 / 1m', 'without spaces'],
    ['600/1ms', 'at least 100ms'],
    ['-1/1m', 'without spaces'],
  ])('%s is refused: %s', (text, message) => {
    expect(read(rate, text)).toContain(message)
  })

  test('off is undefined, and YAML is forgiven nothing', () => {
    expect(read(orOff(rate), 'off')).toBeUndefined()
    expect(orOff(rate).show(undefined)).toBe('off')
    expect(read(orOff(rate), 'OFF')).toContain('small letters')
    expect(read(orOff(rate), 'false')).toContain('write off (in YAML "off", in quotes)')
    expect(read(orOff(rate), 'x')).toContain('or off')
  })
})

test.each([
  [integer(1, 100), '7', 7],
  [integer(1, 100), '101', 'a whole number, 1 to 100; at most 100'],
  [integer(1, 100), '0', 'at least 1'],
  [integer(1, 9999), '1,000', 'write 1000'],
  [integer(1, 9999), '5k', 'write 5000'],
  [integer(1, 9999), '0x10', 'digits only'],
  [integer(1, 9999), '1e3', 'digits only'],
  [flag, 'on', true],
  [flag, 'off', false],
  [flag, 'true', 'write on (in YAML "on", in quotes)'],
  [flag, 'No', 'write off'],
  [flag, 'maybe', 'on or off'],
  [oneOf({ normalize: '', reject: '' }), 'reject', 'reject'],
  [oneOf({ normalize: '', reject: '' }), 'normalise', 'one of normalize, reject; did you mean normalize?'],
  [oneOf({ xclient: '', none: '' }), 'XCLIENT', 'did you mean xclient?'],
  [oneOf({ xclient: '', none: '' }), 'toString', 'one of xclient, none'],
  [orNone(path), '/etc/tls/cert.pem', '/etc/tls/cert.pem'],
  [orNone(path), 'none', undefined],
  [path, '-----BEGIN\nCERTIFICATE', 'write its path'],
  [path, '-----BEGIN CERTIFICATE-----', 'write its path'],
  [paths, '/a.pem,/b.pem', ['/a.pem', '/b.pem']],
  [paths, 'none', []],
  [paths, '/a.pem,-----BEGIN CERTIFICATE-----', 'write its path'],
  [secret, 'k7Q_2m9+x', 'k7Q_2m9+x'],
  [secret, 'two words', 'without spaces'],
  [hostname, 'mx1.example.net', 'mx1.example.net'],
  [hostname, '[192.0.2.25]', '[192.0.2.25]'],
  [hostname, '[IPv6:2001:db8::25]', '[IPv6:2001:db8::25]'],
  [hostname, '192.0.2.25', 'write [192.0.2.25]'],
  [hostname, '2001:db8::25', 'write [IPv6:2001:db8::25]'],
  [hostname, 'mx1', 'write mx1.example.net'],
  [hostname, 'mx_1', 'write mx-1.example.net'],
  [hostname, 'mx1 example net', 'letters, digits'],
  [hostname, 'mx1.example.net.', 'write mx1.example.net'],
  [pattern, '\\(junk\\)', /\(junk\)/i],
  [pattern, '(junk', 'Unterminated group'],
  [pattern, 'junk|', 'it fits every reply'],
  [pattern, 'x'.repeat(501), 'at most 500'],
  [pressureUrl, 'http://127.0.0.1:8025/queues.json', 'http://127.0.0.1:8025/queues.json'],
  [pressureUrl, 'queues.example.net', 'starts with https://'],
  [pressureUrl, 'https://me:pw@queues.example.net/', 'without name and password'],
  [pressureUrl, 'https://queues.example.net/{upstream}', 'one URL for all mail servers'],
  [supportUrl, 'https://help.example.net/m/{id}', 'https://help.example.net/m/{id}'],
  [supportUrl, 'https://help.example.net/', 'without {id}'],
  [supportUrl, 'help.example.net/{id}', 'starts with https://'],
  [supportUrl, 'https://help.example.net/{id}/{ip}', 'nothing but {id}'],
  [supportUrl, 'https://me:pw@help.example.net/{id}', 'without name and password'],
  [supportUrl, `https://help.example.net/${'x'.repeat(200)}{id}`, 'at most 200'],
] as const)('%#: a value is read, or the message says what to write', (kind, text, expected) => {
  const value = read(kind, text)
  if (typeof expected === 'string' && typeof value === 'string') expect(value).toContain(expected)
  else expect(value).toEqual(expected)
})

describe('endpoints', () => {
  test('names, addresses, IPv6 in brackets, port 0 for a free one', () => {
    expect(read(hostPorts(2525), '0.0.0.0:2525,[::]:2525,localhost:0')).toEqual([
      { host: '0.0.0.0', port: 2525 },
      { host: '::', port: 2525 },
      { host: 'localhost', port: 0 },
    ])
    expect(hostPorts(2525).show([{ host: '::', port: 25 }])).toBe('[::]:25')
  })

  test.each([
    ['2525', 'write 0.0.0.0:2525'],
    ['127.0.0.1', 'write 127.0.0.1:2525'],
    ['::1', 'write [::1]:2525'],
    ['[::1]', 'write [::1]:2525'],
    ['::1:x', 'in brackets'],
    ['10.0.0.999:25', 'neither a name nor an address'],
    ['[10.0.0.1]:25', 'neither a name nor an address'],
    ['a b:25', 'neither a name nor an address'],
    ['127.0.0.1:65536', 'a port is 0 to 65535'],
    ['tcp://127.0.0.1:25', 'write 127.0.0.1:25, without tcp://'],
    ['127.0.0.1:25,127.0.0.1:25', 'each entry once'],
    ['', 'at least one entry'],
  ])('%s is refused: %s', (text, message) => {
    expect(read(hostPorts(2525), text)).toContain(message)
  })

  test('one alone', () => {
    expect(read(hostPort(9025), '[::1]:9025')).toEqual({ host: '::1', port: 9025 })
  })

  test('upstreams keep the label as it was written', () => {
    expect(read(upstreams, 'Mail1.example.net:25,[2001:db8::25]:10025')).toEqual([
      { label: 'Mail1.example.net:25', host: 'Mail1.example.net', port: 25 },
      { label: '[2001:db8::25]:10025', host: '2001:db8::25', port: 10_025 },
    ])
    expect(read(upstreams, 'mail1.example.net')).toContain('write mail1.example.net:25')
    expect(read(upstreams, 'mail1.example.net:0')).toContain('a port is 1 to 65535')
    expect(read(upstreams, 'mail1:25,MAIL1:25')).toContain('each entry once')
  })
})

test('networks are canonical, and each wrong one is told', () => {
  const value = read(networks, '192.0.2.7,198.51.100.9/24,2001:DB8::/32') as { text: string }[]
  expect(value.map(({ text }) => text)).toEqual(['192.0.2.7/32', '198.51.100.0/24', '2001:db8::/32'])
  expect(read(networks, 'none')).toEqual([])
  const told = String(read(networks, '192.0.2.256,192.0.2.1,10.0.0.0/33')).split('\n')
  expect(told).toHaveLength(2)
  expect(told[0]).toContain('192.0.2.256')
})

test('domains are lower-case ASCII', () => {
  expect(read(domains, 'Example.NET,bücher.example')).toEqual(['example.net', 'xn--bcher-kva.example'])
  expect(read(domains, 'user@example.net')).toContain('write example.net')
  expect(read(domains, '*.example.net')).toContain('no patterns')
  expect(read(domains, 'example.net.')).toContain('write example.net')
  expect(read(domains, 'a b')).toContain('not a domain name')
})

test('DNS servers are addresses, with or without a port', () => {
  expect(read(dnsServers, '192.0.2.53,2001:db8::53,192.0.2.53:5353,[2001:db8::53]:53')).toEqual([
    '192.0.2.53',
    '2001:db8::53',
    '192.0.2.53:5353',
    '[2001:db8::53]:53',
  ])
  expect(read(dnsServers, 'system')).toEqual([])
  expect(dnsServers.show([])).toBe('system')
  expect(read(dnsServers, 'dns.example.net:53')).toContain('a name will not do')
  expect(read(dnsServers, 'dns.example.net')).toContain('a name will not do')
  expect(read(dnsServers, '192.0.2.300')).toContain('neither a name nor an address')
})

test('names of checks, or all', () => {
  expect(read(checkNames, 'denied,ip-connections,denied')).toEqual(['denied', 'ip-connections'])
  expect(read(checkNames, 'all')).toBe('all')
  expect(read(checkNames, 'none')).toEqual([])
  expect(read(checkNames, 'ip_connections')).toContain('did you mean ip-connections?')
})

test('a rate of data is no size of a message: what is proposed for it is small, and what is too fast is refused', () => {
  expect(read(dataRate, '500')).toContain('write 500B')
  expect(read(dataRate, '500')).not.toContain('500MB')
  expect(read(dataRate, '500MB')).toContain('at most 1MB')
  expect(read(dataRate, '1KB')).toBe(1000)
})
