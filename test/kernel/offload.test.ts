/** SPILLWAY_KERNEL_OFFLOAD=nftables with the kernel's own packet filter, in a network of the test's own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { Status } from '../../src/admin/status.ts'
import { type Network, startNetwork } from '../services/network.ts'
import { command } from '../services/packages.ts'
import { AS_OPERATOR, eventually } from '../support/app.ts'
import { Program, SERVE_ENV, TOKEN_ENV } from '../support/program.ts'

const OURS = '192.0.2.25'
const OURS_6 = '2001:db8:0:25::1'
const BALANCER = '192.0.2.99'
const PORT = 2525
const FOLDER = mkdtempSync(join(tmpdir(), 'spillway-kernel-'))
const DENY = join(FOLDER, 'deny')
const ADMIN = 'http://127.0.0.1:9025'
const NFT = command('nft')
const ENV = {
  ...SERVE_ENV,
  ...TOKEN_ENV,
  ...NFT.env,
  PATH: `${dirname(NFT.path)}:${process.env.PATH}`,
  SPILLWAY_LISTEN: `0.0.0.0:${PORT},[::]:${PORT}`,
  SPILLWAY_ADMIN_LISTEN: '127.0.0.1:9025',
  SPILLWAY_KERNEL_OFFLOAD: 'nftables',
  SPILLWAY_PROXY_PROTOCOL_FROM: BALANCER,
  SPILLWAY_DENY: `@${DENY}`,
  SPILLWAY_ALLOW: '203.0.113.7',
  SPILLWAY_OVERLOAD: 'off',
  SPILLWAY_RELAY_GUARD: 'off',
}

let network: Network
let program: Program
beforeAll(async () => {
  network = await startNetwork([
    '192.0.2.1/24',
    '198.51.100.1/24',
    '203.0.113.1/24',
    ...[
      `${OURS_6}/128`,
      '2001:db8:0:66::5/128',
      '2001:db8:0:66::6/128',
      '2001:db8:0:77::1/128',
      '2001:db8:0:77::2/128',
    ],
  ])
})
afterAll(async () => {
  await network.stop()
  rmSync(FOLDER, { recursive: true })
})
beforeEach(() => writeFileSync(DENY, '203.0.113.0/24\n2001:db8:0:77::1\n'))
afterEach(() => program.end())

async function start(env: Readonly<Record<string, string>> = {}, within: readonly string[] = []): Promise<void> {
  program = new Program(['serve'], { env: { ...ENV, ...env }, within: [...network.within, ...within] })
  await program.logged('listening for mail')
  await program.logged(/^the kernel's table is made|^clients cannot be handed to the kernel/)
}
const visit = (from: string, ...says: string[]) =>
  network.visit(from, from.includes(':') ? OURS_6 : OURS, PORT, ...says)
const codes = async (from: string, times: number, ...says: string[]): Promise<(string | undefined)[]> => {
  const heard: (string | undefined)[] = []
  for (let i = 0; i < times; i++) heard.push((await visit(from, ...says))?.at(-1)?.slice(0, 3))
  return heard
}
/** That its connections are not answered any more. */
const dropped = (from: string) =>
  eventually(
    () => visit(from),
    (replies) => replies === undefined,
  )
const ban = (net: string, time = '1h') =>
  network.ask('POST', `${ADMIN}/api/v1/bans`, { network: net, time }, AS_OPERATOR)
const status = async () => JSON.parse(await network.ask('GET', `${ADMIN}/api/v1/status`)) as Status
const count = async (reason: string): Promise<number> => {
  const page = await network.ask('GET', `${ADMIN}/metrics`)
  return Number(
    new RegExp(`^spillway_kernel_dropped_packets_total\\{reason="${reason}"\\} (\\d+)$`, 'm').exec(page)?.[1],
  )
}

