/** Several certificates on one port, and the oldest version of TLS: what a client is shown, by what it asks for. */
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { startApp, type TestApp } from '../../support/app.ts'
import { type Certificate, makeCertificate } from '../../support/certificates.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const folder = mkdtempSync(join(tmpdir(), 'spillway-sni-'))
const at = (name: string): string => join(folder, name)
const NAMES = ['first', 'wild', 'exact'] as const
const put = (name: string, { cert, key }: Certificate): void => {
  writeFileSync(at(`${name}.crt`), cert)
  writeFileSync(at(`${name}.key`), key)
}
const serials = new Map<string, string>()
const make = (name: string, names: readonly string[]): void => {
  const made = makeCertificate({ names: names.map((each) => `DNS:${each}`) })
  put(name, made)
  serials.set(new X509Certificate(made.cert).serialNumber, name)
}
const listed = (ending: string): string => NAMES.map((name) => at(`${name}.${ending}`)).join(',')
const FILES = { TLS_CERT: listed('crt'), TLS_KEY: listed('key') }

let upstream: Upstream
let app: TestApp
beforeAll(async () => {
  make('first', ['mx.test.example', 'xn--bcher-kva.example'])
  make('wild', ['*.wild.example'])
  make('exact', ['one.wild.example', 'other.example', 'xn--mnchen-3ya.example'])
  upstream = await startUpstream()
  app = await startApp(upstream.address, FILES)
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
  rmSync(folder, { recursive: true })
})

async function shown(options: ConnectionOptions, node = app): Promise<string | undefined> {
  const client = await node.client()
  await client.hello()
  await client.startTls(options)
  expect(await client.command('EHLO client.example')).toMatch(/^250/)
  const { serverCertificate = '' } = client
  client.destroy()
  return serials.get(serverCertificate)
}

test.each<[servername: string | undefined, certificate: string]>([
  [undefined, 'first'],
  ['mx.test.example', 'first'],
  ['other.example', 'exact'],
  ['OTHER.Example', 'exact'],
  ['two.wild.example', 'wild'],
  // Exact, though the wildcard stands before it.
  ['one.wild.example', 'exact'],
  // A wildcard is one label, and never none.
  ['a.b.wild.example', 'first'],
  ['wild.example', 'first'],
  // It would mean any host below it.
  ['.wild.example', 'first'],
  ['[x]', 'first'],
  ['[192.0.2.1]', 'first'],
  ['nobody.example', 'first'],
  // Not in Unicode, as smtp-server hands it to its own handlers.
  ['xn--mnchen-3ya.example', 'exact'],
  ['*.wild.example', 'first'],
  [`${'a'.repeat(200)}.wild.example`, 'wild'],
])('a client that asks for %s is shown the certificate %s', async (servername, certificate) => {
  expect(await shown(servername === undefined ? {} : { servername })).toBe(certificate)
})

test('all or nothing: while one pair cannot be used, none of the others changes', async () => {
  make('first', ['mx.test.example'])
  make('exact', ['new.example'])
  writeFileSync(at('wild.key'), 'nothing')
  await app.running.reload?.('the test')
  expect(await app.waitForLog(({ level, path }) => level === 'error' && path !== undefined)).toMatchObject({
    setting: 'SPILLWAY_TLS_KEY',
    path: at('wild.key'),
  })
  expect(await shown({ servername: 'new.example' })).toBe('first')
  expect(await shown({ servername: 'other.example' })).toBe('exact')
  make('wild', ['*.wild.example'])
  await app.running.reload?.('the test')
  expect(await shown({ servername: 'new.example' })).toBe('exact')
  expect(await shown({ servername: 'other.example' })).toBe('first')
  expect(await shown({ servername: 'two.wild.example' })).toBe('wild')
})

describe('SPILLWAY_TLS_MIN_VERSION', () => {
  const OLD = { ciphers: 'DEFAULT@SECLEVEL=0' } as const
  const only = (version: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'): ConnectionOptions => ({
    ...(version === 'TLSv1.1' && OLD),
    minVersion: version,
    maxVersion: version,
  })

  test('1.2, the default: 1.3 and 1.2, and nothing older', async () => {
    expect(await shown(only('TLSv1.3'))).toBe('first')
    expect(await shown(only('TLSv1.2'))).toBe('first')
    await expect(shown(only('TLSv1.1'))).rejects.toThrow(/protocol version/)
  })

  test('1.3: no 1.2, whatever name is asked for', async () => {
    const strict = await startApp(upstream.address, { ...FILES, TLS_MIN_VERSION: '1.3' })
    try {
      expect(await shown(only('TLSv1.3'), strict)).toBe('first')
      expect(await shown({ ...only('TLSv1.3'), servername: 'new.example' }, strict)).toBe('exact')
      for (const servername of ['mx.test.example', 'new.example'])
        await expect(shown({ ...only('TLSv1.2'), servername }, strict)).rejects.toThrow(/protocol version/)
    } finally {
      await strict.stop()
    }
  })
})
