/** R22 A mail server's certificate where TLS is required: verified, or there is no connection. Where it is not: as before. */
import { createSecureContext, TLSSocket } from 'node:tls'
import { afterEach, describe, expect, test } from '@jest/globals'
import { type Dialed, type DialSettings, dial } from '../../../src/relay/smtp/dial.ts'
import { type Certificate, DAY_MS, makeCertificate } from '../../support/certificates.ts'
import { startUpstream, type Upstream, type UpstreamOptions } from '../../support/upstream.ts'
import { attributesOf, dialSettings } from '../relays.ts'

const stops: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

const MX = 'mx.example.net'
const CA = makeCertificate({ subject: 'The CA' })
const OLD_CA = makeCertificate({ subject: 'The old CA', until: Date.now() - DAY_MS, from: Date.now() - 2 * DAY_MS })
const signed = (names: readonly string[], more = {}): Certificate => makeCertificate({ names, issuer: CA, ...more })
const withChain = ({ cert, key }: Certificate, issuer: Certificate): Certificate => ({ cert: cert + issuer.cert, key })
const GOOD = signed([`DNS:${MX}`])
const SELF_SIGNED = makeCertificate({ names: [`DNS:${MX}`] })
const EXPIRED_AT = Date.UTC(2026, 0, 2)

async function upstream(options: UpstreamOptions = {}): Promise<Upstream> {
  const server = await startUpstream(options)
  stops.push(() => server.stop())
  return server
}
async function reach(
  { port }: Upstream,
  name: string,
  tls: DialSettings['tls'],
  trusted: readonly Certificate[] | 'public' = [CA, OLD_CA],
): Promise<Dialed> {
  const context = trusted === 'public' ? undefined : createSecureContext({ ca: trusted.map(({ cert }) => cert) })
  const settings = dialSettings({ tls, trusted: context })
  const target = { host: '127.0.0.1', port, name }
  const dialed = await dial(target, settings, attributesOf(), performance.now() + 5000)
  stops.push(() => dialed.smtp.destroy())
  return dialed
}
const isSecure = ({ connections }: Upstream): boolean => connections.at(-1)?.socket instanceof TLSSocket

describe('required: a certificate that verifies is taken', () => {
  test.each<[what: string, tls: Certificate, name: string, trusted: readonly Certificate[]]>([
    ['for the name', GOOD, MX, [CA]],
    ['whatever its case', GOOD, 'MX.Example.NET', [CA]],
    ['for one of its names', signed(['DNS:a.example', `DNS:${MX}`]), MX, [CA]],
    ['for a wildcard', signed(['DNS:*.example.net']), MX, [CA]],
    ['for an address that is written', signed(['IP:127.0.0.1']), '127.0.0.1', [CA]],
    ['for an IPv6 address that is written', signed(['IP:2001:db8::25']), '2001:DB8:0::25', [CA]],
    ['of one of several CAs', GOOD, MX, [OLD_CA, CA]],
    ['with its CA sent along', withChain(GOOD, CA), MX, [CA]],
    ['of its own, which is named', SELF_SIGNED, MX, [SELF_SIGNED]],
  ])('%s', async (_, tls, name, trusted) => {
    const server = await upstream({ tls })
    const { smtp } = await reach(server, name, 'required', trusted)
    expect(isSecure(server)).toBe(true)
    expect((await smtp.command('NOOP', 1000)).code).toBe(250)
  })

  test('the server is told which name is meant, and never an address', async () => {
    const asked: string[] = []
    const SNICallback = (name: string, answer: (error: null) => void): void => {
      asked.push(name)
      answer(null)
    }
    const tls = { ...signed([`DNS:${MX}`, 'IP:127.0.0.1']), SNICallback }
    const server = await upstream({ tls })
    await reach(server, '127.0.0.1', 'required')
    await reach(server, '127.0.0.1', 'opportunistic')
    expect(asked).toEqual([])
    await reach(server, MX, 'required')
    expect(asked).toEqual([MX])
  })
})

