/** Certificates whose files change under a node: by all the ways in which that is done, and by half. */
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { warningText } from '../../src/config/rule.ts'
import { Certificates, LOOK_MS } from '../../src/front/certificates.ts'
import type { Fields, Log } from '../../src/telemetry/log.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { startApp } from '../support/app.ts'
import { type Certificate, DAY_MS, makeCertificate } from '../support/certificates.ts'
import { startUpstream } from '../support/upstream.ts'

const NAMES = ['DNS:mx.test.example']
const OLD = makeCertificate({ names: NAMES })
const NEW = makeCertificate({ names: NAMES, until: Date.now() + 90 * DAY_MS })
const serialOf = ({ cert }: Certificate): string => new X509Certificate(cert).serialNumber

let folder: string
let made: Certificates
let now: number
let lines: (Fields & { readonly level: string; readonly msg: string })[]
const at = (name: string): string => join(folder, name)
const put = ({ cert, key }: Certificate): void => {
  writeFileSync(at('cert'), cert)
  writeFileSync(at('key'), key)
}
const metrics = createMetrics({ version: 'test', upstreams: [] })
const isStale = (): number => metrics.certificatesStale.of().value
const shown = (): string | undefined => made.current.value.pairs[0]?.leaf.serialNumber

const write = (level: string) => (fields: Fields, msg: string) => void lines.push({ ...fields, level, msg })
const log: Log = {
  debug: write('debug'),
  info: write('info'),
  warn: write('warn'),
  error: write('error'),
  flush() {},
}
const OPTIONS = { minVersion: '1.2', hostname: 'mx.test.example', metrics, log, now: () => now } as const

function start(certs = ['cert'], keys = ['key']): Certificates {
  made = new Certificates({ ...OPTIONS, certs: certs.map(at), keys: keys.map(at) })
  made.publish()
  return made
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-certificates-'))
  lines = []
  now = Date.now()
})
afterEach(() => {
  made?.stop()
  rmSync(folder, { recursive: true })
})

test('others are read ahead, and rejected as a whole if one of them is missing', async () => {
  put(OLD)
  const read = await Certificates.read({ ...OPTIONS, certs: [at('cert')], keys: [at('key')] })
  expect(read.current.value.pairs[0]?.leaf.serialNumber).toBe(serialOf(OLD))
  await expect(
    Certificates.read({ ...OPTIONS, certs: [at('cert'), at('cert')], keys: [at('key'), at('gone')] }),
  ).rejects.toThrow(at('gone'))
})

describe('a new certificate is in use after the next look, where', () => {
  test('both files are written anew', async () => {
    put(OLD)
    const certificates = start()
    put(NEW)
    await certificates.look()
    expect(shown()).toBe(serialOf(NEW))
  })

  test('others are renamed over them', async () => {
    put(OLD)
    const certificates = start()
    writeFileSync(at('cert.new'), NEW.cert)
    writeFileSync(at('key.new'), NEW.key)
    renameSync(at('cert.new'), at('cert'))
    renameSync(at('key.new'), at('key'))
    await certificates.look()
    expect(shown()).toBe(serialOf(NEW))
  })

  const version = (name: string, { cert, key }: Certificate): void => {
    mkdirSync(at(name))
    writeFileSync(at(`${name}/cert`), cert)
    writeFileSync(at(`${name}/key`), key)
  }

  test('a symlink above them is swapped (Kubernetes)', async () => {
    version('..1', OLD)
    symlinkSync('..1', at('..data'))
    for (const name of ['cert', 'key']) symlinkSync(`..data/${name}`, at(name))
    const certificates = start()
    version('..2', NEW)
    symlinkSync('..2', at('..data_tmp'))
    renameSync(at('..data_tmp'), at('..data'))
    rmSync(at('..1'), { recursive: true })
    await certificates.look()
    expect(shown()).toBe(serialOf(NEW))
  })

  test('each is a symlink to its newest version (certbot)', async () => {
    version('archive', OLD)
    for (const name of ['cert', 'key']) symlinkSync(`archive/${name}`, at(name))
    const certificates = start()
    writeFileSync(at('archive/cert2'), NEW.cert)
    writeFileSync(at('archive/key2'), NEW.key)
    for (const name of ['cert', 'key']) {
      rmSync(at(name))
      symlinkSync(`archive/${name}2`, at(name))
    }
    await certificates.look()
    expect(shown()).toBe(serialOf(NEW))
  })
})

test('what is in use is told once it changes, and nothing is told or read while nothing does', async () => {
  put(OLD)
  const certificates = start()
  await certificates.look()
  const before = certificates.current.value
  await certificates.look()
  expect(certificates.current.value).toBe(before)
  expect(lines).toEqual([])
  put(NEW)
  await certificates.look()
  await certificates.look()
  expect(lines).toMatchObject([
    {
      level: 'info',
      msg: expect.stringContaining('new TLS handshakes use the new ones'),
      certificates: [{ name: 'mx.test.example' }],
    },
  ])
})

