/** The demo as its user runs it: a process of its own, on free ports, without a terminal. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { eventually } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { Program } from '../support/program.ts'

let temporary: string
let demos: Program[]
let taken: Server | undefined
beforeEach(() => {
  demos = []
  temporary = mkdtempSync(join(tmpdir(), 'spillway-test-'))
})
afterEach(async () => {
  for (const demo of demos) await demo.end()
  taken?.close()
  rmSync(temporary, { recursive: true, force: true })
})

function run(...options: string[]): Program {
  const args = ['demo', '--port', '0', '--admin-port', '0', ...options]
  // The settings of whoever runs this must not matter; these would keep any program from starting.
  const env = { TMPDIR: temporary, SPILLWAY_UPSTREAMS: 'nonsense', SPILLWAY_LISTEN: 'nonsense' }
  const demo = new Program(args, { env })
  demos.push(demo)
  return demo
}

const mailPortOf = async (demo: Program): Promise<number> =>
  Number((await demo.shows(/SPILLWAY \S+ demo on 127\.0\.0\.1:(\d+)/))[1])

/** The last figure in front of these words. */
const last = (text: string, words: RegExp): number => {
  const all = [...text.matchAll(new RegExp(`([0-9,]+) +${words.source}`, 'g'))]
  return Number((all.at(-1)?.[1] ?? 'none').replaceAll(',', ''))
}

test('shows the flood, what is turned away and why, and that honest mail goes through; ends by itself', async () => {
  const logFile = join(temporary, 'kept.log')
  const demo = run('--seconds', '12', '--log', logFile)
  const mail = await mailPortOf(demo)
  const metrics = (await demo.shows(/METRICS +curl (http:\S+)/, 1000))[1] as string
  const value = async (): Promise<number> => {
    const text = await (await fetch(metrics)).text()
    return Number(/^spillway_refusals_total\{[^}]*reason="denied"[^}]*mode="enforce"[^}]*\} (\d+)/m.exec(text)?.[1])
  }
  await eventually(value, (refused) => refused > 0, 5000)

  const own = await connectClient(mail)
  expect(await own.hello()).toMatch(/^250/)
  const send = async (): Promise<string> => {
    await own.command('RSET')
    return own.send('me@example.org', 'alice@example.test')
  }
  // As mail servers do, it sends again what is put off.
  expect(await eventually(send, (reply) => !reply.startsWith('4'))).toMatch(/^250 2\.0\.0 Ok: kept in memory/)
  own.destroy()

  expect(await demo.exited).toBe(0)
  const { out: text } = demo
  expect(text).toContain('mail server, which keeps mail in memory only')
  expect(text).toContain('Your own SPILLWAY_UPSTREAMS and 1 more are not used')
  expect(text).toContain(`swaks --server 127.0.0.1:${mail}`)
  expect(text).toContain(`smtp://127.0.0.1:${mail}`)
  expect(text).toMatch(/denied +\S+\/s +\d+ +the address is on the deny list \(127\.99\.0\.0\/16, default none\)/)
  expect(text).toMatch(/net_connections .*more often than 90\/1m \(default 6000\/1m\)/)
  expect(last(text, /connections, /)).toBeGreaterThan(200)
  expect(last(text, /messages: /)).toBeGreaterThan(20)
  expect(last(text, /accepted \(each arrived once\)/)).toBeGreaterThan(5)
  expect(last(text, /lost/)).toBe(0)
  // The flood rises above what the mail server can take; who is known goes through.
  expect(text).toMatch(/overload +\S+\/s +[0-9,]+ +there is more mail than can be taken/)
  expect(text).toMatch(/OVERLOAD +level [234]: /)
  const known = [...text.matchAll(/at the first try: known senders (\d+) % of (\d+)/g)].at(-1)
  expect(Number(known?.[1])).toBeGreaterThanOrEqual(95)
  expect(Number(known?.[2])).toBeGreaterThan(20)
  expect(demo.err).toBe('')
  expect(text).toContain(`Ended. The log is in ${logFile}`)
  const log = readFileSync(logFile, 'utf8')
  expect(log).toContain('the overload level has risen')
  expect(log).toContain('demo mail server: keeps mail in memory only')
  // The mail server knows the sender's own address and name, by XCLIENT and the demo's DNS.
  expect(log).toMatch(/"client":"127\.1\.\d+\.25","name":"(?:mx|mail)\.[a-z]+\.example"/)
}, 20_000)

test('Ctrl-C ends it cleanly, and nothing listens afterwards', async () => {
  const demo = run()
  const mail = await mailPortOf(demo)
  const idle = await connectClient(mail)
  await idle.hello()
  const pressed = performance.now()
  // As under npm, where one press arrives twice.
  demo.child.kill('SIGINT')
  demo.child.kill('SIGINT')
  expect(await idle.closed()).toMatch(/^421/)
  expect(await demo.exited).toBe(0)
  expect(performance.now() - pressed).toBeLessThan(3000)
  expect(demo.out).toMatch(/^Ended\.$/m)
  await expect(connectClient(mail)).rejects.toThrow('ECONNREFUSED')
}, 20_000)

test.each([
  ['--port', 'mail'],
  ['--admin-port', 'metrics'],
])('%s that is taken: says which and how to choose another', async (option, use) => {
  taken = createServer()
  await new Promise<void>((resolve) => taken?.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as { port: number }
  const demo = run(option, String(port))
  expect(await demo.exited).toBe(1)
  expect(demo.err).toContain(`port ${port} of 127.0.0.1, for ${use}, is taken by another program`)
  expect(demo.err).toMatch(new RegExp(`npm run demo -- ${option} \\d+`))
  expect(demo.out).toBe('')
})

describe('nothing is left in the temporary directory', () => {
  const left = (): string[] => readdirSync(temporary)

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('after %s', async (signal) => {
    const demo = run()
    await mailPortOf(demo)
    expect(left()).toEqual([expect.stringMatching(/^spillway-demo-/)])
    demo.child.kill(signal)
    expect(await demo.exited).toBe(0)
    expect(left()).toEqual([])
  })

  test('after SIGTERM before it is up', async () => {
    const demo = run()
    await eventually(left, ({ length }) => length > 0)
    demo.child.kill('SIGTERM')
    expect(await demo.exited).toBe(0)
    expect(left()).toEqual([])
  })

  test('by itself, and where it cannot start', async () => {
    expect(await run('--seconds', '1').exited).toBe(0)
    taken = createServer()
    await new Promise<void>((resolve) => taken?.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as { port: number }
    expect(await run('--port', String(port)).exited).toBe(1)
    expect(left()).toEqual([])
  })
})