const NOT_TRUSTED = 'its certificate is not signed by a CA that is trusted here'
const ADVICE = '. SPILLWAY_UPSTREAM_TLS_CA names whom to trust'
const BAD: [what: string, tls: Certificate | undefined, name: string, why: string][] = [
  [
    'for other names',
    signed(['DNS:a.example', 'DNS:b.example']),
    MX,
    `its certificate is for other names (a.example, b.example), not for ${MX}`,
  ],
  [
    'for very many other names',
    signed([1, 2, 3, 4, 5, 6, 7].map((n) => `DNS:a${n}.example`)),
    MX,
    `its certificate is for other names (a1.example, a2.example, a3.example, a4.example, a5.example, and 2 more), not for ${MX}`,
  ],
  [
    'for the domain',
    signed(['DNS:example.net']),
    MX,
    `its certificate is for other names (example.net), not for ${MX}`,
  ],
  [
    'for part of a label',
    signed(['DNS:m*.example.net']),
    MX,
    `its certificate is for other names (m*.example.net), not for ${MX}`,
  ],
  [
    'with the name in its subject only',
    signed([], { subject: MX }),
    MX,
    `its certificate has no name in its subjectAltName, so it is not for ${MX}`,
  ],
  [
    'for the name, where an address is written',
    GOOD,
    '127.0.0.1',
    `its certificate is for other names (${MX}), not for 127.0.0.1`,
  ],
  [
    'for the address as a name',
    signed(['DNS:127.0.0.1']),
    '127.0.0.1',
    'its certificate is for other names (127.0.0.1), not for 127.0.0.1',
  ],
  [
    'for another address',
    signed(['IP:127.0.0.2']),
    '127.0.0.1',
    'its certificate is for other names (127.0.0.2), not for 127.0.0.1',
  ],
  ['signed by itself', SELF_SIGNED, MX, `${NOT_TRUSTED} (self-signed certificate)${ADVICE}`],
  [
    'of an unknown CA',
    makeCertificate({ names: [`DNS:${MX}`], issuer: makeCertificate({ subject: 'Another CA' }) }),
    MX,
    `${NOT_TRUSTED} (its issuer is not known, and the server does not send its certificate; issuer: CN=Another CA)${ADVICE}`,
  ],
  [
    'of an unknown CA that is sent along',
    withChain(makeCertificate({ names: [`DNS:${MX}`], issuer: SELF_SIGNED }), SELF_SIGNED),
    MX,
    `${NOT_TRUSTED} (the CA that it comes with is another; issuer: CN=spillway test)${ADVICE}`,
  ],
  [
    'that is over',
    signed([`DNS:${MX}`], { from: EXPIRED_AT - DAY_MS, until: EXPIRED_AT }),
    MX,
    'its certificate has expired (2026-01-02T00:00:00Z)',
  ],
  ['of a CA that is over', signed([`DNS:${MX}`], { issuer: OLD_CA }), MX, 'a CA above its certificate has expired'],
  [
    'that is still to come',
    signed([`DNS:${MX}`], { from: Date.UTC(2120, 0, 1), until: Date.UTC(2121, 0, 1) }),
    MX,
    'its certificate is not valid before 2120-01-01T00:00:00Z',
  ],
  ['for clients', signed([`DNS:${MX}`], { usage: 'clientAuth' }), MX, 'its certificate is not one for servers'],
  [
    'that is not there, for want of STARTTLS',
    undefined,
    MX,
    'STARTTLS is not offered, and SPILLWAY_UPSTREAM_TLS=required',
  ],
]

describe('a certificate that does not verify', () => {
  test.each(BAD)('%s: required has no connection, and no envelope', async (_, tls, name, why) => {
    const server = await upstream(tls && { tls })
    await expect(reach(server, name, 'required')).rejects.toThrow(`TLS: ${why}`)
    expect(server.connections.map(({ lines }) => lines)).toEqual([
      ['EHLO client.example', ...(tls === undefined ? [] : ['STARTTLS'])],
    ])
  })

  test.each(BAD)('%s: opportunistic goes on', async (_, tls, name) => {
    const server = await upstream(tls && { tls })
    const { smtp } = await reach(server, name, 'opportunistic')
    expect(server.connections).toHaveLength(1)
    expect(isSecure(server)).toBe(tls !== undefined)
    expect((await smtp.command('NOOP', 1000)).code).toBe(250)
  })

  test('without a CA named, a private CA is not trusted', async () => {
    const server = await upstream({ tls: withChain(GOOD, CA) })
    await expect(reach(server, MX, 'required', 'public')).rejects.toThrow(NOT_TRUSTED)
  })
})

test('R22 replies injected behind the 220 are not believed, whatever certificate follows', async () => {
  const server = await upstream({
    tls: GOOD,
    script: (verb) => (verb === 'STARTTLS' ? '220 go\r\n250 injected\r\n' : 'default'),
  })
  await expect(reach(server, MX, 'required')).rejects.toMatchObject({ fault: 'protocol' })
  expect(server.connections.map(({ lines }) => lines)).toEqual([['EHLO client.example', 'STARTTLS']])
})