test('a new certificate with the old key, for a moment: nobody is disturbed, and it heals', async () => {
  put(OLD)
  const certificates = start()
  writeFileSync(at('cert'), NEW.cert)
  await certificates.look()
  expect(shown()).toBe(serialOf(OLD))
  expect([lines, isStale(), certificates.report().error]).toEqual([[], 0, undefined])
  writeFileSync(at('key'), NEW.key)
  await certificates.look()
  expect(shown()).toBe(serialOf(NEW))
  expect(lines.map(({ level }) => level)).toEqual(['info'])
})

test('a chain that is being written is not taken by half', async () => {
  put(OLD)
  const certificates = start()
  const issuer = makeCertificate({ subject: 'An issuer' })
  const leaf = makeCertificate({ names: NAMES, issuer })
  writeFileSync(at('cert'), leaf.cert)
  // Reading the key takes as long as we want.
  rmSync(at('key'))
  execFileSync('mkfifo', [at('key')])
  const looked = certificates.look()
  const key = await open(at('key'), 'w')
  writeFileSync(at('cert'), leaf.cert + issuer.cert)
  await key.writeFile(leaf.key)
  await key.close()
  await looked
  expect(shown()).toBe(serialOf(OLD))
  rmSync(at('key'))
  writeFileSync(at('key'), leaf.key)
  await certificates.look()
  expect(certificates.current.value.pairs).toMatchObject([{ chain: [expect.anything()] }])
  expect(lines.map(({ level }) => level)).toEqual(['info'])
})

describe('what cannot be used keeps the old ones in use, and is told once, with its file', () => {
  test.each<[what: string, setting: string, path: string, hint: RegExp, spoil: () => void]>([
    ['a broken certificate', 'CERT', 'cert', /^OpenSSL says/, () => writeFileSync(at('cert'), OLD.cert.slice(0, 300))],
    ['an empty one', 'CERT', 'cert', /^it is empty/, () => writeFileSync(at('cert'), '')],
    ['the key of another', 'KEY', 'key', /^this is another/, () => writeFileSync(at('key'), NEW.key)],
    ['an empty key', 'KEY', 'key', /^it is empty/, () => writeFileSync(at('key'), '')],
    ['no key', 'KEY', 'key', /^there is no such file/, () => rmSync(at('key'))],
    ['a directory', 'CERT', 'cert', /^it is a directory/, () => [rmSync(at('cert')), mkdirSync(at('cert'))]],
  ])('%s', async (_, setting, path, hint, spoil) => {
    put(OLD)
    const certificates = start()
    spoil()
    for (let looks = 0; looks < 4; looks++) await certificates.look()
    expect(shown()).toBe(serialOf(OLD))
    const told = {
      level: 'error',
      setting: `SPILLWAY_TLS_${setting}`,
      path: at(path),
      err: expect.stringMatching(hint),
    }
    expect(lines).toMatchObject([told])
    expect(isStale()).toBe(1)
    expect(certificates.report().error).toContain(at(path))
    rmSync(at('cert'), { recursive: true })
    put(OLD)
    await certificates.look()
    expect(lines.slice(1)).toMatchObject([{ level: 'info', msg: 'the certificate files can be used again' }])
    expect([isStale(), certificates.report().error]).toEqual([0, undefined])
  })

  test('when asked to read them, it tells at once', async () => {
    put(OLD)
    const certificates = start()
    writeFileSync(at('cert'), 'nothing')
    await certificates.reread()
    expect(lines).toMatchObject([{ level: 'error', path: at('cert') }])
    put(OLD)
    await certificates.reread()
    await certificates.reread()
    expect(lines.slice(1).map(({ msg }) => msg)).toEqual([
      'the certificate files can be used again',
      'the certificates have not changed',
    ])
  })

  test('from the start it is an error', () => {
    put({ ...OLD, key: NEW.key })
    expect(() => start()).toThrow(/key: this is another/)
  })
})

test('what keeps senders away is told when it arises, and once', async () => {
  put(makeCertificate({ names: NAMES, until: now + DAY_MS }))
  const certificates = start()
  await certificates.look()
  expect(lines).toEqual([])
  now += DAY_MS
  await certificates.look()
  await certificates.look()
  expect(lines).toMatchObject([{ level: 'warn', msg: expect.stringContaining('expired at') }])
  expect(certificates.report().certificates[0]?.doubts.map(warningText)).toEqual([lines[0]?.msg])
  put(makeCertificate({ names: ['DNS:another.example'] }))
  await certificates.look()
  expect(lines.slice(2)).toMatchObject([
    { level: 'warn', msg: expect.stringContaining('no certificate is for SPILLWAY_HOSTNAME') },
  ])
})