test('who is banned hears it three times, then its packets are dropped, and counted; others are served', async () => {
  await start()
  expect(await count('banned')).toBe(0)
  expect(await count('denied')).toBe(0)
  const noop = await network.open('198.51.100.8', OURS, PORT)
  await ban('198.51.100.8')
  expect(await codes('198.51.100.8', 3)).toEqual(['554', '554', '554'])
  await dropped('198.51.100.8')
  expect(await codes('198.51.100.9', 1)).toEqual(['220'])
  // A session that is open is not cut: it hears why it ends.
  expect(await noop()).toMatch(/^554 5\.7\.1 /)

  // Of IPv6 the whole /64, and of no other.
  await ban('2001:db8:0:66::5')
  expect(await codes('2001:db8:0:66::5', 3)).toEqual(['554', '554', '554'])
  await dropped('2001:db8:0:66::6')
  // The operator denies one address of this /64: no other may be dropped for it.
  expect(await codes('2001:db8:0:77::1', 5)).toEqual(['554', '554', '554', '554', '554'])
  expect(await codes('2001:db8:0:77::2', 1)).toEqual(['220'])

  // A denied network has an allowed address in it.
  expect(await codes('203.0.113.8', 3)).toEqual(['554', '554', '554'])
  await dropped('203.0.113.8')
  expect(await codes('203.0.113.7', 4)).toEqual(['220', '220', '220', '220'])

  // The kernel sees the address of the balancer, whoever the client is.
  await ban('198.51.100.77')
  const header = `PROXY TCP4 198.51.100.77 ${OURS} 40000 25`
  expect(await codes(BALANCER, 5, header)).toEqual(['554', '554', '554', '554', '554'])

  await eventually(
    () => count('banned'),
    (packets) => packets >= 2,
  )
  await eventually(
    () => count('denied'),
    (packets) => packets >= 1,
  )
  expect((await status()).kernel).toMatchObject({ state: 'up', held: 3 })
  expect(await network.ask('GET', `${ADMIN}/readyz?verbose`)).toMatch(/^kernel: up since .*; sources held: 3$/m)

  // A ban that is lifted leaves the kernel within two seconds.
  const lifted = performance.now()
  await network.ask('DELETE', `${ADMIN}/api/v1/bans/198.51.100.8`, undefined, AS_OPERATOR)
  await eventually(
    () => visit('198.51.100.8'),
    (replies) => replies?.[0]?.startsWith('220') === true,
  )
  expect(performance.now() - lifted).toBeLessThan(2500)
  // So does an address that is taken off the list.
  writeFileSync(DENY, '# nobody\n')
  program.child.kill('SIGHUP')
  await program.logged('settings changed')
  const changed = performance.now()
  await eventually(
    () => visit('203.0.113.8'),
    (replies) => replies?.[0]?.startsWith('220') === true,
  )
  expect(performance.now() - changed).toBeLessThan(2500)
})

test('the table is made again where it was removed, is left to end by itself by a crash, and removed at the end', async () => {
  await start()
  await network.nft('add', 'table', 'inet', 'spillway_2525_another')
  expect(await codes('203.0.113.8', 3)).toEqual(['554', '554', '554'])
  await dropped('203.0.113.8')
  const before = await eventually(
    () => count('denied'),
    (packets) => packets >= 1,
  )
  await network.nft('flush', 'ruleset')
  await network.nft('add', 'table', 'inet', 'spillway_2525_another')
  expect(await codes('203.0.113.8', 1)).toEqual(['554'])
  await dropped('203.0.113.8')
  expect(await count('denied')).toBeGreaterThanOrEqual(before)

  await program.end()
  expect(await network.nft('list', 'ruleset')).toMatch(/203\.0\.113\.8 timeout \S+ expires \S+/)
  // The next one knows of nobody yet who has heard it.
  await start({ SPILLWAY_DENY_STAGE: 'rcpt', SPILLWAY_WORKERS: '2', SPILLWAY_UPSTREAMS: '127.0.0.1:1' })
  expect(await network.nft('list', 'ruleset')).not.toContain('203.0.113.8')
  // Of several recipients of one session it has heard once, and the hearings of all workers count.
  const mail = ['EHLO a.test', 'MAIL FROM:<a@a.test>', 'RCPT TO:<a@b.test>', 'RCPT TO:<b@b.test>', 'RCPT TO:<c@b.test>']
  expect(await codes('203.0.113.9', 3, ...mail)).toEqual(['550', '550', '550'])
  await dropped('203.0.113.9')
  expect((await status()).kernel).toMatchObject({ state: 'up', held: 1 })
  expect((await network.nft('list', 'tables')).match(/spillway_2525_[0-9a-f]{8}\n/g)).toHaveLength(1)
  program.child.kill('SIGTERM')
  expect(await program.exited).toBe(0)
  expect(await network.nft('list', 'tables')).toBe('table inet spillway_2525_another\n')
  await network.nft('flush', 'ruleset')
})

