/** Machines without IPv6: the default of LISTEN is good there, too; what the operator wrote himself is told to be wrong. */
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from '@jest/globals'
import { type ListenAddress, Listener } from '../../src/front/gate/listener.ts'
import { Program, run, SERVE_ENV } from '../support/program.ts'

const ERRNO = { EADDRNOTAVAIL: 99, EAFNOSUPPORT: 97 } as const

/** A network of its own, where all ports are free, with IPv6 switched off as sysctl does it. */
const OWN_NETWORK = [
  'unshare',
  '--net',
  'sh',
  '-ec',
  'ip link set lo up; echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; exec "$@"',
  'sh',
]
/** The same, and as under a kernel that was built without IPv6, or booted with ipv6.disable=1. */
const without = (code: keyof typeof ERRNO): string[] => [
  ...OWN_NETWORK,
  'perl',
  fileURLToPath(new URL('no-ipv6.pl', import.meta.url)),
  String(ERRNO[code]),
]

const { SPILLWAY_LISTEN: _, ...DEFAULT_LISTEN } = SERVE_ENV

let program: Program | undefined
afterEach(async () => {
  await program?.end()
  program = undefined
})

describe('the default of LISTEN', () => {
  test.each(['EAFNOSUPPORT', 'EADDRNOTAVAIL'] as const)(
    '%s for [::]: it takes mail by IPv4, and warns',
    async (code) => {
      program = new Program(['serve'], { env: DEFAULT_LISTEN, within: without(code) })
      await program.logged('listening for the operator')
      const listening = program.log.filter(({ msg }) => msg === 'listening for mail')
      expect(listening).toEqual([expect.objectContaining({ host: '0.0.0.0', port: 2525 })])
      const warned = program.log.filter(({ code: told }) => told === code)
      expect(warned).toEqual([expect.objectContaining({ level: 'warn', host: '::', port: 2525 })])
      expect(warned[0]?.msg).toContain('no IPv6')
      program.child.kill('SIGTERM')
      expect(await program.exited).toBe(0)
    },
  )

  test('with IPv6 switched off by sysctl, Linux binds [::] all the same', async () => {
    program = new Program(['serve'], { env: DEFAULT_LISTEN, within: OWN_NETWORK })
    await program.logged('listening for the operator')
    const hosts = program.log.filter(({ msg }) => msg === 'listening for mail').map(({ host }) => host)
    expect(hosts).toEqual(['0.0.0.0', '::'])
  })
})

test.each([
  ['EAFNOSUPPORT', 'SPILLWAY_LISTEN', '0.0.0.0:2525,[::]:2525', 'SPILLWAY_LISTEN=0.0.0.0:2525'],
  ['EADDRNOTAVAIL', 'SPILLWAY_LISTEN', '[::]:2525', 'SPILLWAY_LISTEN=0.0.0.0:2525'],
  ['EAFNOSUPPORT', 'SPILLWAY_ADMIN_LISTEN', '[::1]:9025', 'SPILLWAY_ADMIN_LISTEN=127.0.0.1:9025'],
] as const)('%s for what the operator wrote: %s=%s does not start, and says what to write', async (...row) => {
  const [code, setting, value, advice] = row
  const ended = await run(['serve'], { env: { ...SERVE_ENV, [setting]: value }, within: without(code) })
  expect(ended.code).toBe(1)
  expect(ended.output).toContain(code)
  expect(ended.output).toContain(`"setting":"${setting}"`)
  expect(ended.output).toContain(`; write ${advice}"`)
})

test('an admin port on [::1] where IPv6 is switched off is told with what to write', async () => {
  const env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: '[::1]:9025' }
  const { code, output } = await run(['serve'], { env, within: OWN_NETWORK })
  expect(code).toBe(1)
  expect(output).toContain('IPv6 is switched off on this machine; write SPILLWAY_ADMIN_LISTEN=127.0.0.1:9025')
})

describe('listener', () => {
  const none = (): void => undefined

  test('an address that is left out must be an IPv6 one, and some address must be left', async () => {
    const left: ListenAddress[] = []
    const listener = new Listener(none, none)
    // An address of nobody (RFC 3849), and one of a network for documentation (RFC 5737).
    const six = { host: '2001:db8::1', port: 0 }
    const leaveOut = (address: ListenAddress): void => void left.push(address)
    await expect(listener.listen([six], leaveOut)).rejects.toThrow('EADDRNOTAVAIL')
    expect(left).toEqual([six])
    await expect(listener.listen([{ host: '192.0.2.1', port: 0 }], leaveOut)).rejects.toThrow('EADDRNOTAVAIL')
    await expect(listener.listen([six])).rejects.toThrow('EADDRNOTAVAIL')
    expect(left).toHaveLength(1)
    expect(listener.listening).toBe(false)
  })
})