test('the metric has a series for each name: the first DNS name, or the path where there is none', async () => {
  const expiries = async (): Promise<[unknown, number][]> => {
    const all = await metrics.registry.getMetricsAsJSON()
    const found = all.find(({ name }) => name === 'spillway_tls_certificate_expiry_timestamp_seconds')
    return (found?.values ?? []).map(({ labels, value }) => [labels.name, value])
  }
  const until = Math.floor(Date.now() / 1000) * 1000 + 90 * DAY_MS
  const put3 = (names: readonly (readonly string[])[]): void => {
    for (const [index, each] of names.entries()) {
      const { cert, key } = makeCertificate({ names: each, until: until + index * 1000 })
      writeFileSync(at(`cert${index}`), cert)
      writeFileSync(at(`key${index}`), key)
    }
  }
  put3([['DNS:a.example', 'DNS:b.example'], [], ['IP:192.0.2.1', 'DNS:a.example']])
  const certificates = start(['cert0', 'cert1', 'cert2'], ['key0', 'key1', 'key2'])
  expect(await expiries()).toEqual([
    ['a.example', until / 1000],
    [at('cert1'), until / 1000 + 1],
  ])
  put3([['DNS:c.example'], ['DNS:d.example'], ['DNS:e.example']])
  await certificates.look()
  // No series of an earlier certificate is left.
  expect((await expiries()).map(([name]) => name)).toEqual(['c.example', 'd.example', 'e.example'])
})

describe('a running node', () => {
  const directory = mkdtempSync(join(tmpdir(), 'spillway-tls-files-'))
  const files = { TLS_CERT: join(directory, 'cert'), TLS_KEY: join(directory, 'key') }
  const write = ({ cert, key }: Certificate): void => {
    writeFileSync(files.TLS_CERT, cert)
    writeFileSync(files.TLS_KEY, key)
  }
  afterAll(() => rmSync(directory, { recursive: true }))

  test('looks by itself every ten seconds; sessions under way go on, new handshakes get the new certificate', async () => {
    write(OLD)
    const upstream = await startUpstream()
    const app = await startApp(upstream.address, files)
    const series = 'spillway_tls_certificate_expiry_timestamp_seconds{name="mx.test.example"}'
    const expiresAt = ({ cert }: Certificate): number => new X509Certificate(cert).validToDate.getTime() / 1000
    try {
      expect(await app.metric(series)).toBe(expiresAt(OLD))
      const early = await app.client()
      await early.hello()
      const secured = await app.client()
      await secured.hello()
      await secured.startTls()
      expect(secured.serverCertificate).toBe(serialOf(OLD))
      write(NEW)
      const changed = performance.now()
      await app.waitForLog(({ msg }) => String(msg).includes('new TLS handshakes use the new ones'), 2 * LOOK_MS)
      expect(LOOK_MS).toBe(10_000)
      // A look that came while a file was half written is made good by the next one.
      expect(performance.now() - changed).toBeLessThan(2 * LOOK_MS + 2000)
      expect(await app.metric(series)).toBe(expiresAt(NEW))
      // One that was there before, and one that comes now.
      await early.startTls()
      expect(early.serverCertificate).toBe(serialOf(NEW))
      const late = await app.client()
      await late.hello()
      await late.startTls()
      expect(late.serverCertificate).toBe(serialOf(NEW))
      expect(await secured.command('EHLO client.example')).toMatch(/^250/)
      expect(await secured.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    } finally {
      await app.stop()
      await upstream.stop()
    }
  }, 60_000)

  test('/readyz?verbose and the status tell of the certificate, and what is wrong with it makes no node unready', async () => {
    const until = Date.UTC(2026, 0, 2)
    write(makeCertificate({ names: ['DNS:old.example'], from: until - DAY_MS, until }))
    const upstream = await startUpstream()
    const app = await startApp(upstream.address, files)
    try {
      const words =
        /^certificate old\.example: the certificate in \S+ expired at 2026-01-02T00:00:00Z.*; no certificate is for SPILLWAY_HOSTNAME.*; expires 2026-01-02T00:00:00\.000Z$/m
      const readiness = await app.get('/readyz?verbose')
      expect(readiness.status).toBe(200)
      expect(readiness.body).toMatch(words)
      expect(app.running.status().tls).toMatchObject({
        certificates: [
          {
            ...{ name: 'old.example', warnings: [expect.stringMatching(/away\. Renew it$/), expect.any(String)] },
            doubts: [{ what: expect.stringMatching(/away$/), cure: 'Renew it' }, { what: expect.any(String) }],
          },
        ],
      })
      writeFileSync(files.TLS_KEY, 'nothing')
      await app.running.reload?.('the test')
      const after = await app.get('/readyz?verbose')
      expect(after.status).toBe(200)
      expect(after.body).toContain(
        `certificate files: cannot be used, and those read before stay in use: ${files.TLS_KEY}: OpenSSL`,
      )
      expect(await app.metric('spillway_tls_certificates_stale')).toBe(1)
      write(NEW)
      await app.running.reload?.('the test')
      expect((await app.get('/readyz?verbose')).body).toMatch(/^certificate mx\.test\.example: well; expires 20/m)
      expect(await app.metric('spillway_tls_certificates_stale')).toBe(0)
    } finally {
      await app.stop()
      await upstream.stop()
    }
  })
})