test('two that listen elsewhere do not touch each other; one that would listen on the same does not start, and touches nothing', async () => {
  const others: Program[] = []
  const another = async (env: Record<string, string>): Promise<Program> => {
    const begun = new Program(['serve'], { env: { ...ENV, ...env }, within: network.within })
    others.push(begun)
    await begun.logged(/^the kernel's table is made|^clients cannot be handed to the kernel/)
    return begun
  }
  const tables = async () => (await network.nft('list', 'tables')).match(/spillway_2525_[0-9a-f]{8}\n/g)
  try {
    await start({ SPILLWAY_LISTEN: `${OURS}:${PORT}` })
    await another({ SPILLWAY_LISTEN: `192.0.2.26:${PORT}`, SPILLWAY_DENY: '', SPILLWAY_ADMIN_LISTEN: '127.0.0.1:9026' })
    expect(await tables()).toHaveLength(2)
    expect(await codes('203.0.113.8', 3)).toEqual(['554', '554', '554'])
    await dropped('203.0.113.8')
    expect((await network.visit('203.0.113.8', '192.0.2.26', PORT))?.[0]).toMatch(/^220/)
    const before = await tables()
    const same = new Program(['serve'], {
      env: { ...ENV, SPILLWAY_LISTEN: `${OURS}:${PORT}`, SPILLWAY_ADMIN_LISTEN: '127.0.0.1:9027' },
      within: network.within,
    })
    others.push(same)
    expect(await same.exited).toBe(1)
    expect(same.out).toContain(`(pid ${program.child.pid})`)
    expect(await tables()).toEqual(before)
    expect((await status()).kernel).toMatchObject({ state: 'up' })
    await dropped('203.0.113.8')
  } finally {
    await Promise.all([program, ...others].map((each) => each.end()))
    // What a crash leaves.
    await network.nft('flush', 'ruleset')
  }
})

test.each(['1', '2'])(
  'who fails to take over leaves the table of the one that goes on; who succeeds keeps one, SPILLWAY_WORKERS=%s',
  async (workers) => {
    const env = { SPILLWAY_WORKERS: workers, SPILLWAY_ADMIN_TOKEN: '0123456789abcdef0123456789abcdef' }
    await start(env)
    const tables = async () => (await network.nft('-a', 'list', 'ruleset')).match(/^table inet spillway_2525_.*/gm)
    const before = await tables()
    const next = (token: string): Program =>
      new Program(['serve', '--take-over'], {
        env: { ...ENV, ...env, SPILLWAY_ADMIN_TOKEN: token },
        within: network.within,
      })
    const failing = next('ffffffffffffffffffffffffffffffff')
    expect(await failing.exited).toBe(1)
    expect(failing.out).toContain('does not hand over: 401')
    // One that is made anew has another handle.
    expect(await tables()).toEqual(before)
    expect(failing.out).not.toContain("the kernel's table")

    const old = program
    program = next(env.SPILLWAY_ADMIN_TOKEN)
    await program.logged("the kernel's table is made")
    expect(await old.exited).toBe(0)
    expect(await tables()).toHaveLength(1)
    expect(await tables()).not.toEqual(before)
    expect((await status()).kernel).toMatchObject({ state: 'up' })
  },
)

describe('without the capability', () => {
  test('it is told once, and clients are refused as before', async () => {
    await start({}, ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'])
    expect(await codes('203.0.113.8', 5)).toEqual(['554', '554', '554', '554', '554'])
    const { kernel } = await status()
    expect(kernel).toMatchObject({ state: 'failing', error: expect.stringContaining('CAP_NET_ADMIN') })
    expect(program.log.filter(({ msg }) => String(msg).startsWith('clients cannot be handed'))).toHaveLength(1)
    expect(program.log.filter(({ msg }) => String(msg).includes('needs CAP_NET_ADMIN'))).toHaveLength(1)
  })
})
