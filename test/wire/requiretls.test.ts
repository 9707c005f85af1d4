/** REQUIRETLS (RFC 8689): who is offered it, and over which connections such a message goes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import { freePorts } from '../services/ports.ts'
import { eventually, type TestApp } from '../support/app.ts'
import { makeCertificate } from '../support/certificates.ts'
import type { Client } from '../support/client.ts'
import { stoppedAfterEach } from '../support/started.ts'
import type { UpstreamOptions } from '../support/upstream.ts'

const CA = makeCertificate({ subject: 'The CA' })
const SERVER = makeCertificate({ names: ['DNS:localhost'], issuer: CA })
const folder = mkdtempSync(join(tmpdir(), 'spillway-requiretls-'))
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const OWN = { TLS_CERT: file('cert.pem', SERVER.cert), TLS_KEY: file('key.pem', SERVER.key) }
const REQUIRED = { ...OWN, UPSTREAM_TLS: 'required', UPSTREAM_TLS_CA: file('ca.pem', CA.cert) }
const OFFERS: UpstreamOptions = { tls: SERVER, extensions: ['PIPELINING', '8BITMIME', 'REQUIRETLS'] }
const MAIL = 'MAIL FROM:<a@example.org> REQUIRETLS'
afterAll(() => rmSync(folder, { recursive: true }))

const started = stoppedAfterEach()
const { upstream } = started
const app = (ports: readonly number[], settings: Record<string, string>): Promise<TestApp> =>
  started.app(ports.map((port) => `localhost:${port}`).join(), settings)
async function inTls(node: TestApp): Promise<{ client: Client; offer: string }> {
  const client = await node.client()
  await client.hello()
  await client.startTls()
  return { client, offer: await client.command('EHLO client.example') }
}

test('R20 it is offered inside TLS only, and passed on over verified TLS', async () => {
  const server = await upstream(OFFERS)
  const node = await app([server.port], REQUIRED)
  const plain = await node.client()
  expect(await plain.hello()).not.toContain('REQUIRETLS')
  expect(await plain.command(MAIL)).toMatch(/^555 5\.5\.4 REQUIRETLS is not offered/)
  const { client, offer } = await inTls(node)
  expect(offer).toMatch(/[- ]REQUIRETLS/)
  expect(await client.command(`${MAIL}=yes`)).toMatch(/^501 5\.5\.4/)
  expect(await client.command(MAIL)).toMatch(/^250/)
  expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^250/)
  expect(await client.command('DATA')).toMatch(/^354/)
  expect(await client.command('Subject: x\r\n\r\nx\r\n.')).toMatch(/^250/)
  const [mailed] = server.mailed()
  expect(mailed?.lines).toContain(MAIL)
  expect(mailed?.socket.constructor.name).toBe('TLSSocket')
})

test.each([
  ['its certificate is not verified', OFFERS, OWN],
  ['the mail server does not offer it', { ...OFFERS, extensions: ['8BITMIME'] }, REQUIRED],
])('R20 it is not offered where %s, and the parameter is 555', async (_, options, settings) => {
  const server = await upstream(options)
  const node = await app([server.port], settings)
  const { client, offer } = await inTls(node)
  expect(offer).toContain('8BITMIME')
  expect(offer).not.toContain('REQUIRETLS')
  expect(await client.command(MAIL)).toMatch(/^555 5\.5\.4 REQUIRETLS is not offered/)
})

test('R20 it is not offered where one of several mail servers lacks it', async () => {
  const [one, other] = [await upstream(OFFERS), await upstream({ ...OFFERS, extensions: ['8BITMIME'] })]
  const node = await app([one.port, other.port], REQUIRED)
  await eventually(
    async () => (await inTls(node)).offer,
    (offer) => !offer.includes('REQUIRETLS'),
  )
})

test('R20 R47 a mail server that no longer offers it is not given the message: it is put off', async () => {
  let offers = true
  const server = await upstream({
    ...OFFERS,
    script: (verb, _line, { socket }) =>
      verb === 'EHLO' && !offers
        ? `250-upstream.example\r\n${'encrypted' in socket ? '' : '250-STARTTLS\r\n'}250 8BITMIME\r\n`
        : 'default',
  })
  const node = await app([server.port], { ...REQUIRED, UPSTREAM_HEALTH_INTERVAL: '60s' })
  const { client, offer } = await inTls(node)
  expect(offer).toContain('REQUIRETLS')
  offers = false
  expect(await client.command(MAIL)).toMatch(/^250/)
  expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451/)
  expect(server.mailed()).toEqual([])
})

test('R20 R47 while no mail server has been reached it is taken inside TLS where certificates are verified, and nowhere else', async () => {
  const [nowhere = 0] = await freePorts(1)
  const strict = await app([nowhere], REQUIRED)
  const { client, offer } = await inTls(strict)
  expect(offer).not.toContain('REQUIRETLS')
  expect(await client.command(MAIL)).toMatch(/^250/)
  expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451/)
  const plain = await strict.client()
  await plain.hello()
  expect(await plain.command(MAIL)).toMatch(/^555/)
  const lax = await app([nowhere], OWN)
  expect(await (await inTls(lax)).client.command(MAIL)).toMatch(/^555/)
})
